//! The relay pool of a node, with real relays over loopback.

use std::{
    sync::{Arc, Mutex},
    time::Duration,
};

use async_trait::async_trait;
use kaspath_domain::{PeerAddress, PeerIdentity, RelayAddress, RelayList, RelayListError, RelayListing};
use kaspath_node::{
    Node, NodeBuilder, PoolChange, PoolEvent,
    transport::{Network, NetworkConfig, NetworkEvent, NodeKey, RelayServerConfig, ReservationState},
};
use kaspath_policy::{PoolConfig, PoolState, RelayCandidate, RelaySource};
use tokio::{sync::mpsc, time::timeout};

const DEADLINE: Duration = Duration::from_secs(20);

fn loopback() -> NetworkConfig {
    NetworkConfig { listen: vec!["/ip4/127.0.0.1/tcp/0".parse().unwrap()], ..NetworkConfig::default() }
}

async fn relay() -> Network {
    let config = NetworkConfig { relay_server: Some(RelayServerConfig::default()), ..loopback() };
    Network::start(NodeKey::generate(), config).await.unwrap()
}

fn address(relay: &Network) -> RelayAddress {
    relay.listening()[0].relay().unwrap()
}

fn candidate(relay: &Network, source: RelaySource) -> RelayCandidate {
    let RelayAddress { relay, via } = address(relay);
    RelayCandidate { relay, addresses: vec![via], source, load: None }
}

/// What happens to a node's reservations and to its pool.
#[derive(Debug)]
enum Seen {
    Network(NetworkEvent),
    Pool(PoolEvent),
}

struct Watched {
    node: Node,
    seen: mpsc::UnboundedReceiver<Seen>,
    released: Vec<PeerIdentity>,
}

impl Watched {
    async fn start(builder: NodeBuilder) -> Self {
        let (sender, seen) = mpsc::unbounded_channel();
        let events = sender.clone();
        let builder = builder.observe_network(Arc::new(move |event: &NetworkEvent| {
            let _ = events.send(Seen::Network(event.clone()));
        }));
        let node = builder.start().await.unwrap();
        node.relays().observe(Arc::new(move |event: &PoolEvent| {
            let _ = sender.send(Seen::Pool(event.clone()));
        }));
        Self { node, seen, released: Vec::new() }
    }

    /// Waits for something that happens, and gives what the test takes of it.
    async fn until<T>(&mut self, mut wanted: impl FnMut(Seen) -> Option<T>) -> T {
        let waiting = async {
            loop {
                let seen = self.seen.recv().await.expect("the node runs");
                if let Seen::Pool(PoolEvent::RelayPool { relay, change: PoolChange::Released, .. }) = &seen {
                    self.released.push(relay.clone());
                }
                if let Some(found) = wanted(seen) {
                    return found;
                }
            }
        };
        timeout(DEADLINE, waiting).await.expect("in time")
    }

    async fn confirmed(&mut self) -> PeerIdentity {
        self.until(|seen| match seen {
            Seen::Network(NetworkEvent::Reservation { relay, state: ReservationState::Confirmed }) => Some(relay),
            _ => None,
        })
        .await
    }

    fn held(&self) -> Vec<PeerIdentity> {
        let view = self.node.relays().view();
        view.relays.into_iter().filter(|relay| relay.state == PoolState::Held).map(|relay| relay.relay).collect()
    }
}

fn builder(relays: &[&Network], reservations: usize) -> NodeBuilder {
    let relays = relays.iter().map(|relay| relay.listening()[0].clone()).collect();
    let pool = PoolConfig { reservations, ..PoolConfig::default() };
    NodeBuilder::new(NodeKey::generate()).network(NetworkConfig { relays, ..loopback() }).pool(pool)
}

#[tokio::test]
async fn a_relay_that_dies_is_replaced_by_one_that_was_offered() {
    let (first, second, third) = (relay().await, relay().await, relay().await);
    let mut node = Watched::start(builder(&[&first], 2)).await;
    assert_eq!(node.confirmed().await, *first.local_peer());
    let teller = RelaySource::Rendezvous(first.local_peer().clone());
    assert!(node.node.relays().offer(candidate(&second, teller.clone())));
    assert_eq!(node.confirmed().await, *second.local_peer());
    assert!(node.node.relays().offer(candidate(&third, teller)));
    second.shutdown().await;
    assert_eq!(node.confirmed().await, *third.local_peer());
    assert_eq!(node.held().len(), 2);
    assert!(node.held().contains(third.local_peer()) && node.held().contains(first.local_peer()));
    assert_eq!(node.released, [second.local_peer().clone()], "the network is not to ask it again by itself");
    node.node.shutdown().await;
}

