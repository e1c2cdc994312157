//! What a circuit's bytes cost it: the budget that all circuits share.

use std::{
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering},
    },
    time::Duration,
};

use kaspath_domain::{IpPrefix, Moment, MonotonicClock};
use libp2p::PeerId;

use super::{
    budget::{Budget, Exceeded, Parties},
    load::RelayQuotaUse,
};
use crate::RelayServerConfig;

/// The longest wait for a rate. Then the rates are read again, for they may have changed.
pub(super) const MAX_WAIT: Duration = Duration::from_secs(1);

/// One budget for all circuits. Cheap to clone.
#[derive(Clone)]
pub(super) struct Flows(Arc<Shared>);

struct Shared {
    budget: Mutex<Budget<PeerId>>,
    /// Without limits nothing is locked.
    is_limited: AtomicBool,
    chunk: AtomicUsize,
    /// Changes with the limits.
    version: AtomicU64,
    waits: AtomicU64,
    /// In microseconds.
    waited: AtomicU64,
}

impl Flows {
    pub(super) fn new(config: &RelayServerConfig) -> Self {
        let flows = Self(Arc::new(Shared {
            budget: Mutex::new(Budget::new(config)),
            is_limited: AtomicBool::new(false),
            chunk: AtomicUsize::new(usize::MAX),
            version: AtomicU64::new(0),
            waits: AtomicU64::new(0),
            waited: AtomicU64::new(0),
        }));
        flows.set(config);
        flows
    }

    pub(super) fn set(&self, config: &RelayServerConfig) {
        let mut budget = self.budget();
        budget.set(config);
        let chunk = budget.chunk().map_or(usize::MAX, |chunk| usize::try_from(chunk).unwrap_or(usize::MAX));
        self.0.chunk.store(chunk, Ordering::Relaxed);
        self.0.is_limited.store(budget.is_limited(), Ordering::Relaxed);
        self.0.version.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn exceeded(&self, peer: &PeerId, prefix: &IpPrefix, now: Moment) -> Option<Exceeded> {
        self.budget().exceeded(peer, prefix, now)
    }

    pub(super) fn quota_use(&self, now: Moment) -> RelayQuotaUse {
        self.budget().quota_use(now)
    }

    /// How often circuits waited, and how long in all.
    pub(super) fn waits(&self) -> (u64, Duration) {
        let waited = Duration::from_micros(self.0.waited.load(Ordering::Relaxed));
        (self.0.waits.load(Ordering::Relaxed), waited)
    }

    /// What a circuit between those two is charged to.
    pub(super) fn of(&self, parties: Parties<PeerId>, clock: MonotonicClock) -> Flow {
        Flow { flows: self.clone(), parties, clock }
    }

    fn budget(&self) -> MutexGuard<'_, Budget<PeerId>> {
        // It has no state in between that a panic could leave.
        self.0.budget.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The budget from one circuit's view.
pub(super) struct Flow {
    flows: Flows,
    parties: Parties<PeerId>,
    clock: MonotonicClock,
}

/// A circuit may not read before that moment, unless the limits change.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Pause {
    until: Moment,
    version: u64,
}

impl Flow {
    /// How much may be read at once.
    pub(super) fn chunk(&self) -> usize {
        self.flows.0.chunk.load(Ordering::Relaxed)
    }

    /// That many bytes were read; how long not to read now.
    ///
    /// # Errors
    /// A quota is used up.
    pub(super) fn charge(&self, bytes: usize) -> Result<Option<Pause>, Exceeded> {
        let shared = &self.flows.0;
        if !shared.is_limited.load(Ordering::Relaxed) {
            return Ok(None);
        }
        let now = self.clock.now();
        let version = shared.version.load(Ordering::Relaxed);
        let until = self.flows.budget().charge(&self.parties, bytes as u64, now)?;
        if until <= now {
            return Ok(None);
        }
        shared.waits.fetch_add(1, Ordering::Relaxed);
        shared.waited.fetch_add(until.since(now).as_micros() as u64, Ordering::Relaxed);
        Ok(Some(Pause { until, version }))
    }

    /// How long a pause still is; `None` if it is over.
    pub(super) fn left(&self, pause: Pause) -> Option<Duration> {
        let left = pause.until.since(self.clock.now());
        let is_current = pause.version == self.flows.0.version.load(Ordering::Relaxed);
        (is_current && !left.is_zero()).then_some(left)
    }
}
