//! Peers that this node finds by itself: asks relays whom they know, is listed there, and
//! keeps sessions with a few of those that it was told of.
//!
//! | file | what it does |
//! |---|---|
//! | `config` | what it is told, and what it is asked to do |
//! | `relays` | which relays there are to ask, and which hold a reservation |
//! | `state` | what is known and decided |
//! | `group` | a private group |
//! | `gossip` | which peer is asked next whom it knows |
//! | `own` | what this node says of itself |
//! | `search` | what has come of it, for people |

mod config;
mod gossip;
mod group;
mod own;
mod relays;
mod search;
mod state;
#[cfg(test)]
mod tests;
mod topic;

use std::{
    collections::{BTreeSet, HashMap},
    sync::{
        Arc, Mutex, MutexGuard,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use futures::future::join_all;
use kaspath_domain::{
    DiscoveredChange, Discovery, DiscoveryAnswer, DiscoveryError, DiscoveryEvent, MonotonicClock, Namespace, NotTold, Observer,
    PeerBook, PeerIdentity, PeerLocator, PeerTarget, RelayAddress, SignedRecord, Teller, wall_clock,
};
use kaspath_policy::{Answer, Directory, Listing, Outbound, OutboundStep, SlotKind, SlotState};
use kaspath_transport_libp2p::{KnownRecords, Reachability};
use tokio::{
    sync::{oneshot, watch},
    task::JoinSet,
    time::{sleep, timeout},
};

pub use config::{DiscoverConfig, DiscoveredPeer, ReachPeer};
use gossip::PeerQuestion;
pub use group::{Group, GroupError};
use own::{Own, TTL};
pub use relays::{ConfiguredRelays, KnownRelay, KnownRelays};
pub(crate) use relays::{HeldRelays, may_dial};
pub use search::Search;
use state::{Asks, By, Question, State, carrier, proven};
use topic::Topic;

use crate::{Node, lock};

/// Records of an answer.
const PEERS: usize = 32;
const RELAYS: usize = 128;
/// A session with a peer that was told of is there after this time, or it is given up.
const REACHED: Duration = Duration::from_secs(45);
/// For taking this node off all lists at the end.
const UNLISTED: Duration = Duration::from_secs(1);
/// How often the book is looked through for peers that have served well, and how many of
/// those heard of last.
const PROVEN_EVERY: Duration = Duration::from_secs(600);
const PROVEN_OF: usize = 1024;

struct Parts {
    discovery: Arc<dyn Discovery>,
    reach: Arc<dyn ReachPeer>,
    book: Arc<dyn PeerBook>,
    clock: MonotonicClock,
    config: DiscoverConfig,
    held: watch::Receiver<BTreeSet<PeerIdentity>>,
    directory: Arc<Mutex<Directory>>,
    own: Own,
    state: Mutex<State>,
}

/// Finds peers as long as [`Discovering::run`] runs. Cheap to clone.
#[derive(Clone)]
pub struct Discovering(Arc<Parts>);

/// What a task has come to.
enum Done {
    Answered(Question, Result<DiscoveryAnswer, DiscoveryError>),
    Gossiped(PeerQuestion, Result<DiscoveryAnswer, DiscoveryError>),
    Listed(Topic, RelayAddress, Result<Duration, DiscoveryError>),
    /// A session ended, or `None`: this node has left.
    Session(PeerIdentity, Option<Result<(), String>>),
}

impl Node {
    /// Finds peers by asking there, and begins sessions with them by `reach`.
    pub fn discover(&self, discovery: Arc<dyn Discovery>, reach: Arc<dyn ReachPeer>, config: DiscoverConfig) -> Discovering {
        let mapping = self.0.mapping.clone();
        let (node, held) = (self.clone(), self.0.held.clone());
        let (announcing, reachable) = (node.clone(), node);
        let direct = |locator: &PeerLocator| locator.address.direct().cloned();
        let announced = move || announcing.network().announced().iter().filter_map(direct).collect();
        let reachable = move || {
            let known = reachable.network().reachability().into_iter();
            known.filter(|(_, state)| *state == Reachability::Reachable).filter_map(|(address, _)| direct(&address)).collect()
        };
        let own = Own::new(&config, mapping, announced, reachable, held);
        let clock = self.0.clock;
        Discovering::new(discovery, reach, self.book(), clock, config, &self.0.held, self.0.directory.clone(), own)
    }
}

impl Discovering {
    #[allow(clippy::too_many_arguments)]
    fn new(
        discovery: Arc<dyn Discovery>,
        reach: Arc<dyn ReachPeer>,
        book: Arc<dyn PeerBook>,
        clock: MonotonicClock,
        config: DiscoverConfig,
        held: &HeldRelays,
        directory: Arc<Mutex<Directory>>,
        own: Own,
    ) -> Self {
        let outbound = Outbound::new(config.outbound, config.configured.iter().cloned().chain([discovery.identity()]));
        let asks = Asks { peers: config.outbound > 0, relays: config.relays.takes_strangers() };
        let state = Mutex::new(State::new(outbound, asks, directory.clone(), (config.network.clone(), config.group.clone())));
        Self(Arc::new(Parts { discovery, reach, book, clock, config, held: held.watch(), directory, own, state }))
    }

    fn state(&self) -> MutexGuard<'_, State> {
        lock(&self.0.state)
    }

    fn report(&self, event: DiscoveryEvent) {
        self.0.config.observers.observe(&event);
    }

    /// The peers that are reached now.
    pub fn peers(&self) -> Vec<DiscoveredPeer> {
        let now = self.0.clock.now();
        let state = self.state();
        let peers = state.outbound.slots().map(|(peer, slot)| DiscoveredPeer {
            peer: peer.clone(),
            kind: slot.kind,
            groups: slot.groups(),
            age: match slot.state {
                SlotState::Up { since } => Some(now.since(since)),
                SlotState::Beginning | SlotState::Leaving => None,
            },
        });
        peers.collect()
    }

    /// Takes this node off all lists; to be called at an orderly end. What does not arrive
    /// within a second ends by itself.
    pub async fn unlist(&self) {
        let now = self.0.clock.now();
        let known = self.0.config.relays.known();
        let here = self.0.own.here(self.0.discovery.identity());
        let mut unlisting = Vec::new();
        for topic in [Topic::Peers, Topic::Relays] {
            let listed: Vec<PeerIdentity> = self.state().listings(topic).listed(now).cloned().collect();
            let relays = known.iter().map(|known| &known.relay).chain(&here);
            for relay in relays.filter(|relay| listed.contains(&relay.relay)) {
                let (discovery, namespace) = (self.0.discovery.clone(), self.namespace(topic));
                unlisting.push(async move { discovery.unlist(relay, &namespace).await });
            }
        }
        let _ = timeout(UNLISTED, join_all(unlisting)).await;
    }

    /// Asks, is listed and keeps sessions, until it is dropped, which ends those that it
    /// has begun. Panics if one of its tasks does.
    pub async fn run(&self) {
        let mut tasks: JoinSet<Done> = JoinSet::new();
        let mut leave: HashMap<PeerIdentity, oneshot::Sender<()>> = HashMap::new();
        let mut held = self.0.held.clone();
        let (mut before, mut mapping, mut proven_at) = (BTreeSet::new(), self.0.own.mapping(), None);
        loop {
            let now = self.0.clock.now();
            let holds = held.borrow_and_update().clone();
            if holds != before {
                let is_lost = before.difference(&holds).next().is_some();
                self.state().held_changed(is_lost, now);
                before.clone_from(&holds);
            }
            if self.0.own.look() || mapping != self.0.own.mapping() {
                mapping = self.0.own.mapping();
                self.state().changed(now);
            }
            let known = self.0.config.relays.known();
            if self.0.config.outbound > 0 && proven_at.is_none_or(|at| now.since(at) >= PROVEN_EVERY) {
                proven_at = Some(now);
                let proven = proven(&self.0.book.recent(PROVEN_OF), &known, wall_clock());
                self.state().outbound.prove(proven);
            }
            self.ask((&known, &holds), &mut tasks);
            self.list((&known, &holds), &mut tasks);
            self.step(&mut tasks, &mut leave);
            tokio::select! {
                Some(done) = tasks.join_next() => match done {
                    Ok(done) => self.done(done, &mut leave),
                    Err(error) => if let Ok(panic) = error.try_into_panic() {
                        std::panic::resume_unwind(panic);
                    }
                },
                changed = held.changed() => if changed.is_err() {
                    std::future::pending::<()>().await;
                },
                () = sleep(Outbound::STEP) => {}
            }
        }
    }

    fn ask(&self, (known, held): (&[KnownRelay], &BTreeSet<PeerIdentity>), tasks: &mut JoinSet<Done>) {
        let is_served = self.0.config.relays.is_served();
        let questions = self.state().questions(known, is_served, held, self.0.clock.now(), &mut rand::random);
        for question in questions {
            let asking = self.asking(Teller::Relay(question.to.relay.clone()), question.topic);
            tasks.spawn(async move { Done::Answered(question, asking.await) });
        }
        let for_peer = self.state().peer_question(self.0.clock.now(), &mut rand::random);
        if let Some(question) = for_peer {
            let asking = self.asking(Teller::Peer(question.peer.clone()), question.topic);
            tasks.spawn(async move { Done::Gossiped(question, asking.await) });
        }
    }

    fn asking(
        &self,
        teller: Teller,
        topic: Topic,
    ) -> impl Future<Output = Result<DiscoveryAnswer, DiscoveryError>> + Send + 'static {
        let (discovery, namespace) = (self.0.discovery.clone(), self.namespace(topic));
        let limit = match topic {
            Topic::Peers => PEERS,
            Topic::Relays => RELAYS,
        };
        async move { discovery.ask(&teller, &namespace, limit).await }
    }

    fn list(&self, (known, held): (&[KnownRelay], &BTreeSet<PeerIdentity>), tasks: &mut JoinSet<Done>) {
        if !self.0.config.is_listed {
            return;
        }
        let here = self.0.own.here(self.0.discovery.identity());
        let mut peers_at = self.0.own.lists_at(known, held);
        peers_at.extend(&here);
        self.list_at(Topic::Peers, &peers_at, (known, held), tasks);
        self.list_at(Topic::Relays, &self.0.own.lists_relay_at(known), (known, held), tasks);
    }

    fn list_at(
        &self,
        topic: Topic,
        at: &[&RelayAddress],
        (known, held): (&[KnownRelay], &BTreeSet<PeerIdentity>),
        tasks: &mut JoinSet<Done>,
    ) {
        let due = self.state().listings(topic).next(at.iter().map(|relay| &relay.relay), self.0.clock.now());
        if due.is_empty() {
            return;
        }
        let mut draft = self.0.own.draft(known, held);
        // The list of relays is for everybody.
        let tag = self.0.config.group.as_ref().filter(|_| topic == Topic::Peers);
        draft.tag = tag.map(|group| group.tag(&self.0.discovery.identity()));
        let record = self.0.discovery.sign(draft);
        for relay in at.iter().filter(|relay| due.contains(&relay.relay)).map(|relay| (*relay).clone()) {
            let (discovery, namespace, record) = (self.0.discovery.clone(), self.namespace(topic), record.clone());
            tasks.spawn(async move {
                let listed = discovery.list(&relay, &namespace, &record, TTL).await;
                Done::Listed(topic, relay, listed)
            });
        }
    }

    fn namespace(&self, topic: Topic) -> Namespace {
        match topic {
            Topic::Peers => self.0.config.namespace.clone(),
            Topic::Relays => Namespace::relays(),
        }
    }

    fn step(&self, tasks: &mut JoinSet<Done>, leave: &mut HashMap<PeerIdentity, oneshot::Sender<()>>) {
        let now = self.0.clock.now();
        let steps = {
            let mut state = self.state();
            let all_asked = state.all_asked();
            state.outbound.step(now, all_asked, &mut rand::random)
        };
        for step in steps {
            match step {
                OutboundStep::Leave(peer) => drop(leave.remove(&peer)),
                OutboundStep::Reach(peer) => {
                    let addresses = lock(&self.0.directory).target(&peer, now).map(|target| target.addresses);
                    let mut addresses = addresses.unwrap_or_default();
                    addresses.retain(|at| may_dial(self.0.config.relays.as_ref(), at));
                    let target = PeerTarget { peer: Some(peer.clone()), addresses };
                    let (left, end) = oneshot::channel();
                    leave.insert(peer.clone(), left);
                    let own = self.clone();
                    tasks.spawn(async move {
                        let ended = own.session(&peer, target, end).await;
                        Done::Session(peer, ended)
                    });
                }
            }
        }
    }

    /// A session with a peer, until it has ended; `None` if it is to be left.
    async fn session(&self, peer: &PeerIdentity, target: PeerTarget, left: oneshot::Receiver<()>) -> Option<Result<(), String>> {
        let (reached, is_up) = oneshot::channel();
        let (own, of) = (self.clone(), peer.clone());
        let was_up = Arc::new(AtomicBool::new(false));
        let noted = was_up.clone();
        let up = move || {
            noted.store(true, Ordering::Relaxed);
            let now = own.0.clock.now();
            let carrier = own.0.book.get(&of).as_ref().and_then(carrier);
            own.state().outbound.began(&of, carrier, now, &mut rand::random);
            own.changed(&of, DiscoveredChange::Reached, None);
            let _ = reached.send(());
        };
        let late = async {
            if timeout(REACHED, is_up).await.is_ok() {
                std::future::pending::<()>().await;
            }
        };
        tokio::select! {
            ended = self.0.reach.reach(target, Box::new(up)) => Some(ended),
            () = late => Some(Err(format!("no session within {} s", REACHED.as_secs()))),
            _ = left => (!was_up.load(Ordering::Relaxed)).then(|| Err("it is not wanted any more".to_owned())),
        }
    }

    fn changed(&self, peer: &PeerIdentity, change: DiscoveredChange, cause: Option<String>) {
        let slot = self.state().outbound.slots().find(|(other, _)| *other == peer).map(|(_, slot)| slot.clone());
        if let Some(slot) = slot {
            let proven = slot.kind == SlotKind::Proven;
            self.report(DiscoveryEvent::DiscoveredPeer { peer: peer.clone(), change, proven, groups: slot.groups(), cause });
        }
    }

    fn done(&self, done: Done, leave: &mut HashMap<PeerIdentity, oneshot::Sender<()>>) {
        let now = self.0.clock.now();
        match done {
            Done::Session(peer, ended) => {
                leave.remove(&peer);
                let (change, cause) = match ended {
                    None => (DiscoveredChange::Left, None),
                    Some(Ok(())) => (DiscoveredChange::Ended, None),
                    Some(Err(cause)) => (DiscoveredChange::Failed, Some(cause)),
                };
                self.changed(&peer, change, cause);
                let mut state = self.state();
                match change {
                    DiscoveredChange::Failed => state.outbound.failed(&peer, now),
                    _ => state.outbound.ended(&peer, now),
                }
            }
            Done::Answered(question, answer) => {
                let how = match &answer {
                    Err(DiscoveryError::NotSpoken) => Answer::NotSpoken,
                    Err(DiscoveryError::Busy) => Answer::NotAsked,
                    Err(DiscoveryError::Unreachable(_) | DiscoveryError::Timeout(_)) => Answer::None,
                    _ => Answer::Given,
                };
                self.state().answered(&question, how, self.0.config.relays.as_ref(), now);
                let teller = question.to.relay.relay.clone();
                if question.topic == Topic::Peers {
                    let local = self.0.discovery.identity();
                    let others = |answer: &DiscoveryAnswer| answer.told.iter().any(|told| told.record.record().peer != local);
                    self.state().answers.note(teller.clone(), answer.as_ref().map(others).map_err(reason));
                }
                let by = By::relay(&question.to, answer.as_ref().ok().and_then(|answer| answer.from));
                self.told(teller, (question.topic, &by), answer);
            }
            Done::Gossiped(question, answer) => {
                let (teller, topic) = (question.peer.clone(), question.topic);
                self.told(teller, (topic, &By::peer(question)), answer);
            }
            Done::Listed(topic, relay, listed) => {
                let again = self.state().listings(topic).ended(&relay.relay, Listing::of(&listed), now, rand::random());
                let relay = relay.relay;
                match (listed, again) {
                    (Ok(granted), _) => self.report(DiscoveryEvent::Listed { relay, granted }),
                    (Err(error), Some(retry_in)) => {
                        self.report(DiscoveryEvent::ListRefused { relay, cause: error.to_string(), retry_in });
                    }
                    (Err(_), None) => {}
                }
            }
        }
    }
}

