use std::{
    collections::HashMap,
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use kaspath_domain::{
    Admission, AdmissionRequest, AttemptOutcome, DialError, DialPlan, IpPrefix, Moment, NatMapping, Path, PeerAddress,
    PeerIdentity, PlanRequest, PolicyError, RetryCadence, Route, Transport, TransportPolicy, TransportSet,
};

use super::{
    StrategyConfig, Timing, is_failed_punch,
    routes::{self, Allowed},
};

/// Places and peers remembered, each.
const MAX_PLACES: usize = 1024;
const MAX_PEERS: usize = 4096;
/// Weight of the past at each new outcome: about the last twenty count.
const KEEP: f64 = 0.95;
/// What is believed of a place nobody has been to: published measurements see
/// punches succeed in seven of ten cases, here with the weight of two.
const PRIOR: Share = Share { good: 1.4, all: 2.0 };
/// A punch that is less likely than this does not keep a usable stream waiting.
const HOPELESS: f64 = 0.2;
/// How long a punch goes first where it is hopeless.
const HOPELESS_WAIT: Duration = Duration::from_millis(200);
/// How many times its usual time a punch may take where it is likely.
const PATIENCE: f64 = 2.0;
const MIN_WAIT: Duration = Duration::from_secs(1);
/// Outcomes after which a place is known by its own.
const FAMILIAR: f64 = 3.0;
/// Every so many plans of a place, all is tried as if nothing was known.
const EXPLORE: u64 = 20;

#[derive(Clone, Copy, Debug)]
struct Share {
    good: f64,
    all: f64,
}

impl Share {
    fn add(&mut self, good: bool) {
        self.good = self.good * KEEP + f64::from(u8::from(good));
        self.all = self.all * KEEP + 1.0;
    }

    fn value(self) -> f64 {
        (self.good + PRIOR.good) / (self.all + PRIOR.all)
    }
}

/// What is learnt of one place.
#[derive(Clone, Copy, Debug)]
struct Lesson {
    punch: Share,
    /// Of the punches that succeeded, those over QUIC.
    quic: Share,
    /// Usual time of one, in seconds.
    seconds: f64,
    plans: u64,
    used: Moment,
}

impl Lesson {
    fn add(&mut self, outcome: &AttemptOutcome) {
        self.punch.add(outcome.result.is_ok());
        if let Ok(Path::Direct { transport }) = &outcome.result {
            self.quic.add(*transport == Transport::Quic);
            self.seconds = self.seconds * 0.8 + outcome.elapsed.as_secs_f64() * 0.2;
        }
    }
}

/// Where a peer is, as far as it can be told before it is reached, and how our own
/// NAT maps. Which relay it is found through is left out: punches succeed alike
/// through all (Trautwein et al. 2025, arXiv:2510.27500).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Place {
    /// In that prefix.
    Prefix(IpPrefix, NatMapping),
    /// Anywhere: what all places teach together.
    Anywhere(NatMapping),
}

#[derive(Default)]
struct Memory {
    places: HashMap<Place, Lesson>,
    /// Where each peer was when it was planned for, for its outcome to be booked.
    peers: HashMap<PeerIdentity, (Place, Moment)>,
}

/// Learns, place by place, whether a punch pays, over what, and how long it takes.
///
/// What it decides is how long the punch goes first and which transport is
/// dialled first. The punch itself is always tried beside the relayed stream, so
/// that a place that has become better is noticed at no cost; and every twentieth
/// plan ignores what is known.
pub struct Adaptive {
    config: StrategyConfig,
    memory: Mutex<Memory>,
}

impl Adaptive {
    /// With these times and limits.
    pub fn new(config: StrategyConfig) -> Self {
        Self { config, memory: Mutex::default() }
    }

    fn memory(&self) -> MutexGuard<'_, Memory> {
        self.memory.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Places and peers that are remembered now.
    pub fn remembered(&self) -> (usize, usize) {
        let memory = self.memory();
        (memory.places.len(), memory.peers.len())
    }
}

fn place(request: &PlanRequest) -> Place {
    let address = request.addresses.iter().find_map(|locator| match &locator.address {
        PeerAddress::Direct(address) => address.socket_addr(),
        PeerAddress::Relayed(_) => None,
    });
    match address {
        Some(socket) => Place::Prefix(IpPrefix::of(socket.ip()), request.mapping),
        None => Place::Anywhere(request.mapping),
    }
}

