//! The relay pool: by go-libp2p's names for autorelay, and by the states of its relays.

use std::time::Duration;

use kaspath_domain::wall_clock;
use prometheus_client::{metrics::gauge::Gauge, registry::Registry};

use crate::families::{Family, label, single, whole};

label!(State = "state" { Held = "held", Asked = "asked", Draining = "draining", BackOff = "back-off", Known = "known" });
label!(Work = "work_type" {
    SourceCall = "allowed peer source call",
    BackOff = "clear backoff",
    CandidateCheck = "old candidate check",
});

/// What go-libp2p shows for a time that is not set: its zero time in seconds since 1970.
const NEVER: i64 = -62_135_596_800;

/// The relay pool at a scrape. Times are from then on.
#[derive(Clone, Copy, Debug, Default)]
pub struct PoolReading {
    /// Reservations that are wanted.
    pub wanted: u64,
    /// Relays at which a reservation is held.
    pub held: u64,
    /// Relays that were asked for one.
    pub asked: u64,
    /// Relays that end what they have granted.
    pub draining: u64,
    /// Relays that failed, and are not asked for now.
    pub back_off: u64,
    /// Relays that could be asked.
    pub known: u64,
    /// When the list of relays is read again, if there is one.
    pub next_read: Option<Duration>,
    /// When the first back-off ends.
    pub next_back_off: Option<Duration>,
    /// When it is looked at again whether a relay gives its place to another.
    pub next_review: Option<Duration>,
}

impl PoolReading {
    /// What go-libp2p's loop that looks for candidates would do here.
    fn loop_state(&self) -> i64 {
        match self {
            // It is stopped.
            Self { wanted: 0, .. } => 3,
            // There is nothing to look for until a relay is lost.
            Self { wanted, held, asked, .. } if held + asked >= *wanted => 2,
            // The source is asked later again.
            Self { next_read: Some(wait), .. } if !wait.is_zero() => 0,
            // It waits for what sources tell.
            Self { .. } => 1,
        }
    }
}

/// The metrics of the pool.
pub(crate) struct Pool {
    status: Gauge,
    desired: Gauge,
    loop_state: Gauge,
    scheduled: Family<(Work,), Gauge>,
    relays: Family<(State,), Gauge>,
}

impl Pool {
    /// `given` relays of the settings, of which so many reservations are wanted.
    pub(crate) fn new(registry: &mut Registry, wanted: usize, given: usize) -> Self {
        let go = registry.sub_registry_with_prefix("libp2p_autorelay");
        let pool = Self {
            status: single(go, "status", "1 if there is a relay to reserve at", Gauge::default()),
            desired: single(go, "desired_reservations", "Reservations that are wanted", Gauge::default()),
            loop_state: single(
                go,
                "candidate_loop_state",
                "0 the list of relays may not be read yet, 1 waiting for relays, 2 all reservations are held, 3 stopped",
                Gauge::default(),
            ),
            scheduled: Family::new(go, "scheduled_work_time", "When work of the relay pool is due, in seconds since 1970"),
            relays: Family::new(
                registry.sub_registry_with_prefix("kaspath"),
                "relay_pool",
                "Relays that are known, by their state",
            ),
        };
        let (wanted, given) = (wanted as u64, given as u64);
        pool.set(&PoolReading { wanted: if given == 0 { 0 } else { wanted }, known: given, ..PoolReading::default() });
        pool
    }

    pub(crate) fn set(&self, reading: &PoolReading) {
        let PoolReading { wanted, held, asked, draining, back_off, known, .. } = *reading;
        let total = held + asked + draining + back_off + known;
        self.status.set((wanted > 0 && total > 0).into());
        self.desired.set(whole(wanted));
        self.loop_state.set(reading.loop_state());
        let now = wall_clock();
        let due = |wait: Option<Duration>| wait.map_or(NEVER, |wait| whole((now + wait).since_epoch().as_secs()));
        for (work, wait) in [
            (Work::SourceCall, reading.next_read),
            (Work::BackOff, reading.next_back_off),
            (Work::CandidateCheck, reading.next_review),
        ] {
            self.scheduled.at((work,)).set(due(wait));
        }
        for (state, count) in [
            (State::Held, held),
            (State::Asked, asked),
            (State::Draining, draining),
            (State::BackOff, back_off),
            (State::Known, known),
        ] {
            self.relays.at((state,)).set(whole(count));
        }
    }
}
