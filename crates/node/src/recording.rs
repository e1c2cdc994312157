//! What a node writes into its book, and the addresses that its plans read there.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex},
};

use kaspath_domain::{
    AddressSource, AttemptOutcome, Direction, NodeRecord, Observer, Path, PeerBook, PeerChange, PeerIdentity, PeerLocator,
    PeerTarget, Timestamp, addresses_for, make_room, wall_clock,
};
use kaspath_gateway::GatewayEvent;
use kaspath_kaspa_adaptor::KaspaEvent;
use kaspath_transport_libp2p::NetworkEvent;

use crate::lock;

/// Peers with a connection whose addresses are kept until they are admitted.
const MAX_CONNECTED: usize = 1024;
/// Addresses kept of each.
const MAX_ADDRESSES: usize = 4;

/// Where to dial a peer: where its own record says, if there is a valid one, for it names
/// the relays that the peer has now; at the book's addresses, best known first; and at
/// those of the target. Of the first two only where `may_dial` allows it.
pub(crate) fn known_addresses(
    book: &dyn PeerBook,
    own: Option<&NodeRecord>,
    target: &PeerTarget,
    may_dial: impl Fn(&PeerLocator) -> bool,
) -> Vec<PeerLocator> {
    let known = target.peer.as_ref().and_then(|peer| book.get(peer));
    let known = known.map(|known| addresses_for(&known, wall_clock())).unwrap_or_default();
    let mut addresses = own.map(|own| own.target().addresses).unwrap_or_default();
    addresses.retain(&may_dial);
    for locator in known.iter().filter(|known| may_dial(known)).chain(&target.addresses) {
        if !addresses.iter().any(|known| known.address == locator.address) {
            addresses.push(locator.clone());
        }
    }
    addresses
}

/// Where a peer's connections come from and go to.
struct Connected {
    since: Timestamp,
    addresses: Vec<(PeerLocator, AddressSource)>,
}

/// Records events in the book. A connection, which costs a stranger nothing, does not
/// yet add a peer to the book: its address is kept here until the peer is admitted.
pub(crate) struct Recorder {
    book: Arc<dyn PeerBook>,
    connected: Mutex<HashMap<PeerIdentity, Connected>>,
}

impl Recorder {
    pub(crate) fn new(book: Arc<dyn PeerBook>) -> Self {
        Self { book, connected: Mutex::default() }
    }

    fn update(&self, peer: &PeerIdentity, change: PeerChange) {
        // A full book evicts another peer, or refuses this one: neither is a reason to fail.
        let _ = self.book.update(peer, change, wall_clock());
    }

    fn connection(&self, peer: &PeerIdentity, remote: PeerLocator, source: AddressSource) {
        let mut connected = lock(&self.connected);
        make_room(&mut connected, peer, MAX_CONNECTED, |peer| peer.since);
        let entry = connected.entry(peer.clone()).or_insert_with(|| Connected { since: wall_clock(), addresses: Vec::new() });
        entry.addresses.push((remote, source));
        if entry.addresses.len() > MAX_ADDRESSES {
            entry.addresses.remove(0);
        }
    }

    fn admitted(&self, peer: &PeerIdentity, change: PeerChange) {
        self.update(peer, change);
        let connected = lock(&self.connected).remove(peer);
        for (locator, source) in connected.into_iter().flat_map(|connected| connected.addresses) {
            self.update(peer, PeerChange::Address { locator, source });
        }
    }
}

impl Observer<AttemptOutcome> for Recorder {
    fn observe(&self, outcome: &AttemptOutcome) {
        if let Some(peer) = &outcome.peer {
            self.update(peer, PeerChange::Dialed(outcome.clone()));
        }
        if let Some(relay) = outcome.route.relay() {
            self.update(relay, PeerChange::Relayed(outcome.clone()));
        }
    }
}

impl Observer<KaspaEvent> for Recorder {
    fn observe(&self, event: &KaspaEvent) {
        match event {
            // A peer in a session is not evicted, however many strangers are added and removed.
            KaspaEvent::PeerReady { peer: Some(peer), kaspa_id, .. } => {
                self.book.pin(peer);
                self.admitted(peer, PeerChange::KaspaId(kaspa_id.clone()));
            }
            KaspaEvent::PeerLeft { peer: Some(peer), .. } => self.book.unpin(peer),
            _ => {}
        }
    }
}

impl Observer<GatewayEvent> for Recorder {
    fn observe(&self, event: &GatewayEvent) {
        if let GatewayEvent::GatewayOpened { peer, .. } = event {
            self.admitted(peer, PeerChange::Admitted);
        }
    }
}

