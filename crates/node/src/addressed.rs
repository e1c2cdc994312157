use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use kaspath_domain::{ConnectorError, DuplexStream, MonotonicClock, PeerBook, PeerConnector, PeerTarget};
use kaspath_policy::Directory;

use crate::{Relays, discovering::may_dial, lock, recording::known_addresses};

/// A connector that also dials at the addresses that a peer's own record names, and at
/// those that a book knows.
pub(crate) struct Addressed {
    inner: Arc<dyn PeerConnector>,
    book: Arc<dyn PeerBook>,
    directory: Arc<Mutex<Directory>>,
    relays: Relays,
    clock: MonotonicClock,
}

impl Addressed {
    pub(crate) fn new(
        inner: Arc<dyn PeerConnector>,
        book: Arc<dyn PeerBook>,
        directory: Arc<Mutex<Directory>>,
        relays: Relays,
        clock: MonotonicClock,
    ) -> Self {
        Self { inner, book, directory, relays, clock }
    }
}

#[async_trait]
impl PeerConnector for Addressed {
    async fn connect(&self, target: &PeerTarget) -> Result<DuplexStream, ConnectorError> {
        let now = self.clock.now();
        let record = target.peer.as_ref().and_then(|peer| lock(&self.directory).get(peer, now).cloned());
        let own = record.as_ref().map(|record| record.record());
        let addresses = known_addresses(self.book.as_ref(), own, target, |at| may_dial(&self.relays, at));
        let target = PeerTarget { peer: target.peer.clone(), addresses };
        self.inner.connect(&target).await
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use kaspath_domain::{
        NatMapping, NodeRecord, PeerAddress, PeerGroup, PeerIdentity, RecordKind, RelayAddress, SignedRecord, Timestamp, Told,
        TransportAddress, memory::MemoryPeerBook, ports::MockPeerConnector,
    };
    use kaspath_policy::{PoolConfig, RelayCandidate, RelaySource};

    use super::*;

    fn relay(n: u8) -> RelayAddress {
        let relay = PeerIdentity::from_bytes(&[0, 2, 9, n]).unwrap();
        RelayAddress { relay, via: TransportAddress::tcp(([203, n, 113, 1], 4001).into()) }
    }

    /// A peer that can be reached through the relays 1 and 2, by its own record.
    fn told(peer: &PeerIdentity) -> Told {
        let ttl = Duration::from_secs(600);
        let record = NodeRecord {
            peer: peer.clone(),
            kind: RecordKind::Node,
            network: "simnet".to_owned(),
            gossip: true,
            mapping: NatMapping::Unknown,
            reachable: false,
            issued: Timestamp::from_epoch(ttl),
            ttl,
            relays: vec![relay(1), relay(2)],
            candidates: Vec::new(),
            load: None,
            tag: None,
        };
        Told { record: SignedRecord::verified(record, &[]), left: ttl }
    }

    #[tokio::test]
    async fn a_peer_is_dialled_through_no_relay_of_strangers_where_only_given_ones_are_used() {
        let peer = PeerIdentity::from_bytes(&[0, 2, 1, 1]).unwrap();
        for (strangers, expected) in [(true, vec![relay(1), relay(2)]), (false, vec![relay(1)])] {
            let clock = MonotonicClock::start();
            let relays = Relays::new(peer.clone(), PoolConfig { strangers, ..PoolConfig::default() }, clock);
            let RelayAddress { relay: given, via } = relay(1);
            let addresses = vec![via];
            relays.offer(RelayCandidate { relay: given, addresses, source: RelaySource::Configured, load: None });
            let directory: Arc<Mutex<Directory>> = Arc::default();
            let source = PeerGroup::Relay(relay(1).relay);
            assert!(lock(&directory).insert(&told(&peer), source, clock.now()));
            let mut inner = MockPeerConnector::new();
            inner.expect_connect().times(1).returning(move |target| {
                let by = target.addresses.iter().map(|at| match &at.address {
                    PeerAddress::Relayed(by) => by.clone(),
                    PeerAddress::Direct(_) => panic!("{at}"),
                });
                assert_eq!(by.collect::<Vec<_>>(), expected, "with relays of strangers: {strangers}");
                Err(ConnectorError::Banned)
            });
            let book = Arc::new(MemoryPeerBook::new(10));
            let addressed = Addressed::new(Arc::new(inner), book, directory, relays, clock);
            let target = PeerTarget { peer: Some(peer.clone()), addresses: Vec::new() };
            assert!(matches!(addressed.connect(&target).await, Err(ConnectorError::Banned)));
        }
    }
}
