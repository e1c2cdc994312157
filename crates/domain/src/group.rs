//! Who may have one owner.

use crate::{IpPrefix, PeerClass, PeerIdentity};

/// Where peers come from, as far as one owner can make any number of them there:
/// identities are free, address prefixes and relays are not.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum PeerGroup {
    /// Peers whose own address lies in this provider's block ([`IpPrefix::of`]).
    Prefix(IpPrefix),
    /// Peers that came through this relay, wherever they are.
    Relay(PeerIdentity),
}

impl PeerGroup {
    /// The group of peers of that class.
    pub fn of(class: &PeerClass) -> Self {
        match class {
            PeerClass::Direct { from } => Self::Prefix(IpPrefix::of(*from)),
            PeerClass::Relayed { relay } => Self::Relay(relay.clone()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_group_is_a_prefix_or_a_relay() {
        let direct = |ip: &str| PeerGroup::of(&PeerClass::Direct { from: ip.parse().unwrap() });
        let relayed = |n: u8| PeerGroup::of(&PeerClass::Relayed { relay: PeerIdentity::from_bytes(&[0, 1, n]).unwrap() });
        assert_eq!(direct("192.0.2.1"), direct("192.0.77.1"));
        assert_ne!(direct("192.0.2.1"), direct("192.1.2.1"));
        assert_eq!(relayed(1), relayed(1));
        assert_ne!(relayed(1), relayed(2));
    }
}
