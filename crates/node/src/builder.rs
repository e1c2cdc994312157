use std::{
    sync::{Arc, Mutex},
    time::Duration,
};

use kaspath_domain::{
    AdmissionPolicy, MonotonicClock, NatMapping, Observer, Observers, PeerAddress, PeerBook, PeerConnector, Rates, RelayAddress,
    RelayList, RetryCadence, StreamDialer, StreamListener, TransportPolicy, memory::MemoryPeerBook,
};
use kaspath_policy::{
    DialLimitsConfig, Directory, Executor, InboundLimits, Keeper, MappingObserver, PoolConfig, RateLimited, RelayCandidate,
    RelaySource, SessionExecutor, SharedLimits, StrategyConfig, StrategyName,
};
use kaspath_session::{SessionLimits, Sessions};
use kaspath_transport_libp2p::{Network, NetworkConfig, NetworkEvent, NodeKey, StartError};
use tokio::task::JoinSet;

use crate::{
    Node, Relays, addressed::Addressed, admitting::Admitting, best_paths::BestPaths, discovering::HeldRelays, listing, lock,
    node::Parts, pooling::PooledFirst, recording::Recorder, session_paths::NodePaths,
};

/// Peers in the default book.
const MAX_PEERS: usize = 10_000;
/// Planned moves of a peer's sessions at once, and the time for one more: each sends again
/// what was under way. And the peers remembered for that.
const MOVES: u32 = 4;
const MOVE_REFILL: Duration = Duration::from_secs(20);
const MAX_MOVING: usize = 4096;

/// The parts of a node. The defaults fit a private node.
#[must_use]
pub struct NodeBuilder {
    key: NodeKey,
    network: NetworkConfig,
    policy: Arc<dyn TransportPolicy>,
    admission: Arc<dyn AdmissionPolicy>,
    dialers: Vec<Arc<dyn StreamDialer>>,
    book: Arc<dyn PeerBook>,
    observers: Observers<NetworkEvent>,
    pool: Option<PoolConfig>,
    relay_list: Option<Arc<dyn RelayList>>,
}

impl NodeBuilder {
    /// A node of this identity, with the balanced policy and the usual inbound limits.
    pub fn new(key: NodeKey) -> Self {
        Self {
            key,
            network: NetworkConfig::default(),
            policy: StrategyConfig::new(StrategyName::Balanced).build(),
            admission: Arc::new(InboundLimits::default()),
            dialers: Vec::new(),
            book: Arc::new(MemoryPeerBook::new(MAX_PEERS)),
            observers: Observers::default(),
            pool: None,
            relay_list: None,
        }
    }

    /// Where it listens, its relays and limits. The policy decides what is punched and
    /// when, whatever `network.punch` says.
    pub fn network(self, network: NetworkConfig) -> Self {
        Self { network, ..self }
    }

    /// How peers are reached.
    pub fn policy(self, policy: Arc<dyn TransportPolicy>) -> Self {
        Self { policy, ..self }
    }

    /// Which peers it accepts and which it does not dial, beside the book's bans.
    pub fn admission(self, admission: Arc<dyn AdmissionPolicy>) -> Self {
        Self { admission, ..self }
    }

    /// A dialer that is asked before libp2p's, such as plain TCP's.
    pub fn dialer(mut self, dialer: Arc<dyn StreamDialer>) -> Self {
        self.dialers.push(dialer);
        self
    }

    /// What is known of peers: who is banned, and where each is dialled beside the
    /// addresses of a target. Events are recorded there. The default is in memory.
    pub fn book(self, book: Arc<dyn PeerBook>) -> Self {
        Self { book, ..self }
    }

    /// Tells `observer` of what happens in the network, from the start on.
    pub fn observe_network(self, observer: Arc<dyn Observer<NetworkEvent>>) -> Self {
        self.observers.add(observer);
        self
    }

    /// How many reservations are held, at relays of whatever source. By default a node holds
    /// as many as `network.wanted_reservations` says if it is given a relay or a list of
    /// relays, else none.
    pub fn pool(self, pool: PoolConfig) -> Self {
        Self { pool: Some(pool), ..self }
    }

    /// A list of relays to reserve at, beside those of the network's settings. It is read
    /// in the background.
    pub fn relay_list(self, list: Arc<dyn RelayList>) -> Self {
        Self { relay_list: Some(list), ..self }
    }

