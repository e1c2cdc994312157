//! Who may use the relay.

use std::{collections::BTreeSet, net::IpAddr};

use kaspath_domain::{IpPrefix, PeerIdentity};

/// Peers, by their identity or by where they come from.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RelayPeers {
    /// These, wherever they come from.
    pub peers: BTreeSet<PeerIdentity>,
    /// Whoever comes from there.
    pub prefixes: Vec<IpPrefix>,
}

/// Who may reserve at our relay and open circuits through it. Circuits to a peer need no
/// more than that peer's reservation.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum RelayAccess {
    /// Anybody.
    #[default]
    Everyone,
    /// These peers alone.
    Allow(RelayPeers),
    /// All but these.
    Deny(RelayPeers),
}

impl RelayPeers {
    fn contains(&self, peer: &PeerIdentity, from: IpAddr) -> bool {
        self.peers.contains(peer) || self.prefixes.iter().any(|prefix| prefix.contains(from))
    }
}

impl RelayAccess {
    /// Whether that peer may, coming from there.
    pub fn allows(&self, peer: &PeerIdentity, from: IpAddr) -> bool {
        match self {
            Self::Everyone => true,
            Self::Allow(listed) => listed.contains(peer, from),
            Self::Deny(listed) => !listed.contains(peer, from),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_list_names_peers_and_where_they_come_from() {
        let peer = |n| PeerIdentity::from_bytes(&[0, 1, n]).unwrap();
        let at = |text: &str| text.parse::<IpAddr>().unwrap();
        let listed = RelayPeers { peers: [peer(1)].into(), prefixes: vec!["192.0.2.0/24".parse().unwrap()] };
        let (allow, deny) = (RelayAccess::Allow(listed.clone()), RelayAccess::Deny(listed));
        for (peer, from, is_listed) in
            [(peer(1), at("203.0.113.1"), true), (peer(2), at("::ffff:192.0.2.9"), true), (peer(2), at("203.0.113.1"), false)]
        {
            assert_eq!(allow.allows(&peer, from), is_listed);
            assert_eq!(deny.allows(&peer, from), !is_listed);
            assert!(RelayAccess::Everyone.allows(&peer, from));
        }
        assert!(!RelayAccess::Allow(RelayPeers::default()).allows(&peer(1), at("192.0.2.1")), "an empty list allows nobody");
    }
}
