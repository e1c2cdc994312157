use kaspath_domain::{
    AttemptOutcome, DialPlan, Moment, PlanRequest, PolicyError, Punching, Transport, TransportPolicy, TransportSet,
};

use super::{
    config::{StrategyConfig, StrategyName},
    routes::{self, Allowed, RelayUse},
};

/// A strategy that learns nothing and keeps one order.
pub(super) struct Fixed(pub(super) StrategyConfig);

impl Fixed {
    fn allowed(&self) -> Allowed {
        let over = |transports| Allowed { direct: transports, punch: transports, ..Allowed::ALL };
        match self.0.name {
            StrategyName::TcpOnly => over(TransportSet::TCP),
            StrategyName::QuicOnly => over(TransportSet::QUIC),
            StrategyName::RelayOnly => over(TransportSet::NONE),
            StrategyName::DirectOnly => Allowed { relay: RelayUse::Never, ..Allowed::ALL },
            StrategyName::DirectFirst => Allowed { relay: RelayUse::Last, ..Allowed::ALL },
            StrategyName::QuicFirst => Allowed { first: Transport::Quic, ..Allowed::ALL },
            StrategyName::Balanced | StrategyName::Adaptive => Allowed::ALL,
        }
    }
}

impl TransportPolicy for Fixed {
    fn name(&self) -> &'static str {
        self.0.name.as_str()
    }

    fn plan(&self, request: &PlanRequest, _now: Moment) -> Result<DialPlan, PolicyError> {
        routes::plan(self.name(), request, &self.allowed(), &self.0.timing)
    }

    fn observe(&self, _request: &PlanRequest, _outcome: &AttemptOutcome, _now: Moment) {}

    fn punching(&self) -> Punching {
        self.0.punching(self.allowed().punch)
    }
}
