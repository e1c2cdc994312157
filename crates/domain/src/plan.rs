//! What a policy decides and an executor runs.

use std::{fmt, time::Duration};

use crate::{DialError, Path, PeerIdentity, RelayAddress, TransportAddress, TransportSet};

/// One way to a peer.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Route {
    /// Dial it straight.
    Direct(TransportAddress),
    /// A stream over a relay's circuit.
    Relayed(RelayAddress),
    /// A circuit to meet, and a stream only over a direct path punched from it.
    Punched {
        /// Where to meet.
        relay: RelayAddress,
        /// What may be punched.
        transports: TransportSet,
    },
}

impl Route {
    /// The relay it goes by, if it does.
    pub fn relay(&self) -> Option<&PeerIdentity> {
        match self {
            Route::Relayed(relay) | Route::Punched { relay, .. } => Some(&relay.relay),
            Route::Direct(_) => None,
        }
    }
}

impl fmt::Display for Route {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Route::Direct(address) => write!(f, "{address}"),
            Route::Relayed(relay) => write!(f, "{relay}/p2p-circuit"),
            Route::Punched { relay, .. } => write!(f, "a punch through {relay}"),
        }
    }
}

/// One dial, as a dialer takes it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DialRequest {
    /// Who must answer; `None` only on routes that prove no identity.
    pub peer: Option<PeerIdentity>,
    /// The way.
    pub route: Route,
    /// How long the dial may take in all.
    pub deadline: Duration,
}

/// A dial at its place in a plan.
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
    /// The path of the stream, or why there is none. A cancelled loser has no outcome.
    pub result: Result<Path, DialError>,
    /// From the attempt's start to its end.
    pub elapsed: Duration,
}
