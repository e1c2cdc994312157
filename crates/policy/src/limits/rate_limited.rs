use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;
use kaspath_domain::{
    AdmissionPolicy, AttemptOutcome, ConnectorError, DuplexStream, MonotonicClock, Observer, PeerConnector, PeerTarget,
};

use super::{DialLimits, DialLimitsConfig};

/// [`DialLimits`] that are shared: they observe outcomes where these happen.
pub struct SharedLimits {
    limits: Mutex<DialLimits>,
    clock: MonotonicClock,
}

impl SharedLimits {
    /// Limits for one connector. They must observe how its attempts end.
    pub fn new(config: DialLimitsConfig, clock: MonotonicClock) -> Self {
        Self { limits: Mutex::new(DialLimits::new(config)), clock }
    }

    fn lock(&self) -> MutexGuard<'_, DialLimits> {
        self.limits.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Observer<AttemptOutcome> for SharedLimits {
    fn observe(&self, outcome: &AttemptOutcome) {
        self.lock().observe(outcome, self.clock.now());
    }
}

/// A connector that dials no banned peer, and no peer too often.
pub struct RateLimited<C> {
    inner: C,
    limits: Arc<SharedLimits>,
    admission: Arc<dyn AdmissionPolicy>,
}

impl<C> RateLimited<C> {
    /// `inner` within these limits.
    pub fn new(inner: C, limits: Arc<SharedLimits>, admission: Arc<dyn AdmissionPolicy>) -> Self {
        Self { inner, limits, admission }
    }
}

#[async_trait]
impl<C: PeerConnector> PeerConnector for RateLimited<C> {
    async fn connect(&self, target: &PeerTarget) -> Result<DuplexStream, ConnectorError> {
        if target.peer.as_ref().is_some_and(|peer| self.admission.is_banned(peer)) {
            return Err(ConnectorError::Banned);
        }
        let narrowed = self.limits.lock().begin(target, self.limits.clock.now())?;
        match self.inner.connect(&narrowed).await {
            // The policy wants a relay, and all of them have failed too lately.
            Err(ConnectorError::NoPlan(_)) if narrowed.addresses.len() < target.addresses.len() => {
                Err(ConnectorError::BackOff(self.limits.lock().relays_left(target, self.limits.clock.now())))
            }
            connected => connected,
        }
    }
}
