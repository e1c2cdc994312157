use std::sync::{Arc, PoisonError, RwLock};

use kaspath_domain::{
    Admission, AdmissionRequest, AttemptOutcome, DialPlan, Moment, PeerIdentity, PlanRequest, PolicyError, RetryCadence,
    TransportPolicy, TransportSet,
};

/// A policy that can be replaced while it is in use. What the old one has learnt
/// goes with it.
pub struct Switch(RwLock<Arc<dyn TransportPolicy>>);

impl Switch {
    /// Begins with that one.
    pub fn new(policy: Arc<dyn TransportPolicy>) -> Self {
        Self(RwLock::new(policy))
    }

    /// Replaces it: calls from now on go to the new one.
    pub fn set(&self, policy: Arc<dyn TransportPolicy>) {
        *self.0.write().unwrap_or_else(PoisonError::into_inner) = policy;
    }

    fn now(&self) -> Arc<dyn TransportPolicy> {
        self.0.read().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl TransportPolicy for Switch {
    fn name(&self) -> &'static str {
        self.now().name()
    }

    fn plan(&self, request: &PlanRequest, now: Moment) -> Result<DialPlan, PolicyError> {
        self.now().plan(request, now)
    }

    fn admit(&self, request: &AdmissionRequest, now: Moment) -> Admission {
        self.now().admit(request, now)
    }

    fn observe(&self, outcome: &AttemptOutcome, now: Moment) {
        self.now().observe(outcome, now);
    }

    fn may_move(&self, peer: &PeerIdentity, now: Moment) -> bool {
        self.now().may_move(peer, now)
    }

    fn punch_cadence(&self) -> RetryCadence {
        self.now().punch_cadence()
    }

    fn punch_transports(&self) -> TransportSet {
        self.now().punch_transports()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{StrategyConfig, StrategyName};

    #[test]
    fn calls_go_to_the_policy_that_is_set() {
        let switch = Switch::new(StrategyConfig::new(StrategyName::RelayOnly).build());
        assert_eq!((switch.name(), switch.punch_transports()), ("relay-only", TransportSet::NONE));
        switch.set(StrategyConfig::new(StrategyName::Balanced).build());
        assert_eq!((switch.name(), switch.punch_transports()), ("balanced", TransportSet::ALL));
    }
}