#[tokio::test]
async fn a_lost_reservation_is_told_with_the_time_at_which_it_is_asked_for_again_and_is() {
    let key = NodeKey::generate();
    let serving = |listen| NetworkConfig { relay_server: Some(RelayServerConfig::default()), listen, ..loopback() };
    let first = Network::start(key.clone(), serving(loopback().listen)).await.unwrap();
    let mut node = Watched::start(builder(&[&first], 1)).await;
    node.confirmed().await;
    let listening = first.listening().to_vec();
    first.shutdown().await;
    let retry_in = node
        .until(|seen| match seen {
            Seen::Network(NetworkEvent::Reservation { state: ReservationState::Lost { retry_in, .. }, .. }) => Some(retry_in),
            _ => None,
        })
        .await;
    assert!(retry_in.is_some_and(|retry_in| retry_in < Duration::from_secs(2)), "{retry_in:?}");
    let again = Network::start(key, serving(listening)).await.unwrap();
    assert_eq!(node.confirmed().await, *again.local_peer());
    node.node.shutdown().await;
}

/// A list that says what the test says.
struct Listed(Mutex<Vec<Result<RelayListing, RelayListError>>>);

#[async_trait]
impl RelayList for Listed {
    fn source(&self) -> String {
        "a test".to_owned()
    }

    async fn read(&self) -> Result<RelayListing, RelayListError> {
        self.0.lock().unwrap().pop().unwrap_or(Err(RelayListError::Empty))
    }
}

#[tokio::test]
async fn a_list_is_read_again_when_asked_and_one_that_fails_takes_no_relay_away() {
    let (first, second) = (relay().await, relay().await);
    let names = |relay: &Network| Ok(RelayListing { relays: vec![address(relay)], valid_for: Duration::from_secs(3600) });
    let list = Arc::new(Listed(Mutex::new(vec![Err(RelayListError::Empty), names(&second), names(&first)])));
    let mut node = Watched::start(builder(&[], 1).relay_list(list)).await;
    assert_eq!(node.confirmed().await, *first.local_peer());
    node.node.relays().reread();
    // A place, and what moved there: the new one is held before the old one is given back.
    let relays = node
        .until(|seen| match seen {
            Seen::Pool(PoolEvent::RelayListRead { relays, .. }) => Some(relays),
            _ => None,
        })
        .await;
    assert_eq!((relays, node.held()), (1, vec![first.local_peer().clone()]));
    node.node.relays().reread();
    let retry_in = node
        .until(|seen| match seen {
            Seen::Pool(PoolEvent::RelayListFailed { retry_in, .. }) => Some(retry_in),
            _ => None,
        })
        .await;
    assert!(retry_in < Duration::from_secs(3), "{retry_in:?}");
    first.shutdown().await;
    assert_eq!(node.confirmed().await, *second.local_peer());
    node.node.shutdown().await;
}

#[tokio::test]
async fn a_node_that_is_to_stay_with_its_own_relays_takes_none_that_others_tell_of() {
    let (first, second) = (relay().await, relay().await);
    let pool = PoolConfig { reservations: 2, strangers: false, ..PoolConfig::default() };
    let mut node = Watched::start(builder(&[&first], 2).pool(pool)).await;
    assert_eq!(node.confirmed().await, *first.local_peer());
    let (relays, teller) = (node.node.relays().clone(), first.local_peer().clone());
    for source in [RelaySource::Book, RelaySource::Rendezvous(teller.clone()), RelaySource::Gossip(teller)] {
        assert!(!relays.offer(candidate(&second, source.clone())), "{source}");
        relays.replace(&source, vec![candidate(&second, source.clone())]);
    }
    let known: Vec<_> = relays.view().relays.into_iter().map(|relay| relay.relay).collect();
    assert_eq!(known, [first.local_peer().clone()]);
    // One of a list is the user's choice as well.
    assert!(relays.offer(candidate(&second, RelaySource::List)));
    assert_eq!(node.confirmed().await, *second.local_peer());
    node.node.shutdown().await;
}

#[tokio::test]
async fn a_node_without_a_relay_of_its_own_reserves_nowhere() {
    let first = relay().await;
    let network = loopback();
    let mut node = Watched::start(NodeBuilder::new(NodeKey::generate()).network(network)).await;
    assert!(node.node.relays().offer(candidate(&first, RelaySource::Gossip(first.local_peer().clone()))));
    let own = node.node.network().local_peer().clone();
    let PeerAddress::Direct(via) = &node.node.network().listening()[0].address else { panic!("a direct address") };
    let itself = RelayCandidate { relay: own, addresses: vec![via.clone()], source: RelaySource::List, load: None };
    assert!(!node.node.relays().offer(itself));
    assert_eq!(node.node.relays().view().count(PoolState::Known), 1);
    node.node.shutdown().await;
    assert!(node.seen.try_recv().is_ok_and(|seen| !matches!(seen, Seen::Pool(_))) || node.seen.is_empty());
}
