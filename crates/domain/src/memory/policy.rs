use crate::{
    Admission, AdmissionPolicy, AdmissionRequest, AttemptOutcome, DialPlan, Moment, PlanRequest, PolicyError, Punching,
    RetryCadence, TransportPolicy, TransportSet,
};

/// A policy that always gives the same plan.
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

    fn observe(&self, _request: &PlanRequest, _outcome: &AttemptOutcome, _now: Moment) {}

    fn punching(&self) -> Punching {
        Punching { transports: TransportSet::ALL, cadence: RetryCadence::never() }
    }
}

/// Lets everybody in.
#[derive(Clone, Copy, Debug, Default)]
pub struct AdmitAll;

impl AdmissionPolicy for AdmitAll {
    fn admit(&self, _request: &AdmissionRequest) -> Admission {
        Admission::Accept
    }
}
