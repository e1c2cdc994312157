use std::{collections::BTreeMap, net::SocketAddr};

use kaspath_domain::{Direction, Path, PeerIdentity, PeerLocator};
use serde::{Deserialize, Serialize};

/// Entries of a list that an answer shows.
pub const MAX_SHOWN: usize = 256;

/// What a running program reports of itself. Times are in seconds.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Status {
    /// `relay`, `node` or `gateway`.
    pub role: String,
    /// The program's version.
    pub program: String,
    /// Who it is.
    pub peer: PeerIdentity,
    /// Since it started.
    pub uptime: f64,
    /// Where it listens directly.
    pub listening: Vec<PeerLocator>,
    /// The direct addresses that are announced to peers.
    pub announced: Vec<PeerLocator>,
    /// Open sessions.
    pub peers: Listed<PeerStatus>,
    /// The relays at which it reserves.
    pub relays: Listed<RelayStatus>,
    /// Of a relay: peers that have a reservation.
    pub reservations: Listed<ReservationStatus>,
    /// Of a relay: pairs of peers that circuits join.
    pub circuits: Listed<CircuitStatus>,
    /// How often each event has happened since the start, by its name; and `circuit-bytes`.
    pub counters: BTreeMap<String, u64>,
}

/// A list that may be too long to be shown in full.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Listed<T> {
    /// How many there are.
    pub total: usize,
    /// The first of them.
    pub shown: Vec<T>,
}

impl<T> Listed<T> {
    /// Shows up to [`MAX_SHOWN`].
    pub fn of(all: impl IntoIterator<Item = T>) -> Self {
        let mut all = all.into_iter();
        let shown: Vec<T> = all.by_ref().take(MAX_SHOWN).collect();
        Self { total: shown.len() + all.count(), shown }
    }
}

/// A session with a peer.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct PeerStatus {
    /// Who; `None` for a plain Kaspa peer, which proves no identity.
    pub peer: Option<PeerIdentity>,
    /// The address by which Kaspa knows it, if it has one yet.
    pub address: Option<SocketAddr>,
    /// Who began the session.
    pub direction: Direction,
    /// How it travels now and, on a relay, why.
    pub path: Path,
    /// What it says it is, if this program reads that.
    pub user_agent: Option<String>,
    /// Since it began.
    pub age: f64,
    /// Bytes received from the peer.
    pub received: u64,
    /// Bytes sent to the peer.
    pub sent: u64,
}

/// A relay at which this node reserves.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct RelayStatus {
    /// Who.
    pub relay: PeerIdentity,
    /// `confirmed`, `requested`, `lost`, or `unknown` if nothing was heard of it yet.
    pub state: String,
    /// How long it has been so.
    pub age: Option<f64>,
    /// Why it was lost.
    pub cause: Option<String>,
    /// When it is asked for again.
    pub retry_in: Option<f64>,
}

/// A reservation that a peer has here.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ReservationStatus {
    /// Who.
    pub peer: PeerIdentity,
    /// Since it was granted or renewed.
    pub age: f64,
}

/// Circuits from one peer to another.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct CircuitStatus {
    /// Who asked for them.
    pub source: PeerIdentity,
    /// Who was asked for.
    pub destination: PeerIdentity,
    /// How many.
    pub count: u64,
    /// Since the last of them opened.
    pub age: f64,
}
