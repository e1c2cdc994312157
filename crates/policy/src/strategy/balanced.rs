use std::{
    collections::HashMap,
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use kaspath_domain::{
    AttemptOutcome, DialError, DialPlan, Moment, PeerIdentity, PlanRequest, PolicyError, Punching, Route, TransportPolicy,
    TransportSet, make_room,
};

use super::{
    config::StrategyConfig,
    routes::{self, Allowed, is_failed_punch},
};

/// Peers whose last failure is remembered.
const MAX_REMEMBERED: usize = 1024;
/// After a punch with a peer failed, plans go to the relay at once for so long.
const PUNCH_BACK_OFF: Duration = Duration::from_secs(300);
/// How long the punch goes first with a peer whose last one failed.
const HOPELESS_RELAY_AFTER: Duration = Duration::from_millis(500);

/// The default: public peers by TCP, private ones by a punch over TCP and QUIC,
/// and the relay where no punch works.
///
/// A peer whose punch failed lately gets its relayed stream almost at once, so
/// that a hopeless pair of NATs does not cost the full wait each time.
pub struct Balanced {
    config: StrategyConfig,
    failed_punches: Mutex<HashMap<PeerIdentity, Moment>>,
}

impl Balanced {
    /// With these times and limits.
    pub fn new(config: StrategyConfig) -> Self {
        Self { config, failed_punches: Mutex::default() }
    }

    fn failed_punches(&self) -> MutexGuard<'_, HashMap<PeerIdentity, Moment>> {
        self.failed_punches.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl TransportPolicy for Balanced {
    fn name(&self) -> &'static str {
        "balanced"
    }

    fn plan(&self, request: &PlanRequest, now: Moment) -> Result<DialPlan, PolicyError> {
        let mut timing = self.config.timing.clone();
        let failed = request.peer.as_ref().and_then(|peer| self.failed_punches().get(peer).copied());
        if failed.is_some_and(|at| now.since(at) < PUNCH_BACK_OFF) {
            timing.relay_after = timing.relay_after.min(HOPELESS_RELAY_AFTER);
        }
        routes::plan(self.name(), request, &Allowed::ALL, &timing)
    }

    fn observe(&self, _request: &PlanRequest, outcome: &AttemptOutcome, now: Moment) {
        let (Some(peer), Route::Punched { .. }) = (&outcome.peer, &outcome.route) else { return };
        let mut failed = self.failed_punches();
        let has_failed = match &outcome.result {
            // A session took the circuit; its punch goes on.
            Ok(path) if path.is_relayed() => return,
            Ok(_) => {
                failed.remove(peer);
                return;
            }
            // It failed only if it had its time before the relay was there.
            Err(DialError::Overtaken) => outcome.elapsed >= self.config.timing.relay_after,
            Err(error) => is_failed_punch(error),
        };
        if !has_failed {
            return;
        }
        make_room(&mut failed, peer, MAX_REMEMBERED, |at| *at);
        failed.insert(peer.clone(), now);
    }

    fn punching(&self) -> Punching {
        self.config.punching(TransportSet::ALL)
    }
}
