use std::{
    collections::HashMap,
    sync::{Arc, Mutex},
};

use kaspath_domain::{Observer, Path, PeerIdentity, RelayReason};
use kaspath_transport_libp2p::NetworkEvent;
use tokio::sync::watch;

use crate::lock;

/// The best path to each peer, by its open connections. Bounded by these and by the
/// watchers. Cheap to clone; all clones share one table.
#[derive(Clone, Default)]
pub(crate) struct BestPaths(Arc<Mutex<HashMap<PeerIdentity, Paths>>>);

#[derive(Default)]
struct Paths {
    /// The paths of the open connections.
    open: Vec<Path>,
    best: watch::Sender<Option<Path>>,
}

impl BestPaths {
    /// The best path to the peer, now and from now on.
    pub(crate) fn watch(&self, peer: &PeerIdentity) -> watch::Receiver<Option<Path>> {
        let mut known = lock(&self.0);
        known.retain(|_, paths| paths.matter());
        known.entry(peer.clone()).or_default().best.subscribe()
    }

    fn change(&self, peer: &PeerIdentity, change: impl FnOnce(&mut Vec<Path>)) {
        let mut known = lock(&self.0);
        let paths = known.entry(peer.clone()).or_default();
        change(&mut paths.open);
        paths.notify();
        if !paths.matter() {
            known.remove(peer);
        }
    }

    /// Circuits through that relay end soon.
    fn drain(&self, relay: &PeerIdentity) {
        for paths in lock(&self.0).values_mut() {
            for path in &mut paths.open {
                if let Path::Relayed { relay: through, reason } = path
                    && through == relay
                {
                    *reason = RelayReason::RelayDraining;
                }
            }
            paths.notify();
        }
    }
}

impl Paths {
    fn matter(&self) -> bool {
        !self.open.is_empty() || self.best.receiver_count() > 0
    }

    fn notify(&mut self) {
        let now = self.open.iter().find(|path| !path.is_relayed()).or(self.open.first());
        self.best.send_if_modified(|before| {
            let changed = before.as_ref() != now;
            *before = now.cloned();
            changed
        });
    }
}

/// Whether two reports are of one kind of connection: the reason to be on a relay changes.
fn same(one: &Path, other: &Path) -> bool {
    match (one, other) {
        (Path::Direct { transport: one }, Path::Direct { transport: other }) => one == other,
        (Path::Relayed { relay: one, .. }, Path::Relayed { relay: other, .. }) => one == other,
        _ => false,
    }
}

impl Observer<NetworkEvent> for BestPaths {
    fn observe(&self, event: &NetworkEvent) {
        match event {
            NetworkEvent::Connected { peer, path, .. } => self.change(peer, |open| open.push(path.clone())),
            NetworkEvent::Disconnected { peer, path, .. } => self.change(peer, |open| {
                if let Some(index) = open.iter().position(|other| same(other, path)) {
                    open.swap_remove(index);
                }
            }),
            NetworkEvent::RelayDraining { relay, .. } => self.drain(relay),
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use kaspath_domain::{Direction, Transport};

    use super::*;

    const QUIC: Path = Path::Direct { transport: Transport::Quic };

    fn peer(n: u8) -> PeerIdentity {
        PeerIdentity::from_bytes(&[0, 1, n]).expect("an identity")
    }

    fn relayed(reason: RelayReason) -> Path {
        Path::Relayed { relay: peer(8), reason }
    }

    fn up(paths: &BestPaths, path: Path) {
        let remote = "192.0.2.1:1".parse().expect("an address");
        paths.observe(&NetworkEvent::Connected { peer: peer(1), direction: Direction::Outbound, path, remote });
    }

    fn down(paths: &BestPaths, path: Path) {
        paths.observe(&NetworkEvent::Disconnected { peer: peer(1), path, cause: None });
    }

    #[test]
    fn the_best_path_is_direct_while_one_direct_connection_is_open() {
        let paths = BestPaths::default();
        up(&paths, relayed(RelayReason::PunchPending));
        let watch = paths.watch(&peer(1));
        assert!(watch.borrow().as_ref().is_some_and(Path::is_relayed), "it was open before");
        up(&paths, QUIC);
        up(&paths, QUIC);
        down(&paths, QUIC);
        assert_eq!(*watch.borrow(), Some(QUIC));
        down(&paths, relayed(RelayReason::Policy));
        down(&paths, QUIC);
        assert_eq!(*watch.borrow(), None);
    }

    #[test]
    fn who_is_on_a_relay_that_drains_learns_of_it() {
        let paths = BestPaths::default();
        up(&paths, relayed(RelayReason::PunchPending));
        let mut watch = paths.watch(&peer(1));
        paths.observe(&NetworkEvent::RelayDraining { relay: peer(9), left: std::time::Duration::from_secs(9) });
        assert!(!watch.has_changed().expect("open"), "another relay");
        paths.observe(&NetworkEvent::RelayDraining { relay: peer(8), left: std::time::Duration::from_secs(9) });
        assert!(watch.has_changed().expect("open"));
        assert_eq!(*watch.borrow_and_update(), Some(relayed(RelayReason::RelayDraining)));
    }

    #[test]
    fn who_is_neither_connected_nor_watched_is_forgotten() {
        let paths = BestPaths::default();
        for n in 0..100 {
            drop(paths.watch(&peer(n)));
        }
        assert_eq!(lock(&paths.0).len(), 1);
        up(&paths, QUIC);
        down(&paths, QUIC);
        down(&paths, QUIC);
        assert!(!lock(&paths.0).contains_key(&peer(1)));
    }
}
