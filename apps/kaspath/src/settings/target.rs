use std::str::FromStr;

use kaspath_domain::{AddressError, PeerIdentity, PeerLocator};
use serde::{Deserialize, Deserializer};

/// A peer to reach, as its user names it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Target {
    /// By an address.
    At(PeerLocator),
    /// Only by its id: the peer book has the addresses.
    Known(PeerIdentity),
}

impl FromStr for Target {
    type Err = AddressError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text.strip_prefix("/p2p/").unwrap_or(text).parse() {
            Ok(peer) => Ok(Self::Known(peer)),
            Err(_) => text.parse().map(Self::At),
        }
    }
}

impl<'de> Deserialize<'de> for Target {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PEER: &str = "12D3KooWDpJ7As7BWAwRMfu1VU2WCqNjvq387JEYKDBj4kx6nXTN";

    #[test]
    fn an_id_with_or_without_its_prefix_is_distinguished_from_addresses() {
        let known = Target::Known(PEER.parse().unwrap());
        assert_eq!(PEER.parse(), Ok(known.clone()));
        assert_eq!(format!("/p2p/{PEER}").parse(), Ok(known.clone()));
        assert!(matches!("127.0.0.1:16111".parse(), Ok(Target::At(_))));
        assert!("12D3KooW".parse::<Target>().is_err(), "neither");
    }
}
