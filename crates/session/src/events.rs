use std::time::Duration;

use kaspath_domain::{Path, PeerIdentity};

use crate::{SessionEnd, SessionStats};

/// What happens to sessions.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SessionEvent {
    /// A session is carried by a path for the first time.
    Began {
        /// The peer.
        peer: PeerIdentity,
        /// The path.
        path: Path,
    },
    /// A session has moved to another path.
    Moved {
        /// The peer.
        peer: PeerIdentity,
        /// The path from now on.
        to: Path,
        /// For how long no path was usable; zero for a planned move.
        stall: Duration,
    },
    /// The path in use is silent or has ended: another one is dialled.
    Stalled {
        /// The peer.
        peer: PeerIdentity,
    },
    /// A session has ended.
    Ended {
        /// The peer.
        peer: PeerIdentity,
        /// Why.
        end: SessionEnd,
        /// What it did.
        stats: SessionStats,
    },
}
