//! What a policy decides and an executor runs.

use std::time::Duration;

use crate::{DialError, Path, PeerIdentity, Route};

/// When a punch goes over both transports and QUIC comes first, so long is waited for
/// TCP, which moves more bytes.
pub const TCP_GRACE: Duration = Duration::from_millis(250);

/// One dial, as a dialer takes it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DialRequest {
    /// Who must answer; `None` only on routes that prove no identity.
    pub peer: Option<PeerIdentity>,
    /// The way.
    pub route: Route,
    /// How long the dial may take in all.
    pub timeout: Duration,
}

/// A dial of a plan, and when it begins.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Attempt {
    /// The dial.
    pub request: DialRequest,
    /// How long after its stage's start it begins, unless an earlier attempt of
    /// the stage has succeeded, or all have failed (then it begins at once).
    pub start_after: Duration,
}

/// Attempts that race. The first stream wins, the others are cancelled.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Stage {
    /// The attempts, by rising `start_after`.
    pub attempts: Vec<Attempt>,
}

/// Stages tried one after another until one gives a stream.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DialPlan {
    /// The stages.
    pub stages: Vec<Stage>,
}

/// How one attempt ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AttemptOutcome {
    /// The peer dialled.
    pub peer: Option<PeerIdentity>,
    /// The way tried.
    pub route: Route,
    /// The path of the stream, or why there is none: [`DialError::Overtaken`] if another
    /// way was faster.
    pub result: Result<Path, DialError>,
    /// From the attempt's start to its end.
    pub elapsed: Duration,
}