impl Place {
    fn anywhere(self) -> Self {
        match self {
            Self::Prefix(_, mapping) | Self::Anywhere(mapping) => Self::Anywhere(mapping),
        }
    }
}

impl Memory {
    fn lesson(&mut self, place: Place, now: Moment) -> &mut Lesson {
        if !self.places.contains_key(&place) && self.places.len() >= MAX_PLACES {
            forget_stalest(&mut self.places, |lesson| lesson.used);
        }
        let none = Share { good: 0.0, all: 0.0 };
        let new = || Lesson { punch: none, quic: none, seconds: 2.0, plans: 0, used: now };
        let lesson = self.places.entry(place).or_insert_with(new);
        lesson.used = lesson.used.max(now);
        lesson
    }
}

/// An eighth at a time, so that the search for them is rare.
fn forget_stalest<K: Clone + Eq + std::hash::Hash, V>(map: &mut HashMap<K, V>, used: impl Fn(&V) -> Moment) {
    let mut times: Vec<Moment> = map.values().map(&used).collect();
    let at = times.len() / 8;
    let (_, limit, _) = times.select_nth_unstable(at);
    let limit = *limit;
    let mut left = at + 1;
    map.retain(|_, value| {
        let goes = left > 0 && used(value) <= limit;
        left -= usize::from(goes);
        !goes
    });
}

impl TransportPolicy for Adaptive {
    fn name(&self) -> &'static str {
        "adaptive"
    }

    fn plan(&self, request: &PlanRequest, now: Moment) -> Result<DialPlan, PolicyError> {
        let mut allowed = Allowed::ALL;
        let mut relay_after = self.config.timing.relay_after;
        let place = place(request);
        let mut memory = self.memory();
        let everywhere = *memory.lesson(place.anywhere(), now);
        let lesson = memory.lesson(place, now);
        lesson.plans += 1;
        let explores = lesson.plans.is_multiple_of(EXPLORE);
        // A place that is hardly known is taken to be like the others.
        let lesson = if lesson.punch.all < FAMILIAR { everywhere } else { *lesson };
        if !explores {
            let wait = if lesson.punch.value() < HOPELESS {
                HOPELESS_WAIT
            } else {
                Duration::from_secs_f64(lesson.seconds * PATIENCE).max(MIN_WAIT)
            };
            // What is configured is the most, also where that is less than any of ours.
            relay_after = relay_after.min(wait);
            // Its prior is 0.7, which must not speak for QUIC by itself.
            if lesson.quic.all > 1.0 && lesson.quic.good / lesson.quic.all > 0.6 {
                allowed.first = Transport::Quic;
            }
        }
        if let Some(peer) = &request.peer {
            if !memory.peers.contains_key(peer) && memory.peers.len() >= MAX_PEERS {
                forget_stalest(&mut memory.peers, |(_, at)| *at);
            }
            memory.peers.insert(peer.clone(), (place, now));
        }
        drop(memory);
        let timing = Timing { relay_after, ..self.config.timing.clone() };
        routes::plan(self.name(), request, &allowed, &timing)
    }

    fn admit(&self, request: &AdmissionRequest, _now: Moment) -> Admission {
        self.config.inbound.admit(request)
    }

    fn observe(&self, outcome: &AttemptOutcome, now: Moment) {
        let (Some(peer), Route::Punched { .. }) = (&outcome.peer, &outcome.route) else { return };
        let mut memory = self.memory();
        let Some((place, _)) = memory.peers.get(peer).copied() else { return };
        let told = match &outcome.result {
            Ok(_) => true,
            // One that did not have its time says nothing.
            Err(DialError::Overtaken) => outcome.elapsed.as_secs_f64() >= memory.lesson(place, now).seconds,
            // Nor does a relay that failed.
            Err(error) => is_failed_punch(error),
        };
        if !told {
            return;
        }
        memory.lesson(place.anywhere(), now).add(outcome);
        if place != place.anywhere() {
            memory.lesson(place, now).add(outcome);
        }
    }

    fn punch_cadence(&self) -> RetryCadence {
        self.config.cadence.clone()
    }

    fn punch_transports(&self) -> TransportSet {
        TransportSet::ALL
    }
}
