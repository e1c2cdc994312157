//! Connections of inbound peers whose handshake is not over, limited as in kaspad
//! and by where they come from.

use std::net::IpAddr;

use kaspath_domain::{ConnectInfo, Path, PeerClass, PeerGroup, Slot, Slots};

/// Twice kaspad's, so that four crowded networks do not take all.
const MAX_PENDING: usize = 64;
const MAX_PENDING_PER_IP: usize = 2;
/// From one network (/16 or /32), or through one relay: identities, and so
/// synthetic addresses, are free.
const MAX_PENDING_PER_GROUP: usize = 8;

/// What a handshake counts for.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Share {
    Ip(IpAddr),
    Group(PeerGroup),
}

/// The handshakes under way.
#[derive(Clone, Debug)]
pub(crate) struct Pending(Slots<Share>);

impl Default for Pending {
    fn default() -> Self {
        Self(Slots::new(MAX_PENDING))
    }
}

/// One of them, until it is dropped.
pub(crate) type PendingSlot = Slot<Share>;

impl Pending {
    /// A slot, if there is one for such a connection.
    pub(crate) fn take(&self, info: &ConnectInfo, path: &Path) -> Option<PendingSlot> {
        let group = match PeerClass::of(info, path) {
            // Loopback is not a network of strangers.
            PeerClass::Direct { from } if from.is_loopback() => None,
            class => Some((Share::Group(PeerGroup::of(&class)), MAX_PENDING_PER_GROUP)),
        };
        let ip = Share::Ip(info.synthetic.ip().to_canonical());
        self.0.take([(ip, MAX_PENDING_PER_IP)].into_iter().chain(group))
    }
}

#[cfg(test)]
mod tests {
    use kaspath_domain::{Direction, PeerIdentity, RelayReason, Transport};

    use super::*;

    const DIRECT: Path = Path::Direct { transport: Transport::Tcp };

    /// A peer with a synthetic address of its own, at a real address.
    fn peer(n: u8, remote: &str) -> ConnectInfo {
        let synthetic = ([127, 64, 0, n], 1024).into();
        ConnectInfo { peer: None, direction: Direction::Inbound, remote: remote.parse().unwrap(), synthetic }
    }

    #[test]
    fn both_limits_hold_and_places_come_back() {
        let pending = Pending::default();
        let enter = |n: u8| pending.take(&peer(n, &format!("192.{n}.0.1:1")), &DIRECT);
        let first = enter(1).unwrap();
        let _second = enter(1).unwrap();
        assert!(enter(1).is_none());
        drop(first);
        let _third = enter(1).unwrap();
        let others: Vec<_> = (2..64).map(|n| enter(n).unwrap()).collect();
        assert!(enter(80).is_none());
        drop(others);
        assert!(enter(80).is_some());
    }

    #[test]
    fn many_identities_of_one_network_or_behind_one_relay_leave_room_for_others() {
        let pending = Pending::default();
        let of_network: Vec<_> = (0..20).filter_map(|n| pending.take(&peer(n, &format!("192.0.{n}.1:1")), &DIRECT)).collect();
        assert_eq!(of_network.len(), MAX_PENDING_PER_GROUP);
        let relay = PeerIdentity::from_bytes(&[0, 1, 7]).unwrap();
        let relayed = Path::Relayed { relay, reason: RelayReason::Policy };
        let behind_relay: Vec<_> = (40..60).filter_map(|n| pending.take(&peer(n, "198.51.100.1:1"), &relayed)).collect();
        assert_eq!(behind_relay.len(), MAX_PENDING_PER_GROUP);
        assert!(pending.take(&peer(80, "203.0.113.1:1"), &DIRECT).is_some());
    }
}
