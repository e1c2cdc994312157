//! Lists this relay at others, where nodes look for more relays.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use kaspath_domain::{
    Discovery, DiscoveryError, DiscoveryEvent, MonotonicClock, Namespace, NatMapping, Observer, PeerIdentity, PeerLocator,
    RecordDraft, RecordKind, RelayAddress, SignedRecord, Transport, TransportAddress, is_public,
};
use kaspath_policy::{Listing, Listings};
use kaspath_transport_libp2p::{Network, RelayLoad};
use tokio::{
    sync::watch,
    task::JoinSet,
    time::{sleep, timeout},
};

/// For how long an entry is asked for.
const TTL: Duration = Duration::from_secs(600);
/// Addresses that a record names: two families over two transports.
const ADDRESSES: usize = 4;
/// How often is looked whether something is to be done.
const STEP: Duration = Duration::from_secs(1);
/// For taking this relay off all lists at its end.
const UNLISTED: Duration = Duration::from_secs(1);
/// A relay's fullness is told in so many parts.
const FULL: usize = 16;

/// Where this relay is listed.
struct State {
    /// The addresses of each; one that fails is tried after the others.
    relays: BTreeMap<PeerIdentity, Vec<RelayAddress>>,
    listings: Listings,
    candidates: Vec<TransportAddress>,
}

/// Keeps this relay listed at others, which dial it first, until it is taken off.
pub(super) struct Lister {
    network: Arc<Network>,
    /// Which of the announced addresses are told.
    told: fn(&[PeerLocator]) -> Vec<TransportAddress>,
    observer: Arc<dyn Observer<DiscoveryEvent>>,
    clock: MonotonicClock,
    state: Mutex<State>,
    over: watch::Sender<bool>,
}

impl Lister {
    pub(super) fn new(network: Arc<Network>, relays: &[RelayAddress], observer: Arc<dyn Observer<DiscoveryEvent>>) -> Arc<Self> {
        Self::telling(network, relays, observer, candidates)
    }

    fn telling(
        network: Arc<Network>,
        relays: &[RelayAddress],
        observer: Arc<dyn Observer<DiscoveryEvent>>,
        told: fn(&[PeerLocator]) -> Vec<TransportAddress>,
    ) -> Arc<Self> {
        let mut state = State { relays: BTreeMap::new(), listings: Listings::default(), candidates: Vec::new() };
        for relay in relays {
            state.relays.entry(relay.relay.clone()).or_default().push(relay.clone());
        }
        let (clock, over) = (MonotonicClock::start(), watch::Sender::new(false));
        Arc::new(Self { network, told, observer, clock, state: Mutex::new(state), over })
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Runs until it is dropped; once this relay was taken off all lists, it does nothing more.
    pub(super) async fn run(self: Arc<Self>) {
        let mut over = self.over.subscribe();
        tokio::select! {
            () = self.keep_listed() => {}
            // Requests under way end with it.
            _ = over.wait_for(|over| *over) => {}
        }
        std::future::pending().await
    }

    async fn keep_listed(&self) {
        let mut asking: JoinSet<(RelayAddress, Result<Duration, DiscoveryError>)> = JoinSet::new();
        loop {
            let due = self.due();
            if !due.is_empty() {
                let record = self.record().await;
                for at in due {
                    let (discovery, record) = (self.network.discovery(), record.clone());
                    asking.spawn(async move {
                        let listed = discovery.list(&at, &Namespace::relays(), &record, TTL).await;
                        (at, listed)
                    });
                }
            }
            tokio::select! {
                Some(done) = asking.join_next() => match done {
                    Ok((at, listed)) => self.ended(&at, listed),
                    Err(error) => if let Ok(panic) = error.try_into_panic() {
                        std::panic::resume_unwind(panic);
                    }
                },
                () = sleep(STEP) => {}
            }
        }
    }

    /// Where to be listed now. Without a public address there is nothing to say yet.
    fn due(&self) -> Vec<RelayAddress> {
        let now = self.clock.now();
        let candidates = (self.told)(&self.network.announced());
        let mut state = self.state();
        if state.candidates != candidates {
            state.candidates = candidates;
            state.listings.changed(now);
        }
        if state.candidates.is_empty() {
            return Vec::new();
        }
        let State { relays, listings, .. } = &mut *state;
        let due = listings.next(relays.keys(), now);
        due.iter().filter_map(|relay| relays.get(relay)?.first().cloned()).collect()
    }

    async fn record(&self) -> SignedRecord {
        let load = self.network.relay_load().await.unwrap_or_default();
        let candidates = self.state().candidates.clone();
        self.network.discovery().sign(draft(candidates, &load))
    }

    fn ended(&self, at: &RelayAddress, listed: Result<Duration, DiscoveryError>) {
        let relay = at.relay.clone();
        let again = self.state().listings.ended(&relay, Listing::of(&listed), self.clock.now(), rand::random());
        match (listed, again) {
            (Ok(granted), _) => self.observer.observe(&DiscoveryEvent::Listed { relay, granted }),
            (Err(error), again) => {
                if let Some(addresses) = self.state().relays.get_mut(&relay) {
                    addresses.rotate_left(1);
                }
                let (cause, retry_in) = (error.to_string(), again.unwrap_or(TTL));
                self.observer.observe(&DiscoveryEvent::ListRefused { relay, cause, retry_in });
            }
        }
    }

    /// Takes this relay off all lists, for good. What does not arrive within a second ends by
    /// itself.
    pub(super) async fn unlist(&self) {
        self.over.send_replace(true);
        let at: Vec<RelayAddress> = {
            let state = self.state();
            state.listings.may_be_listed().filter_map(|relay| state.relays.get(relay)?.first().cloned()).collect()
        };
        let mut unlisting = JoinSet::new();
        for at in at {
            let discovery = self.network.discovery();
            unlisting.spawn(async move { discovery.unlist(&at, &Namespace::relays()).await });
        }
        let _ = timeout(UNLISTED, unlisting.join_all()).await;
    }
}

/// The public addresses, TCP first, for whoever takes one.
fn candidates(announced: &[PeerLocator]) -> Vec<TransportAddress> {
    let direct = announced.iter().filter_map(|locator| locator.address.direct());
    let mut candidates: Vec<TransportAddress> = direct.filter(|address| address.ip().is_some_and(is_public)).cloned().collect();
    candidates.sort_by_key(|address| address.transport != Transport::Tcp);
    candidates.truncate(ADDRESSES);
    candidates
}

/// What this relay says of itself.
fn draft(candidates: Vec<TransportAddress>, load: &RelayLoad) -> RecordDraft {
    let taken = (load.reservations * FULL).checked_div(load.max_reservations).map_or(FULL, |taken| taken.min(FULL));
    RecordDraft {
        kind: RecordKind::Relay,
        network: String::new(),
        gossip: true,
        mapping: NatMapping::Unknown,
        reachable: true,
        ttl: TTL,
        relays: Vec::new(),
        candidates,
        load: Some(taken as u8),
        tag: None,
    }
}

#[cfg(test)]
mod tests {
    use kaspath_domain::{Observers, PeerAddress, Teller};
    use kaspath_transport_libp2p::{NetworkConfig, NodeKey, PunchConfig, RelayServerConfig};

