//! The ways to a peer.

use std::fmt;

use crate::{PeerIdentity, RelayAddress, TransportAddress, TransportSet};

/// One way to a peer.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Route {
    /// Dial it straight.
    Direct(TransportAddress),
    /// A stream over a relay's circuit.
    Relayed(RelayAddress),
    /// A circuit to punch from, and a stream over the direct path. A session takes the
    /// circuit until then.
    Punched {
        /// The relay of the circuit.
        relay: RelayAddress,
        /// What may be punched.
        transports: TransportSet,
    },
}

impl Route {
    /// The relay that it leads through, if any.
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
