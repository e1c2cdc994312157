use crate::{
    Admission, AdmissionRequest, AttemptOutcome, DialPlan, Moment, PeerIdentity, PeerLocator, PolicyError, RetryCadence,
    TransportSet,
};

/// How our own NAT maps (RFC 4787, section 4.1), as far as it is known.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum NatMapping {
    /// Not known.
    #[default]
    Unknown,
    /// One mapping for every destination, or no NAT.
    EndpointIndependent,
    /// Another mapping for each destination (a "symmetric" NAT).
    EndpointDependent,
}

/// A peer to be reached.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PlanRequest {
    /// Who, if known.
    pub peer: Option<PeerIdentity>,
    /// Where it may be found, best known first.
    pub addresses: Vec<PeerLocator>,
    /// How our own NAT maps.
    pub mapping: NatMapping,
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
    fn plan(&self, request: &PlanRequest, now: Moment) -> Result<DialPlan, PolicyError>;

    /// Whether an inbound peer may stay.
    fn admit(&self, request: &AdmissionRequest, now: Moment) -> Admission;

    /// Takes note of how an attempt ended; also of one that was under way when
    /// another succeeded ([`crate::DialError::Overtaken`]).
    fn observe(&self, outcome: &AttemptOutcome, now: Moment);

    /// Whether a session with the peer that is on a relay may move, now, to a direct
    /// path that has come up; each yes counts as a move.
    fn may_move(&self, _peer: &PeerIdentity, _now: Moment) -> bool {
        true
    }

    /// When a peer that is still on the relay is punched again.
    fn punch_cadence(&self) -> RetryCadence;

    /// What may be punched when a peer meets us on a relay.
    fn punch_transports(&self) -> TransportSet;
}
