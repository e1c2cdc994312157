use kaspath_domain::{
    AttemptOutcome, DialPlan, Moment, PlanRequest, PolicyError, Punching, Transport, TransportPolicy, TransportSet,
};

use super::{
    config::StrategyConfig,
    routes::{self, Allowed, RelayUse},
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
    /// Direct or punched, and the relay only where all of that has failed.
    DirectFirst,
    /// Everything, QUIC before TCP.
    QuicFirst,
}

/// A strategy that learns nothing and keeps one order.
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
        let over = |transports| Allowed { direct: transports, punch: transports, ..Allowed::ALL };
        match self.only {
            Only::Tcp => over(TransportSet::TCP),
            Only::Quic => over(TransportSet::QUIC),
            Only::Relay => over(TransportSet::NONE),
            Only::Direct => Allowed { relay: RelayUse::Never, ..Allowed::ALL },
            Only::DirectFirst => Allowed { relay: RelayUse::Last, ..Allowed::ALL },
            Only::QuicFirst => Allowed { first: Transport::Quic, ..Allowed::ALL },
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
            Only::DirectFirst => "direct-first",
            Only::QuicFirst => "quic-first",
        }
    }

    fn plan(&self, request: &PlanRequest, _now: Moment) -> Result<DialPlan, PolicyError> {
        routes::plan(self.name(), request, &self.allowed(), &self.config.timing)
    }

    fn observe(&self, _request: &PlanRequest, _outcome: &AttemptOutcome, _now: Moment) {}

    fn punching(&self) -> Punching {
        self.config.punching(self.allowed().punch)
    }
}