impl Discovering {
    fn told(&self, teller: PeerIdentity, question: (Topic, &By), answer: Result<DiscoveryAnswer, DiscoveryError>) {
        match answer {
            Ok(answer) => {
                let (relays, now) = (self.0.config.relays.as_ref(), self.0.clock.now());
                let new = self.state().told(question, &answer, relays, now, &mut rand::random);
                self.report(DiscoveryEvent::PeersTold { teller, count: answer.told.len(), new });
            }
            Err(error) => {
                self.report(DiscoveryEvent::PeersNotTold { teller, reason: reason(&error), cause: error.to_string() });
            }
        }
    }

    /// What has come of asking for peers by now.
    pub fn search(&self) -> Search {
        let known = self.0.config.relays.known().len();
        let state = self.state();
        let reached = state.outbound.slots().filter(|(_, slot)| slot.is_up()).count();
        state.answers.search(known, reached)
    }

    /// What this node knows, for peers with a session that ask: of its own kind, and relays.
    pub fn known_records(&self) -> KnownRecords {
        // The network keeps this closure, and these parts keep the network: no circle.
        let parts = Arc::downgrade(&self.0);
        Arc::new(move |namespace, n| {
            let Some(parts) = parts.upgrade() else { return Vec::new() };
            let is_fitting: fn(&SignedRecord) -> bool = match namespace {
                relays if *relays == Namespace::relays() => |known| known.record().kind.is_relay(),
                own if *own == parts.config.namespace => |known| known.record().kind.is_node(),
                _ => return Vec::new(),
            };
            lock(&parts.directory).sample(n, is_fitting, parts.clock.now(), &mut rand::random)
        })
    }
}

fn reason(error: &DiscoveryError) -> NotTold {
    match error {
        DiscoveryError::Unreachable(_) | DiscoveryError::Timeout(_) => NotTold::Unreachable,
        DiscoveryError::NotSpoken => NotTold::NotSpoken,
        DiscoveryError::Refused(_) => NotTold::Refused,
        DiscoveryError::TooOften | DiscoveryError::Busy => NotTold::TooOften,
        DiscoveryError::Invalid(_) => NotTold::Invalid,
    }
}