impl Observer<NetworkEvent> for Recorder {
    fn observe(&self, event: &NetworkEvent) {
        match event {
            NetworkEvent::Connected { peer, direction, path, remote } => {
                let source = match (direction, path) {
                    (Direction::Inbound, _) => AddressSource::Inbound,
                    (Direction::Outbound, Path::Relayed { relay, .. }) => AddressSource::Dialed { relay: Some(relay.clone()) },
                    (Direction::Outbound, Path::Direct { .. }) => AddressSource::Dialed { relay: None },
                };
                self.connection(peer, remote.clone(), source.clone());
                // If it is known already; an admission meanwhile has found the address above.
                self.update(peer, PeerChange::Address { locator: remote.clone(), source });
            }
            NetworkEvent::Disconnected { peer, .. } => drop(lock(&self.connected).remove(peer)),
            NetworkEvent::PunchDialing { peer, rtt: Some(rtt), .. } => self.update(peer, PeerChange::RoundTrip(*rtt)),
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use kaspath_domain::{NatMapping, RecordKind, RelayAddress, Route, Transport, TransportAddress, memory::MemoryPeerBook};
    use kaspath_kaspa_adaptor::CloseReason;

    use super::*;

    fn peer(n: u16) -> PeerIdentity {
        let [a, b] = n.to_be_bytes();
        PeerIdentity::from_bytes(&[0, 2, a, b]).unwrap()
    }

    fn connected(n: u16) -> NetworkEvent {
        let path = Path::Direct { transport: Transport::Tcp };
        NetworkEvent::Connected { peer: peer(n), direction: Direction::Inbound, path, remote: remote(n) }
    }

    fn remote(n: u16) -> PeerLocator {
        PeerLocator { peer: Some(peer(n)), ..format!("/ip4/192.0.2.1/tcp/{n}").parse().unwrap() }
    }

    fn recorder() -> (Recorder, Arc<MemoryPeerBook>) {
        let book = Arc::new(MemoryPeerBook::new(100));
        (Recorder::new(book.clone()), book)
    }

    #[test]
    fn ten_thousand_free_identities_that_connect_are_not_recorded_and_evict_no_known_peer() {
        let (recorder, book) = recorder();
        for n in 0..100 {
            book.update(&peer(n), PeerChange::Admitted, wall_clock()).unwrap();
        }
        for n in 100..10_100 {
            recorder.observe(&connected(n));
        }
        assert!((0..100).all(|n| book.get(&peer(n)).is_some()) && book.all().len() == 100);
        assert!(lock(&recorder.connected).len() <= MAX_CONNECTED);
    }

    #[test]
    fn strangers_that_are_admitted_and_leave_evict_no_peer_in_a_session() {
        let (recorder, book) = recorder();
        let address = ([127, 64, 0, 1], 1).into();
        let ready = |n| KaspaEvent::PeerReady {
            peer: Some(peer(n)),
            address,
            direction: Direction::Inbound,
            path: Path::Direct { transport: Transport::Tcp },
            user_agent: String::new(),
            protocol_version: 10,
            kaspa_id: "uuid".into(),
        };
        recorder.observe(&ready(0));
        for n in 1..1000 {
            recorder.observe(&ready(n));
            let (peer, reason) = (Some(peer(n)), CloseReason::PeerClosed);
            recorder.observe(&KaspaEvent::PeerLeft { peer, address, reason, after: Duration::ZERO, received: 0, sent: 0 });
        }
        assert!(book.get(&peer(0)).is_some() && book.get(&peer(1)).is_none());
    }

    #[test]
    fn an_admitted_peer_is_recorded_with_the_address_it_came_from_before() {
        let (recorder, book) = recorder();
        recorder.observe(&connected(1));
        recorder.admitted(&peer(1), PeerChange::KaspaId("uuid".into()));
        let record = book.get(&peer(1)).unwrap();
        assert_eq!((&record.addresses[0].locator, record.kaspa_ids.len()), (&remote(1), 1));
        let path = Path::Direct { transport: Transport::Tcp };
        recorder.observe(&NetworkEvent::Disconnected { peer: peer(1), path, cause: None });
        assert!(lock(&recorder.connected).is_empty());
    }

    #[test]
    fn where_a_peer_says_that_it_is_comes_before_what_the_book_remembers() {
        let (recorder, book) = recorder();
        recorder.observe(&connected(1));
        recorder.admitted(&peer(1), PeerChange::KaspaId("uuid".into()));
        let via = TransportAddress::tcp("203.0.113.1:4001".parse().unwrap());
        let own = NodeRecord {
            peer: peer(1),
            kind: RecordKind::Node,
            network: "simnet".into(),
            gossip: true,
            mapping: NatMapping::Unknown,
            reachable: false,
            issued: wall_clock(),
            ttl: Duration::from_secs(600),
            relays: vec![RelayAddress { relay: peer(9), via }],
            candidates: Vec::new(),
            load: None,
            tag: None,
        };
        let target = PeerTarget { peer: Some(peer(1)), addresses: vec![remote(2), own.target().addresses[0].clone()] };
        let known = known_addresses(book.as_ref(), Some(&own), &target, |_| true);
        assert_eq!(known, [own.target().addresses[0].clone(), remote(1), remote(2)], "each once");
    }

    #[test]
    fn a_plan_uses_the_address_that_worked_last_before_the_configured_one() {
        let (recorder, book) = recorder();
        let target = PeerTarget { peer: Some(peer(1)), addresses: vec![remote(1)] };
        let known = |target: &PeerTarget| known_addresses(book.as_ref(), None, target, |_| true);
        assert_eq!(known(&target), [remote(1)]);
        let address = TransportAddress::tcp("192.0.2.9:9".parse().unwrap());
        let result = Ok(Path::Direct { transport: Transport::Tcp });
        let outcome = AttemptOutcome { peer: Some(peer(1)), route: Route::Direct(address), result, elapsed: Duration::ZERO };
        recorder.observe(&outcome);
        let texts: Vec<String> = known(&target).iter().map(|locator| locator.address.to_string()).collect();
        assert_eq!(texts, ["/ip4/192.0.2.9/tcp/9", "/ip4/192.0.2.1/tcp/1"]);
    }
}