    use super::*;

    #[test]
    fn a_relay_names_its_public_addresses_with_tcp_first() {
        let announced = [
            "/ip4/203.0.113.1/udp/4001/quic-v1",
            "/dns/relay.example/tcp/4001",
            "/ip4/10.0.0.1/tcp/4001",
            "/ip4/203.0.113.1/tcp/4001",
        ]
        .map(|text| text.parse::<PeerLocator>().unwrap());
        let names: Vec<String> = candidates(&announced).iter().map(ToString::to_string).collect();
        assert_eq!(names, ["/ip4/203.0.113.1/tcp/4001", "/ip4/203.0.113.1/udp/4001/quic-v1"]);
        assert!(candidates(&[]).is_empty());
    }

    #[test]
    fn a_relay_tells_how_full_it_is() {
        let told = |reservations, max_reservations| {
            draft(Vec::new(), &RelayLoad { reservations, max_reservations, ..RelayLoad::default() }).load
        };
        assert_eq!([told(0, 512), told(511, 512), told(512, 512), told(5, 4), told(0, 0)], [0, 15, 16, 16, 16].map(Some));
    }

    async fn relay() -> Arc<Network> {
        let config = NetworkConfig {
            listen: vec!["/ip4/127.0.0.1/tcp/0".parse().unwrap()],
            punch: PunchConfig { allow_local_candidates: true, ..PunchConfig::default() },
            relay_server: Some(RelayServerConfig::default()),
            ..NetworkConfig::default()
        };
        Arc::new(Network::start(NodeKey::generate(), config).await.unwrap())
    }

    #[tokio::test]
    async fn a_relay_that_is_about_to_end_is_told_of_no_more() {
        const DEADLINE: Duration = Duration::from_secs(15);
        let (teller, listed, asking) = (relay().await, relay().await, relay().await);
        let PeerAddress::Direct(via) = teller.listening()[0].address.clone() else { panic!("direct") };
        let at = RelayAddress { relay: teller.local_peer().clone(), via };
        let on_loopback: fn(&[PeerLocator]) -> Vec<TransportAddress> =
            |announced| announced.iter().filter_map(|locator| locator.address.direct().cloned()).collect();
        let lister = Lister::telling(listed.clone(), std::slice::from_ref(&at), Arc::new(Observers::default()), on_loopback);
        let running = tokio::spawn(lister.clone().run());
        // The other relay tells of so many; a question that is refused, for there is a rate, says nothing.
        let tells_of = async |wanted: usize| {
            let told = async {
                loop {
                    let told = asking.discovery().ask(&Teller::Relay(at.clone()), &Namespace::relays(), 128).await;
                    if let Ok(told) = told
                        && told.told.len() == wanted
                    {
                        return told;
                    }
                    sleep(Duration::from_millis(500)).await;
                }
            };
            timeout(DEADLINE, told).await.expect("the list changes")
        };
        assert_eq!(tells_of(1).await.told[0].record.record().load, Some(0));
        lister.unlist().await;
        let (drained, _) = tokio::join!(listed.drain(Duration::from_secs(2)), tells_of(0));
        drained.unwrap();
        assert!(!running.is_finished(), "the end of endless work would be a failure");
        running.abort();
    }
}
