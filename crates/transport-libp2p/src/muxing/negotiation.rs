//! Reads along as our side answers a proposal (multistream-select 1.0).

/// What a listener sends first; the answers follow.
const HEADER: &[u8] = b"/multistream/1.0.0\n";
/// Longer than any answer that agrees to one of our protocols.
const MAX_FRAME: usize = 256;

/// What our side has written on an inbound stream so far.
#[derive(Debug, Default)]
pub(super) struct Negotiation {
    /// The frame that is being written: its length, then its bytes.
    frame: Vec<u8>,
}

impl Negotiation {
    /// Takes what was written; whether a protocol is agreed on. Only what we write
    /// ourselves counts, so the remote cannot pretend.
    pub(super) fn agreed(&mut self, written: &[u8]) -> bool {
        for byte in written {
            self.frame.push(*byte);
            let Some((length, prefix)) = length(&self.frame) else { continue };
            if self.frame.len() < prefix + length && self.frame.len() < MAX_FRAME {
                continue;
            }
            let payload = &self.frame[prefix..];
            // "na" refuses, "ls" is answered by a list: neither begins with a slash.
            if payload.first() == Some(&b'/') && payload != HEADER {
                return true;
            }
            self.frame.clear();
        }
        false
    }
}

/// An unsigned varint of at most two bytes, and how many it took.
fn length(frame: &[u8]) -> Option<(usize, usize)> {
    match *frame {
        [first, ..] if first < 0x80 => Some((first.into(), 1)),
        [first, second, ..] => Some((usize::from(first & 0x7f) | usize::from(second & 0x7f) << 7, 2)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frame(text: &str) -> Vec<u8> {
        let mut bytes = vec![u8::try_from(text.len() + 1).unwrap()];
        bytes.extend(text.as_bytes());
        bytes.push(b'\n');
        bytes
    }

    #[test]
    fn a_protocol_is_agreed_on_when_we_echo_its_name() {
        let written = [frame("/multistream/1.0.0"), frame("na"), frame("/ipfs/ping/1.0.0")].concat();
        for chunk in 1..written.len() {
            let mut negotiation = Negotiation::default();
            let agreed: Vec<bool> = written.chunks(chunk).map(|part| negotiation.agreed(part)).collect();
            assert_eq!(agreed.iter().filter(|agreed| **agreed).count(), 1, "in chunks of {chunk}");
            assert_eq!(agreed.last(), Some(&true), "in chunks of {chunk}");
        }
    }

    #[test]
    fn refusals_are_no_agreement() {
        let mut negotiation = Negotiation::default();
        assert!(!negotiation.agreed(&frame("/multistream/1.0.0")));
        for _ in 0..100 {
            assert!(!negotiation.agreed(&frame("na")));
        }
        assert!(negotiation.frame.is_empty(), "nothing is kept");
    }
}
