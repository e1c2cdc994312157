//! Connections of inbound peers whose handshake is not over, limited as in kaspad
//! and by where they come from.

use std::{
    net::IpAddr,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use kaspath_domain::{ConnectInfo, Counts, Path, PeerClass, PeerGroup};

/// Twice kaspad's, so that four crowded networks do not take all.
const MAX_PENDING: usize = 64;
const MAX_PENDING_PER_IP: usize = 2;
/// From one network (/16 or /48), or through one relay: identities, and so
/// synthetic addresses, are free.
const MAX_PENDING_PER_ORIGIN: usize = 8;

#[derive(Debug, Default)]
struct UnderWay {
    all: usize,
    by_ip: Counts<IpAddr>,
    by_origin: Counts<PeerGroup>,
}

/// The handshakes under way.
#[derive(Clone, Debug, Default)]
pub(crate) struct Pending(Arc<Mutex<UnderWay>>);

/// One of them, given back on drop.
#[derive(Debug)]
pub(crate) struct PendingPlace {
    pending: Pending,
    ip: IpAddr,
    origin: Option<PeerGroup>,
}

impl Pending {
    fn lock(&self) -> MutexGuard<'_, UnderWay> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A place, if there is one for such a connection.
    pub(crate) fn enter(&self, info: &ConnectInfo, path: &Path) -> Option<PendingPlace> {
        let ip = info.synthetic.ip().to_canonical();
        let origin = match PeerClass::of(info, path) {
            // Loopback is no network of strangers.
            PeerClass::Direct { from } if from.is_loopback() => None,
            class => Some(PeerGroup::of(&class)),
        };
        let mut counts = self.lock();
        let of_ip = counts.by_ip.of(&ip);
        let of_origin = origin.as_ref().map_or(0, |origin| counts.by_origin.of(origin));
        if counts.all >= MAX_PENDING || of_ip >= MAX_PENDING_PER_IP || of_origin >= MAX_PENDING_PER_ORIGIN {
            return None;
        }
        counts.all += 1;
        counts.by_ip.add(ip);
        if let Some(origin) = &origin {
            counts.by_origin.add(origin.clone());
        }
        Some(PendingPlace { pending: self.clone(), ip, origin })
    }
}

impl Drop for PendingPlace {
    fn drop(&mut self) {
        let mut counts = self.pending.lock();
        counts.all -= 1;
        counts.by_ip.remove(&self.ip);
        if let Some(origin) = &self.origin {
            counts.by_origin.remove(origin);
        }
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
        let enter = |n: u8| pending.enter(&peer(n, &format!("192.{n}.0.1:1")), &DIRECT);
        let first = enter(1).unwrap();
        let _second = enter(1).unwrap();
        assert!(enter(1).is_none());
        drop(first);
        let _third = enter(1).unwrap();
        let others: Vec<_> = (2..64).map(|n| enter(n).unwrap()).collect();
        assert!(enter(80).is_none());
        drop(others);
        assert!(enter(80).is_some());
        let counts = pending.lock();
        assert_eq!((counts.all, counts.by_ip.len(), counts.by_origin.len()), (2, 1, 1));
    }

    #[test]
    fn many_identities_of_one_network_or_behind_one_relay_leave_room_for_others() {
        let pending = Pending::default();
        let of_network: Vec<_> = (0..20).filter_map(|n| pending.enter(&peer(n, &format!("192.0.{n}.1:1")), &DIRECT)).collect();
        assert_eq!(of_network.len(), MAX_PENDING_PER_ORIGIN);
        let relay = PeerIdentity::from_bytes(&[0, 1, 7]).unwrap();
        let relayed = Path::Relayed { relay, reason: RelayReason::Policy };
        let behind_relay: Vec<_> = (40..60).filter_map(|n| pending.enter(&peer(n, "198.51.100.1:1"), &relayed)).collect();
        assert_eq!(behind_relay.len(), MAX_PENDING_PER_ORIGIN);
        assert!(pending.enter(&peer(80, "203.0.113.1:1"), &DIRECT).is_some());
    }
}
