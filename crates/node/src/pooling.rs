//! The relay pool on its network: events go to the pool, and what it decides to the network.

use std::{
    sync::{Arc, Mutex},
    time::Duration,
};

use kaspath_domain::{
    AttemptOutcome, DialError, Moment, MonotonicClock, Observer, Observers, PeerBook, PeerIdentity, ReservationLoss,
};
use kaspath_policy::{PoolCause, PoolConfig, PoolStep, PoolView, RelayCandidate, RelayPool, RelaySource};
use kaspath_transport_libp2p::{Network, NetworkEvent, ReservationState};
use serde::Serialize;
use tokio::{
    sync::{Notify, watch},
    time::sleep,
};

use crate::lock;

/// Relays of the book that are known from the start, those that carried most.
const FROM_BOOK: usize = 64;

/// Something that happened to the pool or to its list. The serialized form is stable: a field
/// `event` and the event's own fields.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(tag = "event", rename_all = "kebab-case")]
pub enum PoolEvent {
    /// A relay is used from now on, or given back.
    RelayPool {
        /// Which.
        relay: PeerIdentity,
        /// What happened.
        change: PoolChange,
        /// Why.
        cause: PoolCause,
    },
    /// The list of relays was read, and says something else than before.
    RelayListRead {
        /// The file or the name.
        source: String,
        /// How many relays it names.
        relays: usize,
    },
    /// The list of relays could not be read; what it said before still counts.
    RelayListFailed {
        /// The file or the name.
        source: String,
        /// Why.
        cause: String,
        /// When it is read again.
        #[serde(serialize_with = "kaspath_domain::time::seconds")]
        retry_in: Duration,
    },
}

/// What happened to a relay of the pool.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum PoolChange {
    /// It is asked for a reservation.
    Used,
    /// Its reservation is given back, or not asked for any more.
    Released,
}

/// The relays of a node: which are known, and at which it reserves. Cheap to clone; all clones
/// are one pool.
#[derive(Clone)]
pub struct Relays(pub(crate) Arc<Pooling>);

pub(crate) struct Pooling {
    pub(crate) local: PeerIdentity,
    pub(crate) clock: MonotonicClock,
    observers: Observers<PoolEvent>,
    /// Held while an event is reported: the last one of the list.
    listed: Mutex<Option<PoolEvent>>,
    pool: Mutex<RelayPool>,
    /// Something has changed.
    changed: Notify,
    /// Whether a reservation is held anywhere.
    pub(crate) serves: watch::Sender<bool>,
    /// The list is to be read at once.
    pub(crate) reread: Notify,
    /// When the list is read next; `None` without a list.
    pub(crate) next_read: Mutex<Option<Moment>>,
}

impl Relays {
    pub(crate) fn new(local: PeerIdentity, config: PoolConfig, clock: MonotonicClock) -> Self {
        Self(Arc::new(Pooling {
            local,
            clock,
            observers: Observers::default(),
            listed: Mutex::default(),
            pool: Mutex::new(RelayPool::new(config)),
            changed: Notify::new(),
            serves: watch::Sender::new(false),
            reread: Notify::new(),
            next_read: Mutex::default(),
        }))
    }

    /// A source tells of a relay. Whether it is known now: the pool may have no room. Who tells of
    /// relays answers for what they say: their records were checked before.
    pub fn offer(&self, candidate: RelayCandidate) -> bool {
        if candidate.relay == self.0.local {
            return false;
        }
        self.change(|pool, now| pool.offer(candidate, now, rand::random()))
    }

    /// All that a source tells of; what it told before counts no more.
    pub fn replace(&self, source: &RelaySource, mut candidates: Vec<RelayCandidate>) {
        candidates.retain(|candidate| candidate.relay != self.0.local);
        self.change(|pool, now| pool.replace(source, candidates, now, rand::random()));
    }

    /// A relay has answered a question, or does not although others do.
    pub(crate) fn answered(&self, relay: &PeerIdentity, answers: bool) {
        self.change(|pool, _| pool.answered(relay, answers));
    }

    /// The relays and their states now.
    pub fn view(&self) -> PoolView {
        lock(&self.0.pool).view(self.0.clock.now())
    }

    /// Whether as many reservations are held as are wanted.
    pub fn is_served(&self) -> bool {
        lock(&self.0.pool).is_served()
    }

    /// Whether relays that nobody gave are used too.
    pub fn takes_strangers(&self) -> bool {
        lock(&self.0.pool).takes_strangers()
    }

    /// Reads the list of relays again now, if there is one.
    pub fn reread(&self) {
        self.0.reread.notify_one();
    }

    /// The time until the list of relays is read again; `None` without a list.
    pub fn next_read(&self) -> Option<Duration> {
        lock(&self.0.next_read).map(|at| at.since(self.0.clock.now()))
    }

    /// Tells `observer` which relays are used and what became of the list by now, and of what
    /// happens from now on.
    pub fn observe(&self, observer: Arc<dyn Observer<PoolEvent>>) {
        let listed = lock(&self.0.listed);
        let used = lock(&self.0.pool).used().into_iter();
        let used = used.map(|relay| PoolEvent::RelayPool { relay, change: PoolChange::Used, cause: PoolCause::Free });
        used.chain(listed.clone()).for_each(|event| observer.observe(&event));
        self.0.observers.add(observer);
    }

