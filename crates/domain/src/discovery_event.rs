use std::{fmt, time::Duration};

use serde::{Serialize, Serializer};

use crate::{Groups, PeerGroup, PeerIdentity};

/// Something that happened while peers were looked for. The serialized form is stable: a
/// field `event` and the event's own fields.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(tag = "event", rename_all = "kebab-case")]
pub enum DiscoveryEvent {
    /// A relay, or a peer, has told of peers or relays.
    PeersTold {
        /// Who.
        teller: PeerIdentity,
        /// Records in its answer.
        count: usize,
        /// Of these, those of peers and relays that no valid record was known of.
        new: usize,
    },
    /// It was asked and did not tell.
    PeersNotTold {
        /// Who.
        teller: PeerIdentity,
        /// Of which kind the cause is.
        reason: NotTold,
        /// Why.
        cause: String,
    },
    /// A relay lists this node.
    Listed {
        /// The relay.
        relay: PeerIdentity,
        /// For how long, if it is not renewed.
        #[serde(rename = "for", serialize_with = "crate::time::seconds")]
        granted: Duration,
    },
    /// A relay does not list this node.
    ListRefused {
        /// The relay.
        relay: PeerIdentity,
        /// Why.
        cause: String,
        /// When it is asked again.
        #[serde(serialize_with = "crate::time::seconds")]
        retry_in: Duration,
    },
    /// A session with a discovered or proven peer changed.
    DiscoveredPeer {
        /// The peer.
        peer: PeerIdentity,
        /// How.
        change: DiscoveredChange,
        /// Whether it has proven itself before, and was not told of by anybody now.
        proven: bool,
        /// The groups that it counts for.
        #[serde(serialize_with = "texts")]
        groups: Groups,
        /// Why, if it could not be reached.
        cause: Option<String>,
    },
}

/// What happened to a session with a discovered peer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum DiscoveredChange {
    /// It has begun, or was there already.
    Reached,
    /// It could not begin.
    Failed,
    /// It has ended.
    Ended,
    /// This node has ended it, so that another peer comes.
    Left,
}

/// Why somebody did not tell.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum NotTold {
    /// It could not be reached, or did not answer.
    Unreachable,
    /// It does not speak the protocol.
    NotSpoken,
    /// It refused.
    Refused,
    /// It was asked too often.
    TooOften,
    /// Its answer was invalid.
    Invalid,
}

impl fmt::Display for PeerGroup {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Prefix(prefix) => prefix.fmt(f),
            Self::Relay(relay) => write!(f, "relay {}", relay.short()),
        }
    }
}

fn texts<S: Serializer>(groups: &Groups, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_seq(groups.iter().map(ToString::to_string))
}
