use std::{fmt, str::FromStr};

use subtle::{Choice, ConstantTimeEq};
use thiserror::Error;

/// The longest token, in bytes.
pub(super) const MAX_TOKEN: usize = 256;

/// What a private relay gives to those who may reserve there. It is not shown.
#[derive(Clone)]
pub struct RelayToken(Box<[u8]>);

/// A text that is no [`RelayToken`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error("a relay's token has 1 to {MAX_TOKEN} bytes, all of them printable ASCII characters without spaces")]
pub struct RelayTokenError;

impl RelayToken {
    /// One that came over the network, whatever is in it; an empty one is none.
    pub(super) fn received(bytes: &[u8]) -> Option<Self> {
        (1..=MAX_TOKEN).contains(&bytes.len()).then(|| Self(bytes.into()))
    }

    pub(super) fn bytes(&self) -> &[u8] {
        &self.0
    }

    /// Whether both are the same. How long that takes depends on their lengths alone.
    fn is_same(&self, other: &Self) -> Choice {
        self.0.ct_eq(&other.0)
    }

    /// Whether it is one of these. It is compared with all of them, so that the time does not
    /// tell which one it is.
    pub(crate) fn is_among(&self, tokens: &[Self]) -> bool {
        tokens.iter().fold(Choice::from(0), |found, token| found | self.is_same(token)).into()
    }
}

impl FromStr for RelayToken {
    type Err = RelayTokenError;

    fn from_str(text: &str) -> Result<Self, RelayTokenError> {
        let is_printable = text.bytes().all(|byte| byte.is_ascii_graphic());
        Self::received(text.as_bytes()).filter(|_| is_printable).ok_or(RelayTokenError)
    }
}

impl PartialEq for RelayToken {
    fn eq(&self, other: &Self) -> bool {
        self.is_same(other).into()
    }
}

impl Eq for RelayToken {}

impl fmt::Debug for RelayToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("RelayToken(..)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_is_compared_as_a_whole_and_never_shown() {
        let token = |text: &str| text.parse::<RelayToken>().unwrap();
        let tokens = [token("first"), token("second")];
        assert!(token("second").is_among(&tokens) && token("first").is_among(&tokens));
        for other in ["firs", "first1", "Second", "f"] {
            assert!(!token(other).is_among(&tokens), "{other}");
        }
        assert!(!token("first").is_among(&[]));
        assert!(!format!("{:?}", token("secret")).contains("secret"));
        for text in ["", "two words", "caf\u{e9}", "tab\t", &"x".repeat(257)] {
            assert_eq!(text.parse::<RelayToken>(), Err(RelayTokenError), "{text}");
        }
        assert_eq!("x".repeat(256).parse::<RelayToken>().unwrap().bytes().len(), 256);
    }
}
