//! The thin async shell: runs plans over dialers.

use std::sync::{Arc, PoisonError, RwLock};

use async_trait::async_trait;
use futures::stream::{FuturesUnordered, StreamExt};
use kaspath_domain::{
    AttemptOutcome, ConnectorError, DialError, DialPlan, DialRequest, DuplexStream, Moment, MonotonicClock, NatMapping, Observer,
    Observers, PeerConnector, PeerTarget, PlanRequest, StreamDialer, TransportPolicy,
};
use tokio::time::{sleep, timeout};

use crate::race::{AttemptId, Race, Step};

/// Asks a policy for plans and runs them. Each dial goes to the first dialer
/// that serves it.
pub struct Executor {
    policy: Arc<RwLock<Arc<dyn TransportPolicy>>>,
    dialers: Vec<Arc<dyn StreamDialer>>,
    clock: MonotonicClock,
    mapping: Arc<dyn Fn() -> NatMapping + Send + Sync>,
    observers: Observers<AttemptOutcome>,
}

impl Executor {
    /// `clock` gives the moments that the policy sees: the same one for all that ask it.
    pub fn new(policy: Arc<dyn TransportPolicy>, dialers: Vec<Arc<dyn StreamDialer>>, clock: MonotonicClock) -> Self {
        let mapping = Arc::new(NatMapping::default);
        Self { policy: Arc::new(RwLock::new(policy)), dialers, clock, mapping, observers: Observers::default() }
    }

    /// Plans with what `mapping` knows of our own NAT.
    #[must_use]
    pub fn with_mapping(self, mapping: impl Fn() -> NatMapping + Send + Sync + 'static) -> Self {
        Self { mapping: Arc::new(mapping), ..self }
    }

    /// Tells these how each attempt ended, after the policy.
    #[must_use]
    pub fn with_observers(self, observers: Observers<AttemptOutcome>) -> Self {
        Self { observers, ..self }
    }

    /// The same with other dialers. Both have one policy and tell the same observers.
    #[must_use]
    pub fn with_dialers(&self, dialers: Vec<Arc<dyn StreamDialer>>) -> Self {
        let (policy, mapping, observers) = (self.policy.clone(), self.mapping.clone(), self.observers.clone());
        Self { policy, dialers, clock: self.clock, mapping, observers }
    }

    /// Plans by that policy from now on. What the old one has learnt goes with it.
    pub fn set_policy(&self, policy: Arc<dyn TransportPolicy>) {
        *self.policy.write().unwrap_or_else(PoisonError::into_inner) = policy;
    }

    pub(crate) fn now(&self) -> Moment {
        self.clock.now()
    }

    /// The policy that plans now.
    pub fn policy(&self) -> Arc<dyn TransportPolicy> {
        self.policy.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    pub(crate) fn request(&self, target: &PeerTarget) -> (Arc<dyn TransportPolicy>, PlanRequest) {
        let PeerTarget { peer, addresses } = target.clone();
        (self.policy(), PlanRequest { peer, addresses, mapping: (self.mapping)() })
    }

    /// Runs the plan that `policy` made for the request, and tells it how each attempt
    /// ended.
    pub(crate) async fn run(
        &self,
        policy: &dyn TransportPolicy,
        request: &PlanRequest,
        plan: DialPlan,
    ) -> Result<DuplexStream, ConnectorError> {
        let (mut race, mut dials, mut all) = (Race::new(plan), FuturesUnordered::new(), Vec::new());
        loop {
            let now = self.clock.now();
            let due = match race.step(now) {
                Step::Start(id, dial) => {
                    dials.push(self.dial(id, dial));
                    continue;
                }
                Step::Wait(due) => due,
                Step::Over => return Err(ConnectorError::AllFailed(all)),
            };
            tokio::select! {
                biased;
                Some((id, dialed)) = dials.next() => {
                    let result = dialed.as_ref().map(DuplexStream::path).map_err(Clone::clone);
                    let now = self.clock.now();
                    for outcome in race.ended(id, result, now) {
                        tracing::debug!(route = %outcome.route, result = ?outcome.result, elapsed = ?outcome.elapsed, "attempt ended");
                        policy.observe(request, &outcome, now);
                        self.observers.observe(&outcome);
                        all.push(outcome);
                    }
                    // Dropping the other dials cancels them.
                    if let Ok(stream) = dialed {
                        return Ok(stream);
                    }
                }
                () = sleep(due.unwrap_or(now).since(now)), if due.is_some() => {}
            }
        }
    }

    async fn dial(&self, id: AttemptId, request: DialRequest) -> (AttemptId, Result<DuplexStream, DialError>) {
        let limit = request.timeout * 2;
        let dialed = match self.dialers.iter().find(|dialer| dialer.supports(&request)) {
            // A dialer keeps to the timeout; this one guards against one that does not.
            Some(dialer) => timeout(limit, dialer.dial(request))
                .await
                .unwrap_or(Err(DialError::Timeout { after: limit, doing: "waiting for a dialer that overran" })),
            None => Err(DialError::Unsupported(Box::new(request.route))),
        };
        (id, dialed)
    }
}

#[async_trait]
impl PeerConnector for Executor {
    async fn connect(&self, target: &PeerTarget) -> Result<DuplexStream, ConnectorError> {
        let (policy, request) = self.request(target);
        let plan = policy.plan(&request, self.clock.now())?;
        self.run(policy.as_ref(), &request, plan).await
    }
}
