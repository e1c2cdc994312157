use crate::{
    Admission, AdmissionRequest, AttemptOutcome, DialPlan, Moment, PlanRequest, PolicyError, RetryCadence, TransportPolicy,
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

    fn plan(&self, _request: &PlanRequest, _now: Moment) -> Result<DialPlan, PolicyError> {
        Ok(self.plan.clone())
    }

    fn admit(&self, _request: &AdmissionRequest, _now: Moment) -> Admission {
        Admission::Accept
    }

    fn observe(&self, _outcome: &AttemptOutcome, _now: Moment) {}

    fn punch_cadence(&self) -> RetryCadence {
        RetryCadence::never()
    }

    fn punch_transports(&self) -> TransportSet {
        TransportSet::ALL
    }
}
