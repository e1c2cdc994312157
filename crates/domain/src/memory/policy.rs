use crate::{
    Admission, AdmissionRequest, AttemptOutcome, DialPlan, PlanRequest, PolicyError, RetryCadence, Timestamp, TransportPolicy,
    TransportSet,
};

/// A policy that always gives the same plan and lets everybody in.
#[derive(Clone, Debug, Default)]
pub struct FixedPolicy {
    /// The plan it gives.
    pub plan: DialPlan,
}

impl TransportPolicy for FixedPolicy {
    fn name(&self) -> &'static str {
        "fixed"
    }

    fn plan(&self, _request: &PlanRequest, _now: Timestamp) -> Result<DialPlan, PolicyError> {
        Ok(self.plan.clone())
    }

    fn admit(&self, _request: &AdmissionRequest, _now: Timestamp) -> Admission {
        Admission::Accept
    }

    fn observe(&self, _outcome: &AttemptOutcome, _now: Timestamp) {}

    fn punch_cadence(&self) -> RetryCadence {
        RetryCadence::never()
    }

    fn punch_transports(&self) -> TransportSet {
        TransportSet::ALL
    }
}
