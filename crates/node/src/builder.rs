use std::sync::Arc;

use kaspath_domain::{
    AdmissionPolicy, AttemptOutcome, MonotonicClock, Observer, Observers, PeerBook, PeerConnector, StreamDialer, TransportPolicy,
    memory::MemoryPeerBook,
};
use kaspath_policy::{
    DialLimitsConfig, Executor, InboundLimits, Keeper, MovePace, RateLimited, SharedLimits, StrategyConfig, StrategyName,
};
use kaspath_transport_libp2p::{Network, NetworkConfig, NetworkEvent, NodeKey, StartError};

use crate::{
    Node, addressed::Addressed, admitting::Admitting, best_paths::BestPaths, node::Parts, own_nat::OwnNat, recording::Recorder,
};

/// Peers in a book that nobody has given.
const MAX_PEERS: usize = 10_000;

/// What a node is made of. Whatever is not said has a default that fits a private node.
pub struct NodeBuilder {
    key: NodeKey,
    network: NetworkConfig,
    policy: Arc<dyn TransportPolicy>,
    admission: Arc<dyn AdmissionPolicy>,
    dialers: Vec<Arc<dyn StreamDialer>>,
    book: Arc<dyn PeerBook>,
    observers: Observers<NetworkEvent>,
    attempts: Observers<AttemptOutcome>,
    limits: DialLimitsConfig,
    moves: MovePace,
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
            attempts: Observers::default(),
            limits: DialLimitsConfig::default(),
            moves: MovePace::default(),
        }
    }

    /// Where it listens, its relays and limits. What is punched and when the policy
    /// says, whatever stands in `network.punch`.
    #[must_use]
    pub fn network(self, network: NetworkConfig) -> Self {
        Self { network, ..self }
    }

    /// How peers are reached.
    #[must_use]
    pub fn policy(self, policy: Arc<dyn TransportPolicy>) -> Self {
        Self { policy, ..self }
    }

    /// Whom it lets in, and who is not to be dialled, beside the book's bans.
    #[must_use]
    pub fn admission(self, admission: Arc<dyn AdmissionPolicy>) -> Self {
        Self { admission, ..self }
    }

    /// A dialer that is asked before libp2p's, such as plain TCP's.
    #[must_use]
    pub fn dialer(mut self, dialer: Arc<dyn StreamDialer>) -> Self {
        self.dialers.push(dialer);
        self
    }

    /// What is known of peers: who is banned, and where each is dialled beside the
    /// addresses of a target. What happens is entered there. In memory, if nothing else
    /// is said.
    #[must_use]
    pub fn book(self, book: Arc<dyn PeerBook>) -> Self {
        Self { book, ..self }
    }

    /// How often peers are dialled at all.
    #[must_use]
    pub fn dial_limits(self, limits: DialLimitsConfig) -> Self {
        Self { limits, ..self }
    }

    /// How often sessions move from a relay to a direct path.
    #[must_use]
    pub fn moves(self, moves: MovePace) -> Self {
        Self { moves, ..self }
    }

    /// Tells `observer` of what happens in the network, from the start on.
    #[must_use]
    pub fn observe_network(self, observer: Arc<dyn Observer<NetworkEvent>>) -> Self {
        self.observers.add(observer);
        self
    }

    /// Tells `observer` how each attempt to reach a peer ended.
    #[must_use]
    pub fn observe_attempts(self, observer: Arc<dyn Observer<AttemptOutcome>>) -> Self {
        self.attempts.add(observer);
        self
    }

    /// Starts the node, and returns once it listens.
    ///
    /// # Errors
    /// What keeps it from listening.
    pub async fn start(self) -> Result<Node, StartError> {
        let Self { key, mut network, policy, admission, mut dialers, book, observers, attempts, limits, moves } = self;
        let clock = MonotonicClock::start();
        let admission = Arc::new(Admitting::new(admission, book.clone()));
        let recorder = Arc::new(Recorder::new(book.clone()));
        attempts.add(recorder.clone());
        observers.add(recorder.clone());
        let (best_paths, own_nat) = (BestPaths::default(), OwnNat::default());
        observers.add(Arc::new(best_paths.clone()));
        observers.add(Arc::new(own_nat.clone()));
        // A list of its own: clones of the settings may be another node's.
        observers.add(Arc::new(std::mem::replace(&mut network.observers, observers.clone())));
        let local_candidates = network.punch.allow_local_candidates;
        network.punch = crate::node::punch(policy.as_ref(), local_candidates);
        let network = Network::start(key, network).await?;
        dialers.push(Arc::new(network.dialer()));

        let limits = Arc::new(SharedLimits::new(limits, clock));
        attempts.add(limits.clone());
        let executor = Executor::new(policy, dialers, clock).with_mapping(move || own_nat.mapping()).with_observers(attempts);
        let executor = Arc::new(executor);
        let exact_connector: Arc<dyn PeerConnector> = Arc::new(RateLimited::new(executor.clone(), limits, admission.clone()));
        let connector = Arc::new(Addressed::new(exact_connector.clone(), book.clone()));
        let keeper = Keeper::new(moves, clock, rand::random);
        Ok(Node::new(Parts {
            network,
            executor,
            connector,
            exact_connector,
            admission,
            book,
            recorder,
            best_paths,
            observers,
            keeper,
            clock,
            local_candidates,
        }))
    }
}
