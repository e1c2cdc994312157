use kaspath_domain::{
    Admission, AdmissionRequest, AttemptOutcome, DialPlan, PlanRequest, PolicyError, RetryCadence, Timestamp, TransportPolicy,
    TransportSet,
};

use super::{
    StrategyConfig,
    routes::{self, Allowed},
};

/// The one thing that a [`Fixed`] strategy sticks to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Only {
    /// TCP, direct or punched, and the relay.
    Tcp,
    /// QUIC, direct or punched, and the relay.
    Quic,
    /// The relay.
    Relay,
    /// Direct or punched, over either transport.
    Direct,
}

/// A strategy that learns nothing and uses one kind of path.
pub struct Fixed {
    only: Only,
    config: StrategyConfig,
}

impl Fixed {
    /// With these times and limits.
    pub fn new(only: Only, config: StrategyConfig) -> Self {
        Self { only, config }
    }

    fn allowed(&self) -> Allowed {
        match self.only {
            Only::Tcp => Allowed { direct: TransportSet::TCP, punch: TransportSet::TCP, relay: true },
            Only::Quic => Allowed { direct: TransportSet::QUIC, punch: TransportSet::QUIC, relay: true },
            Only::Relay => Allowed { direct: TransportSet::NONE, punch: TransportSet::NONE, relay: true },
            Only::Direct => Allowed { direct: TransportSet::ALL, punch: TransportSet::ALL, relay: false },
        }
    }
}

impl TransportPolicy for Fixed {
    fn name(&self) -> &'static str {
        match self.only {
            Only::Tcp => "tcp-only",
            Only::Quic => "quic-only",
            Only::Relay => "relay-only",
            Only::Direct => "direct-only",
        }
    }

    fn plan(&self, request: &PlanRequest, _now: Timestamp) -> Result<DialPlan, PolicyError> {
        routes::plan(self.name(), request, &self.allowed(), &self.config.timing)
    }

    fn admit(&self, request: &AdmissionRequest, _now: Timestamp) -> Admission {
        self.config.inbound.admit(request)
    }

    fn observe(&self, _outcome: &AttemptOutcome, _now: Timestamp) {}

    fn punch_cadence(&self) -> RetryCadence {
        self.config.cadence.clone()
    }

    fn punch_transports(&self) -> TransportSet {
        self.allowed().punch
    }
}
