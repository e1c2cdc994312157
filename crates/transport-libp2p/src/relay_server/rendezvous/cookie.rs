//! What a peer was told already, without a memory of it here: eight bytes and the name, as
//! stock clients read it.

use kaspath_domain::Namespace;

/// A point in the life of one table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Cookie {
    /// Which table.
    pub(super) epoch: u16,
    /// The last change, of 48 bits.
    pub(super) change: u64,
}

impl Cookie {
    pub(super) fn encode(self, namespace: &Namespace) -> Vec<u8> {
        let [_, _, change @ ..] = self.change.to_be_bytes();
        [self.epoch.to_be_bytes().as_slice(), &change, namespace.as_str().as_bytes()].concat()
    }

    /// `None` if it is none of that name.
    pub(super) fn decode(bytes: &[u8], namespace: &Namespace) -> Option<Self> {
        let (epoch, rest) = bytes.split_first_chunk()?;
        let (change, name) = rest.split_first_chunk::<6>()?;
        let [a, b, c, d, e, f] = *change;
        let change = u64::from_be_bytes([0, 0, a, b, c, d, e, f]);
        (name == namespace.as_str().as_bytes()).then_some(Self { epoch: u16::from_be_bytes(*epoch), change })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cookie_comes_back_and_is_of_one_name() {
        let [name, other] = ["a", "b"].map(|name| name.parse::<Namespace>().unwrap());
        let cookie = Cookie { epoch: 0xfffe, change: (1 << 48) - 2 };
        let bytes = cookie.encode(&name);
        assert_eq!(bytes, [0xff, 0xfe, 0xff, 0xff, 0xff, 0xff, 0xff, 0xfe, b'a']);
        assert_eq!(Cookie::decode(&bytes, &name), Some(cookie));
        assert_eq!(Cookie::decode(&bytes, &other), None);
        for length in 0..bytes.len() {
            assert_eq!(Cookie::decode(&bytes[..length], &name), None);
        }
    }
}
