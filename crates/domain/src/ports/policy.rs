use crate::{AttemptOutcome, DialPlan, Moment, PeerIdentity, PeerLocator, PolicyError, RetryCadence, TransportSet};

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

/// How peers that are on a relay are punched.
#[derive(Clone, Debug, PartialEq)]
pub struct Punching {
    /// What may be punched; nothing turns punches off.
    pub transports: TransportSet,
    /// When a punch that failed is tried again.
    pub cadence: RetryCadence,
}

/// Decides how to reach peers, and learns from how that went.
///
/// A policy reads no clock and does no I/O. Only [`TransportPolicy::observe`] changes
/// what it knows: between two such calls the same request gives the same plan, however
/// often it is asked. How often peers are dialled is not its matter.
#[cfg_attr(feature = "mocks", mockall::automock)]
pub trait TransportPolicy: Send + Sync {
    /// Its name, for logs and configuration.
    fn name(&self) -> &'static str;

    /// The plan by which to dial a peer now.
    fn plan(&self, request: &PlanRequest, now: Moment) -> Result<DialPlan, PolicyError>;

    /// Takes note of how an attempt of the request's plan ended; also of one that was
    /// under way when another succeeded ([`crate::DialError::Overtaken`]).
    fn observe(&self, request: &PlanRequest, outcome: &AttemptOutcome, now: Moment);

    /// What may be punched, and when again.
    fn punching(&self) -> Punching;
}
