use std::{
    collections::HashMap,
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use kaspath_domain::{
    AttemptOutcome, DialError, DialPlan, IpPrefix, Moment, NatMapping, Path, PlanRequest, PolicyError, Punching, Route,
    Transport, TransportPolicy, TransportSet, make_room,
};

use super::{
    config::{StrategyConfig, Timing},
    routes::{self, Allowed, is_failed_punch},
};

/// Buckets remembered.
const MAX_BUCKETS: usize = 1024;
/// Weight of the past at each new outcome: about the last twenty count.
const KEEP: f64 = 0.95;
/// What is believed of a bucket without outcomes: published measurements see
/// punches succeed in seven of ten cases, here with the weight of two.
const PRIOR: Share = Share { good: 1.4, all: 2.0 };
/// A punch that is less likely than this does not keep a usable stream waiting.
const HOPELESS: f64 = 0.2;
/// How long a punch goes first where it is hopeless.
const HOPELESS_WAIT: Duration = Duration::from_millis(200);
/// How many times its usual time a punch may take where it is likely.
const PATIENCE: f64 = 2.0;
const MIN_WAIT: Duration = Duration::from_secs(1);
/// Outcomes after which a bucket is known by its own.
const FAMILIAR: f64 = 3.0;
/// After every so many punches of a bucket but one, all is tried as if nothing was known.
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

/// What is known of punches with the peers of one bucket.
#[derive(Clone, Copy, Debug)]
struct Stats {
    punch: Share,
    /// Of the punches that succeeded, those over QUIC.
    quic: Share,
    /// Usual time of one, in seconds.
    seconds: f64,
    /// All that were tried, also those that say nothing.
    tried: u64,
    used: Moment,
}

impl Stats {
    fn new(now: Moment) -> Self {
        let none = Share { good: 0.0, all: 0.0 };
        Self { punch: none, quic: none, seconds: 2.0, tried: 0, used: now }
    }

    fn add(&mut self, outcome: &AttemptOutcome) {
        self.punch.add(outcome.result.is_ok());
        if let Ok(Path::Direct { transport }) = &outcome.result {
            self.quic.add(*transport == Transport::Quic);
            self.seconds = self.seconds * 0.8 + outcome.elapsed.as_secs_f64() * 0.2;
        }
    }
}

/// Where a peer is, as far as that is known before it is reached, and how our own
/// NAT maps. Which relay it is found through is left out: punches succeed alike
/// through all (Trautwein et al. 2025, arXiv:2510.27500).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Bucket {
    /// In that prefix.
    Prefix(IpPrefix, NatMapping),
    /// Anywhere: all buckets together.
    Anywhere(NatMapping),
}

impl Bucket {
    fn of(request: &PlanRequest) -> Self {
        match request.addresses.iter().find_map(|locator| locator.address.direct()?.provider_block()) {
            Some(block) => Self::Prefix(block, request.mapping),
            None => Self::Anywhere(request.mapping),
        }
    }

    fn anywhere(self) -> Self {
        match self {
            Self::Prefix(_, mapping) | Self::Anywhere(mapping) => Self::Anywhere(mapping),
        }
    }
}

type Buckets = HashMap<Bucket, Stats>;

/// Learns, bucket by bucket, whether a punch pays, over what, and how long it takes.
///
/// What it decides is how long the punch goes first and which transport is
/// dialled first. The punch itself is always tried beside the relayed stream, so
/// that a bucket that has become better is noticed at no cost; and after every
/// nineteen punches the next plan ignores what is known.
pub struct Adaptive {
    config: StrategyConfig,
    buckets: Mutex<Buckets>,
}

impl Adaptive {
    /// With these times.
    pub fn new(config: StrategyConfig) -> Self {
        Self { config, buckets: Mutex::default() }
    }

    fn buckets(&self) -> MutexGuard<'_, Buckets> {
        self.buckets.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Buckets that are remembered now.
    pub fn remembered(&self) -> usize {
        self.buckets().len()
    }
}

fn of(buckets: &mut Buckets, bucket: Bucket, now: Moment) -> &mut Stats {
    make_room(buckets, &bucket, MAX_BUCKETS, |stats| stats.used);
    let stats = buckets.entry(bucket).or_insert_with(|| Stats::new(now));
    stats.used = stats.used.max(now);
    stats
}

impl TransportPolicy for Adaptive {
    fn name(&self) -> &'static str {
        "adaptive"
    }

    fn plan(&self, request: &PlanRequest, now: Moment) -> Result<DialPlan, PolicyError> {
        let mut allowed = Allowed::ALL;
        let mut relay_after = self.config.timing.relay_after;
        let bucket = Bucket::of(request);
        let buckets = self.buckets();
        let known = |bucket| buckets.get(&bucket).copied().unwrap_or_else(|| Stats::new(now));
        let own = known(bucket);
        // A bucket that is hardly known is taken to be like the others.
        let stats = if own.punch.all < FAMILIAR { known(bucket.anywhere()) } else { own };
        drop(buckets);
        if !(own.tried + 1).is_multiple_of(EXPLORE) {
            let wait = if stats.punch.value() < HOPELESS {
                HOPELESS_WAIT
            } else {
                Duration::from_secs_f64(stats.seconds * PATIENCE).max(MIN_WAIT)
            };
            // What is configured is the most, also where that is less than any of ours.
            relay_after = relay_after.min(wait);
            // Its prior is 0.7, which must not speak for QUIC by itself.
            if stats.quic.all > 1.0 && stats.quic.good / stats.quic.all > 0.6 {
                allowed.first = Transport::Quic;
            }
        }
        let timing = Timing { relay_after, ..self.config.timing.clone() };
        routes::plan(self.name(), request, &allowed, &timing)
    }

    fn observe(&self, request: &PlanRequest, outcome: &AttemptOutcome, now: Moment) {
        let Route::Punched { .. } = &outcome.route else { return };
        let bucket = Bucket::of(request);
        let mut buckets = self.buckets();
        let own = of(&mut buckets, bucket, now);
        own.tried += 1;
        let counts = match &outcome.result {
            // A session took the circuit; its punch goes on.
            Ok(path) => !path.is_relayed(),
            // One that did not have its time says nothing.
            Err(DialError::Overtaken) => outcome.elapsed.as_secs_f64() >= own.seconds,
            // Nor does a relay that failed.
            Err(error) => is_failed_punch(error),
        };
        if !counts {
            return;
        }
        own.add(outcome);
        if bucket != bucket.anywhere() {
            of(&mut buckets, bucket.anywhere(), now).add(outcome);
        }
    }

    fn punching(&self) -> Punching {
        self.config.punching(TransportSet::ALL)
    }
}
