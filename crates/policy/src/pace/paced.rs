use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use kaspath_domain::{
    Admission, AdmissionRequest, AttemptOutcome, DialError, DialPlan, Moment, PeerIdentity, PlanRequest, PolicyError,
    RetryCadence, Route, TokenBucket, TransportPolicy, TransportSet,
};

use super::Cooldowns;

/// How often peers are dialled at all.
#[derive(Clone, Debug)]
pub struct PaceConfig {
    /// Plans at once, for all peers together; at least one.
    pub burst: u32,
    /// Time for one more.
    pub every: Duration,
    /// A peer's rest after plans that came to nothing.
    pub peer_rest: RetryCadence,
    /// A relay's rest after it could not be reached or gave no circuit.
    pub relay_rest: RetryCadence,
    /// Between two moves of a peer's session from the relay to a direct path: a
    /// path that comes and goes must not take the session with it each time.
    pub between_moves: Duration,
    /// Peers and relays remembered, each.
    pub remembered: usize,
}

impl Default for PaceConfig {
    fn default() -> Self {
        let rest = |seconds: &[u64], then| RetryCadence {
            delays: seconds.iter().copied().map(Duration::from_secs).collect(),
            then: Some(Duration::from_secs(then)),
            jitter: 0.0,
        };
        Self {
            burst: 32,
            every: Duration::from_millis(250),
            // Shorter than what callers wait by themselves: it only stops those that do not.
            peer_rest: rest(&[0, 1, 2, 5, 15], 30),
            relay_rest: rest(&[1, 2, 5], 10),
            between_moves: Duration::from_secs(300),
            remembered: 4096,
        }
    }
}

struct State {
    rate: TokenBucket,
    peers: Cooldowns<PeerIdentity>,
    relays: Cooldowns<PeerIdentity>,
    moved: HashMap<PeerIdentity, Moment>,
}

/// Any strategy, at a bounded pace: a global rate of plans, rests for peers and
/// relays that failed, and patience between moves.
pub struct Paced {
    inner: Arc<dyn TransportPolicy>,
    config: PaceConfig,
    state: Mutex<State>,
}

impl Paced {
    /// Paces a strategy.
    pub fn new(inner: Arc<dyn TransportPolicy>, config: PaceConfig) -> Self {
        let state = State {
            rate: TokenBucket::new(config.burst.max(1), config.every),
            peers: Cooldowns::new(config.peer_rest.clone(), config.remembered),
            relays: Cooldowns::new(config.relay_rest.clone(), config.remembered),
            moved: HashMap::new(),
        };
        Self { inner, config, state: Mutex::new(state) }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Peers resting, relays resting, moves remembered.
    pub fn remembered(&self) -> [usize; 3] {
        let state = self.state();
        [state.peers.len(), state.relays.len(), state.moved.len()]
    }
}

impl TransportPolicy for Paced {
    fn name(&self) -> &'static str {
        self.inner.name()
    }

    fn plan(&self, request: &PlanRequest, now: Moment) -> Result<DialPlan, PolicyError> {
        let mut plan = self.inner.plan(request, now)?;
        let mut state = self.state();
        let rests = request.peer.as_ref().map_or(Duration::ZERO, |peer| state.peers.left(peer, now));
        if !rests.is_zero() {
            return Err(PolicyError::CoolingDown(rests));
        }
        // A relay that rests is left out while there is any other way.
        let rest_of = |route: &Route| route.relay().map_or(Duration::ZERO, |relay| state.relays.left(relay, now));
        let attempts = || plan.stages.iter().flat_map(|stage| &stage.attempts);
        if attempts().all(|attempt| !rest_of(&attempt.request.route).is_zero()) {
            let soonest = attempts().map(|attempt| rest_of(&attempt.request.route)).min().unwrap_or_default();
            return Err(PolicyError::CoolingDown(soonest));
        }
        if attempts().any(|attempt| !rest_of(&attempt.request.route).is_zero()) {
            for stage in &mut plan.stages {
                stage.attempts.retain(|attempt| rest_of(&attempt.request.route).is_zero());
            }
            plan.stages.retain(|stage| !stage.attempts.is_empty());
        }
        state.rate.take(now).map_err(PolicyError::CoolingDown)?;
        if let Some(peer) = &request.peer {
            // A failure until an outcome says otherwise: one that never comes is one too.
            state.peers.failed(peer, now);
        }
        Ok(plan)
    }

    fn admit(&self, request: &AdmissionRequest, now: Moment) -> Admission {
        self.inner.admit(request, now)
    }

    fn observe(&self, outcome: &AttemptOutcome, now: Moment) {
        self.inner.observe(outcome, now);
        let mut state = self.state();
        let relay = outcome.route.relay();
        match (&outcome.result, relay) {
            (Ok(_), _) => {
                if let Some(relay) = relay {
                    state.relays.worked(relay);
                }
                if let Some(peer) = &outcome.peer {
                    state.peers.worked(peer);
                }
            }
            // What a relay says of one peer is no reason to spare it others.
            (Err(DialError::RelayUnreachable { .. }), Some(relay)) => state.relays.failed(relay, now),
            (Err(_), _) => {}
        }
    }

    fn may_move(&self, peer: &PeerIdentity, now: Moment) -> bool {
        if !self.inner.may_move(peer, now) {
            return false;
        }
        let mut state = self.state();
        if state.moved.get(peer).is_some_and(|at| now.since(*at) < self.config.between_moves) {
            return false;
        }
        let between = self.config.between_moves;
        if state.moved.len() >= self.config.remembered {
            state.moved.retain(|_, at| now.since(*at) < between);
        }
        if state.moved.len() >= self.config.remembered && !state.moved.contains_key(peer) {
            // Nobody can be forgotten without losing count of its moves.
            return false;
        }
        state.moved.insert(peer.clone(), now);
        true
    }

    fn punch_cadence(&self) -> RetryCadence {
        self.inner.punch_cadence()
    }

    fn punch_transports(&self) -> TransportSet {
        self.inner.punch_transports()
    }
}
