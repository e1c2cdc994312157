//! Who a peer is, whatever the transport.

use std::{fmt, str::FromStr, sync::Arc};

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use thiserror::Error;

/// Multihash code of an inlined key (libp2p "identity" hash).
const CODE_IDENTITY: u8 = 0x00;
/// Multihash code of SHA2-256.
const CODE_SHA2_256: u8 = 0x12;
/// Longest key that libp2p inlines into a peer id (libp2p peer-ids spec).
const MAX_INLINE_KEY: usize = 42;

/// A peer's identity: the bytes of a libp2p peer id (a multihash of its public
/// key), kept without any libp2p type. Cheap to clone.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct PeerIdentity(Arc<[u8]>);

/// Why some bytes or some text are not a peer identity.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum IdentityError {
    /// The text is not base58 (Bitcoin alphabet).
    #[error("a peer id is base58 text such as 12D3KooW..., but {0:?} is not base58")]
    NotBase58(String),
    /// The bytes are not a multihash that libp2p uses for peer ids.
    #[error("a peer id is a multihash (an inlined key of at most 42 bytes, or SHA2-256), but these {0} bytes are not")]
    NotAPeerId(usize),
}

impl PeerIdentity {
    /// From the bytes of a libp2p peer id.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, IdentityError> {
        let valid = match bytes {
            [CODE_IDENTITY, len, key @ ..] => *len as usize == key.len() && key.len() <= MAX_INLINE_KEY,
            [CODE_SHA2_256, 32, digest @ ..] => digest.len() == 32,
            _ => false,
        };
        if valid { Ok(Self(bytes.into())) } else { Err(IdentityError::NotAPeerId(bytes.len())) }
    }

    /// The bytes of the peer id.
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// The last eight characters of the text form: enough to tell peers apart
    /// in a log, too little to look one up.
    pub fn short(&self) -> String {
        let text = self.to_string();
        text[text.len().saturating_sub(8)..].to_owned()
    }
}

impl fmt::Display for PeerIdentity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&bs58::encode(&self.0).into_string())
    }
}

impl fmt::Debug for PeerIdentity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PeerIdentity({self})")
    }
}

impl FromStr for PeerIdentity {
    type Err = IdentityError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        // A peer id in base58 is about 60 characters; longer text is not decoded.
        if text.is_empty() || text.len() > 128 {
            return Err(IdentityError::NotBase58(text.chars().take(32).collect()));
        }
        let bytes = bs58::decode(text).into_vec().map_err(|_| IdentityError::NotBase58(text.to_owned()))?;
        Self::from_bytes(&bytes)
    }
}

impl Serialize for PeerIdentity {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for PeerIdentity {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ED25519: &str = "12D3KooWDpJ7As7BWAwRMfu1VU2WCqNjvq387JEYKDBj4kx6nXTN";

    #[test]
    fn text_and_bytes_round_trip() {
        let id: PeerIdentity = ED25519.parse().unwrap();
        assert_eq!(id.to_string(), ED25519);
        assert_eq!(PeerIdentity::from_bytes(id.as_bytes()).unwrap(), id);
        assert_eq!(id.short(), "4kx6nXTN");
    }

    #[test]
    fn serde_uses_the_text_form() {
        let id: PeerIdentity = ED25519.parse().unwrap();
        let json = serde_json::to_string(&id).unwrap();
        assert_eq!(json, format!("\"{ED25519}\""));
        assert_eq!(serde_json::from_str::<PeerIdentity>(&json).unwrap(), id);
    }

    #[test]
    fn bad_text_and_bad_bytes_are_told_apart() {
        assert!(matches!("0OIl".parse::<PeerIdentity>(), Err(IdentityError::NotBase58(_))));
        assert!(matches!("abc".parse::<PeerIdentity>(), Err(IdentityError::NotAPeerId(_))));
        assert!(matches!("".parse::<PeerIdentity>(), Err(IdentityError::NotBase58(_))));
        assert!(matches!(PeerIdentity::from_bytes(&[0, 3, 1]), Err(IdentityError::NotAPeerId(3))));
        assert!(matches!("1".repeat(4000).parse::<PeerIdentity>(), Err(IdentityError::NotBase58(_))));
    }
}
