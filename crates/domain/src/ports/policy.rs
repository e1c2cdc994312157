use crate::{
    Admission, AdmissionRequest, AttemptOutcome, DialPlan, PeerIdentity, PeerLocator, PolicyError, RetryCadence, Timestamp,
    TransportSet,
};

/// A peer to be reached.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PlanRequest {
    /// Who, if known.
    pub peer: Option<PeerIdentity>,
    /// Where it may be found, best known first.
    pub addresses: Vec<PeerLocator>,
}

/// Decides how to reach peers and whom to let in.
///
/// A policy is pure: it reads no clock and does no I/O, and the same calls give
/// the same answers. What it learns it learns from [`TransportPolicy::observe`].
#[cfg_attr(feature = "mocks", mockall::automock)]
pub trait TransportPolicy: Send + Sync {
    /// Its name, for logs and configuration.
    fn name(&self) -> &'static str;

    /// The plan by which to dial a peer now.
    fn plan(&self, request: &PlanRequest, now: Timestamp) -> Result<DialPlan, PolicyError>;

    /// Whether an inbound peer may stay.
    fn admit(&self, request: &AdmissionRequest, now: Timestamp) -> Admission;

    /// Takes note of how an attempt ended.
    fn observe(&self, outcome: &AttemptOutcome, now: Timestamp);

    /// When a peer that is still on the relay is punched again.
    fn punch_cadence(&self) -> RetryCadence;

    /// What may be punched when a peer meets us on a relay.
    fn punch_transports(&self) -> TransportSet;
}