    pub(crate) fn report(&self, event: PoolEvent) {
        let mut listed = lock(&self.0.listed);
        self.0.observers.observe(&event);
        if !matches!(event, PoolEvent::RelayPool { .. }) {
            *listed = Some(event);
        }
    }

    /// Relays that have carried dials of ours before.
    pub(crate) fn remember(&self, book: &dyn PeerBook) {
        let mut known: Vec<_> = book.all().into_iter().filter(|record| record.relayed.carried > 0).collect();
        known.sort_by_key(|record| std::cmp::Reverse(record.relayed.carried));
        for record in known.into_iter().take(FROM_BOOK) {
            let direct = record.addresses.iter().rev().filter_map(|known| known.locator.address.direct().cloned());
            let (relay, score) = (record.peer.clone(), record.relayed);
            let candidate = RelayCandidate { relay, addresses: direct.collect(), source: RelaySource::Book, load: None };
            self.offer(candidate);
            lock(&self.0.pool).seed(&record.peer, score);
        }
    }

    /// What the network reports, before anybody else learns of it: a loss that the network leaves
    /// to the pool is told with the time that the pool gives it.
    fn network(&self, event: &NetworkEvent) -> Option<NetworkEvent> {
        match event {
            NetworkEvent::Reservation { relay, state } => match state {
                ReservationState::Requested | ReservationState::Renewed => {}
                ReservationState::Confirmed => self.change(|pool, now| pool.held(relay, now, rand::random())),
                ReservationState::Lost { kind: ReservationLoss::Removed, .. }
                | ReservationState::Lost { retry_in: Some(_), .. } => {}
                ReservationState::Lost { cause, kind, retry_in: None } => {
                    let retry_in = self.change(|pool, now| pool.lost(relay, *kind, now, rand::random()));
                    let state = ReservationState::Lost { cause: cause.clone(), kind: *kind, retry_in };
                    return Some(NetworkEvent::Reservation { relay: relay.clone(), state });
                }
            },
            NetworkEvent::RelayDraining { relay, left } => self.change(|pool, now| pool.draining(relay, *left, now)),
            _ => {}
        }
        None
    }

    fn change<R>(&self, change: impl FnOnce(&mut RelayPool, Moment) -> R) -> R {
        let result = change(&mut lock(&self.0.pool), self.0.clock.now());
        self.0.changed.notify_one();
        result
    }

    /// Does what the pool decides. Runs until it is dropped.
    pub(crate) async fn run(self, network: Arc<Network>) {
        loop {
            let (steps, wait) = self.step(&network);
            for step in steps {
                self.carry_out(&network, step).await;
            }
            let wait = async {
                match wait {
                    Some(wait) => sleep(wait).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                () = self.0.changed.notified() => {}
                () = wait => {}
            }
        }
    }

    fn step(&self, network: &Network) -> (Vec<PoolStep>, Option<Duration>) {
        let now = self.0.clock.now();
        let mut pool = lock(&self.0.pool);
        for used in pool.used() {
            if let Some(round_trip) = network.round_trip(&used) {
                pool.round_trip(&used, round_trip);
            }
        }
        let steps = pool.step(now, rand::random);
        let serves = pool.serves();
        self.0.serves.send_if_modified(|before| std::mem::replace(before, serves) != serves);
        (steps, pool.deadline().map(|deadline| deadline.since(now)))
    }

    async fn carry_out(&self, network: &Network, step: PoolStep) {
        let report = |relay, change, cause| self.report(PoolEvent::RelayPool { relay, change, cause });
        match step {
            PoolStep::Use { relay, addresses, cause } => {
                report(relay.clone(), PoolChange::Used, cause);
                // The network ends, or has very many relays from elsewhere.
                if network.reserve_at(&relay, addresses).await.is_err() {
                    self.change(|pool, now| pool.lost(&relay, ReservationLoss::Other, now, rand::random()));
                }
            }
            PoolStep::Release { relay, cause } => {
                network.remove_relay(&relay).await;
                report(relay, PoolChange::Released, cause);
            }
        }
    }
}

/// Between the network and those who are told of its events: the pool is told first.
pub(crate) struct PooledFirst {
    pub(crate) relays: Relays,
    pub(crate) then: Observers<NetworkEvent>,
}

impl Observer<NetworkEvent> for PooledFirst {
    fn observe(&self, event: &NetworkEvent) {
        let changed = self.relays.network(event);
        self.then.observe(changed.as_ref().unwrap_or(event));
    }
}

/// How a relay serves shows in our own dials alone: a stranger can come by way of a relay as
/// often as it likes.
impl Observer<AttemptOutcome> for Relays {
    fn observe(&self, outcome: &AttemptOutcome) {
        let Some(relay) = outcome.route.relay() else { return };
        let has_carried = match &outcome.result {
            Ok(_) => true,
            Err(DialError::RelayUnreachable { .. } | DialError::RelayRefused { .. }) => false,
            // That a punch failed, or the peer did, is not the relay's fault.
            Err(_) => return,
        };
        self.change(|pool, now| pool.carried(relay, has_carried, now));
    }
}
