use std::time::Duration;

use kaspath_domain::{
    Path, PeerIdentity,
    time::{optional_seconds, seconds},
};
use serde::{Serialize, Serializer};

use crate::{SessionEnd, SessionStats};

/// Why a session has moved.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum MoveKind {
    /// The path before was usable here until the move: nothing stood still. So it is too
    /// at a side whose peer noticed first that the path had failed.
    Planned,
    /// The path before was silent or had ended.
    Failover,
}

/// What happens to sessions. The serialized form is stable.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(tag = "event")]
pub enum SessionEvent {
    /// A session is carried by a path for the first time.
    #[serde(rename = "session-began")]
    Began {
        /// The peer.
        peer: PeerIdentity,
        /// The path.
        path: Path,
        /// Since it was asked for, or since the peer's first message.
        #[serde(serialize_with = "seconds")]
        after: Duration,
        /// The round trip of the path, if one was measured by then.
        #[serde(serialize_with = "optional_seconds")]
        rtt: Option<Duration>,
    },
    /// A session has moved to another path.
    #[serde(rename = "session-moved")]
    Moved {
        /// The peer.
        peer: PeerIdentity,
        /// Why.
        kind: MoveKind,
        /// The path until now.
        from: Path,
        /// The path from now on.
        #[serde(rename = "path")]
        to: Path,
        /// For how long no path was usable, in seconds when serialized; zero for a planned
        /// move.
        #[serde(serialize_with = "seconds")]
        stall: Duration,
        /// Bytes that this side sends again on the new path: what was under way on others.
        replayed: u64,
    },
    /// The path in use was silent, and has given an answer after all.
    #[serde(rename = "session-recovered")]
    Recovered {
        /// The peer.
        peer: PeerIdentity,
        /// How long it was unusable.
        #[serde(serialize_with = "seconds")]
        stall: Duration,
    },
    /// The path in use is silent or has ended: another one is dialled.
    #[serde(rename = "session-stalled")]
    Stalled {
        /// The peer.
        peer: PeerIdentity,
    },
    /// A session has ended.
    #[serde(rename = "session-ended")]
    Ended {
        /// The peer.
        peer: PeerIdentity,
        /// Why.
        #[serde(rename = "cause", serialize_with = "text")]
        end: SessionEnd,
        /// The last path that carried it; none if it never began.
        path: Option<Path>,
        /// What it did.
        #[serde(flatten)]
        stats: SessionStats,
    },
}

fn text<S: Serializer>(end: &SessionEnd, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(end)
}
