//! A private group: nodes with one secret that find each other and nobody else.

use std::fmt;

use hmac::{Hmac, Mac};
use kaspath_domain::{Namespace, NamespaceError, PeerIdentity};
use sha2::Sha256;
use thiserror::Error;

/// Bytes of a secret.
const SECRET: std::ops::RangeInclusive<usize> = 16..=256;
/// What is derived, so that none of it serves for the other.
const NAME: &[u8] = b"kaspath group name 1";
const MEMBER: &[u8] = b"kaspath group member 1";

/// A secret that is too short to be one, or too long.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error("a group's secret has 16 to 256 bytes")]
pub struct GroupError;

/// What the members of a private group share. Relays learn the group's name, which is derived
/// from the secret, and which of their nodes ask under it. Whoever has the secret is a member.
#[derive(Clone, PartialEq, Eq)]
pub struct Group(Vec<u8>);

impl Group {
    /// A group by its secret.
    ///
    /// # Errors
    /// It has fewer than 16 bytes, or more than 256.
    pub fn new(secret: &[u8]) -> Result<Self, GroupError> {
        if SECRET.contains(&secret.len()) { Ok(Self(secret.to_vec())) } else { Err(GroupError) }
    }

    /// Where members of that kind and network are listed: no other name than this is asked for.
    ///
    /// # Errors
    /// Never, as all characters fit; the type says so.
    pub fn namespace(&self, public: &Namespace) -> Result<Namespace, NamespaceError> {
        let name = self.derive(NAME, public.as_str().as_bytes());
        format!("/kaspath/1/g/{}", name.map(|byte| format!("{byte:02x}")).concat()).parse()
    }

    /// What proves that this peer is a member, for the record that it signs.
    pub fn tag(&self, peer: &PeerIdentity) -> [u8; 16] {
        self.derive(MEMBER, peer.as_bytes())
    }

    /// The first half of an HMAC (RFC 2104).
    fn derive(&self, what: &[u8], of: &[u8]) -> [u8; 16] {
        let mut mac = Hmac::<Sha256>::new_from_slice(&self.0).expect("HMAC takes keys of any length");
        mac.update(&[what.len() as u8]);
        mac.update(what);
        mac.update(of);
        let whole: [u8; 32] = mac.finalize().into_bytes().into();
        std::array::from_fn(|at| whole[at])
    }
}

impl fmt::Debug for Group {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Group(..)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_and_a_tag_say_nothing_without_the_secret_and_the_same_with_it() {
        let peer = |n| PeerIdentity::from_bytes(&[0, 1, n]).unwrap();
        let network = |name| Namespace::of_network(name).unwrap();
        let (one, same, other) = (Group::new(&[7; 16]), Group::new(&[7; 16]), Group::new(&[8; 16]));
        let (one, same, other) = (one.unwrap(), same.unwrap(), other.unwrap());
        let name = one.namespace(&network("mainnet")).unwrap();
        assert!(name.as_str().starts_with("/kaspath/1/g/") && name.as_str().len() == 45 && name.network().is_none());
        assert_eq!(name, same.namespace(&network("mainnet")).unwrap());
        assert_ne!(name, one.namespace(&network("simnet")).unwrap());
        assert_ne!(name, other.namespace(&network("mainnet")).unwrap());
        assert_eq!(one.tag(&peer(1)), same.tag(&peer(1)));
        assert_ne!(one.tag(&peer(1)), one.tag(&peer(2)));
        assert_ne!(one.tag(&peer(1)), other.tag(&peer(1)));
        assert_eq!(Group::new(&[7; 15]), Err(GroupError));
        assert_eq!(format!("{one:?}"), "Group(..)");
    }
}