    /// Starts the node, and returns once it listens.
    ///
    /// # Errors
    /// What keeps it from listening.
    pub async fn start(self) -> Result<Node, StartError> {
        let Self { key, mut network, policy, admission, dialers, book, observers, pool, relay_list } = self;
        let configured = listing::grouped(take_relays(&mut network)?);
        let session_observers = Observers::default();
        let clock = MonotonicClock::start();
        let admission = Arc::new(Admitting::new(admission, book.clone()));
        let recorder = Arc::new(Recorder::new(book.clone()));
        let best_paths = BestPaths::default();
        observers.add(recorder.clone());
        observers.add(Arc::new(best_paths.clone()));
        let held = HeldRelays::of(network.is_relay());
        observers.add(Arc::new(held.clone()));
        let directory = Arc::new(Mutex::new(Directory::default()));
        let mapping: Arc<dyn Fn() -> NatMapping + Send + Sync> = Arc::new(own_mapping(&observers));
        let for_plans = mapping.clone();
        let has_relays = !configured.is_empty() || relay_list.is_some();
        let reservations = if has_relays { network.wanted_reservations } else { 0 };
        let pool = pool.unwrap_or(PoolConfig { reservations, ..PoolConfig::default() });
        let relays = Relays::new(key.identity(), pool, clock);
        for (relay, addresses) in configured {
            relays.offer(RelayCandidate { relay, addresses, source: RelaySource::Configured, load: None });
        }
        relays.remember(book.as_ref());
        // The pool says which relays, and when each is asked again.
        (network.wanted_reservations, network.reservation_cadence) = (usize::MAX, RetryCadence::never());
        // A list of its own: clones of the settings may be another node's.
        let pooled_first = PooledFirst { relays: relays.clone(), then: observers.clone() };
        observers.add(Arc::new(std::mem::replace(&mut network.observers, Observers::of(Arc::new(pooled_first)))));
        let local_candidates = network.punch.allow_local_candidates;
        network.punch = crate::node::punch(policy.as_ref(), local_candidates);
        let has_sessions = network.session_protocol.is_some();
        let network = Arc::new(Network::start(key, network).await?);
        let mut background = JoinSet::new();
        background.spawn(relays.clone().run(network.clone()));
        if let Some(list) = relay_list {
            background.spawn(relays.clone().keep_listed(list));
        }
        let limits = Arc::new(SharedLimits::new(DialLimitsConfig::default(), clock));
        let attempts = Observers::of(recorder.clone());
        attempts.add(limits.clone());
        attempts.add(Arc::new(relays.clone()));
        let with = |dialer| dialers.iter().cloned().chain([Arc::new(dialer) as Arc<dyn StreamDialer>]).collect();
        let executor = Executor::new(policy, with(network.dialer()), clock)
            .with_mapping(move || for_plans())
            .with_observers(attempts.clone());
        let executor = Arc::new(executor);
        let limited = |inner: Arc<dyn PeerConnector>| Arc::new(RateLimited::new(inner, limits.clone(), admission.clone()));
        let addressed = |inner| {
            let (book, directory, relays) = (book.clone(), directory.clone(), relays.clone());
            Arc::new(Addressed::new(inner, book, directory, relays, clock)) as Arc<dyn PeerConnector>
        };
        let plain = addressed(limited(executor.clone()));
        let (connector, listener, sessions) = if has_sessions {
            let relayed = executor.with_dialers(with(network.session_dialer().taking_circuits()));
            let direct = executor.with_dialers(with(network.session_dialer()));
            let for_sessions: Arc<dyn PeerConnector> = Arc::new(SessionExecutor::new(relayed, direct));
            let paths = NodePaths {
                dialer: network.session_dialer(),
                first: addressed(limited(for_sessions.clone())),
                again: addressed(for_sessions),
                plain,
                admission: admission.clone(),
                best: best_paths,
                moves: Mutex::new(Rates::new(MOVES, MOVE_REFILL, MAX_MOVING)),
            };
            let sessions = Sessions::new(Arc::new(paths), &SessionLimits::default(), clock, session_observers.clone());
            let listener = sessions.listener(network.listener());
            (Arc::new(sessions.clone()) as Arc<dyn PeerConnector>, listener, Some(sessions))
        } else {
            (plain, network.listener() as Arc<dyn StreamListener>, None)
        };
        let keeper = Keeper::new(clock, rand::random);
        Ok(Node(Arc::new(Parts {
            network,
            relays,
            background: Mutex::new(background),
            executor,
            connector,
            listener,
            admission,
            book,
            recorder,
            observers,
            sessions,
            session_observers,
            attempts,
            keeper,
            clock,
            local_candidates,
            mapping,
            held,
            directory,
        })))
    }
}

/// The relays of the settings: the pool has them from now on.
fn take_relays(network: &mut NetworkConfig) -> Result<Vec<RelayAddress>, StartError> {
    let (direct, circuits) =
        std::mem::take(&mut network.listen).into_iter().partition(|locator| matches!(locator.address, PeerAddress::Direct(_)));
    network.listen = direct;
    let relays = std::mem::take(&mut network.relays).into_iter().chain(circuits);
    relays.map(|locator| locator.relay().ok_or(StartError::RelayWithoutPeerId(locator))).collect()
}

/// How our own NAT maps, by the ports at which relays see us.
fn own_mapping(observers: &Observers<NetworkEvent>) -> impl Fn() -> NatMapping + Send + Sync + 'static {
    let mapping = Arc::new(Mutex::new(MappingObserver::default()));
    let observed = mapping.clone();
    observers.add(Arc::new(move |event: &NetworkEvent| {
        if let NetworkEvent::CandidateObserved { address, by } = event
            && let PeerAddress::Direct(address) = &address.address
        {
            lock(&observed).observe(by, address.transport, address.port);
        }
    }));
    move || lock(&mapping).mapping()
}
