use std::{collections::BTreeMap, net::SocketAddr};

use kaspath_domain::{Direction, Path, PeerIdentity, PeerLocator, Transport};
use serde::{Deserialize, Serialize};

/// Entries of a list that an answer shows.
pub const MAX_SHOWN: usize = 256;
/// The latest punches and moves that an answer shows, of each.
pub const MAX_RECENT: usize = 32;

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
    /// The ports that the router forwards to this node.
    #[serde(default)]
    pub mapped: Vec<MappedStatus>,
    /// Whether others can reach these addresses of it, of which that is known.
    #[serde(default)]
    pub reachability: Vec<AddressStatus>,
    /// How this node's own NAT maps; `None` of a relay.
    #[serde(default)]
    pub nat: Option<NatStatus>,
    /// What its sessions have moved; `None` of a relay.
    #[serde(default)]
    pub traffic: Option<TrafficStatus>,
    /// Open sessions.
    pub peers: Listed<PeerStatus>,
    /// Peers that it has found by itself, and keeps sessions with.
    #[serde(default)]
    pub discovered: Listed<DiscoveredStatus>,
    /// What has come of asking relays for peers; `None` of a relay.
    #[serde(default)]
    pub search: Option<SearchStatus>,
    /// The relays at which it reserves.
    pub relays: Listed<RelayStatus>,
    /// The relays that it knows; `None` of a relay.
    #[serde(default)]
    pub pool: Option<PoolStatus>,
    /// The latest hole punches that ended, newest first, at most [`MAX_RECENT`].
    #[serde(default)]
    pub punches: Vec<PunchStatus>,
    /// The latest moves of sessions from one path to another, newest first, at most [`MAX_RECENT`].
    #[serde(default)]
    pub moves: Vec<MoveStatus>,
    /// Of a relay: peers that have a reservation.
    pub reservations: Listed<ReservationStatus>,
    /// Of a relay: pairs of peers that circuits join.
    pub circuits: Listed<CircuitStatus>,
    /// How often each event has happened since the start, by its name; and `circuit-bytes`.
    pub counters: BTreeMap<String, u64>,
}

/// A peer that relays told of, or that has served well before.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct DiscoveredStatus {
    /// Who.
    pub peer: PeerIdentity,
    /// It has served well before.
    pub proven: bool,
    /// The provider blocks and relays that it counts for.
    pub groups: Vec<String>,
    /// Since the session is there; `None` while it is being reached.
    pub age: Option<f64>,
}

/// An address of the program.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct AddressStatus {
    /// The address.
    pub address: PeerLocator,
    /// `reachable` or `unreachable`.
    pub state: String,
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

impl<T> Default for Listed<T> {
    fn default() -> Self {
        Self { total: 0, shown: Vec::new() }
    }
}

/// A port that the router forwards, as the router says.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct MappedStatus {
    /// Where it is reached from outside.
    pub external: SocketAddr,
    /// `TCP` or `UDP`.
    pub protocol: String,
    /// The port of this host.
    pub port: u16,
    /// Whether it is kaspad's, not this node's.
    pub kaspad: bool,
    /// How the router was asked: `pcp`, `nat-pmp` or `igd`.
    pub method: String,
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
    /// That reason as a sentence.
    #[serde(default)]
    pub reason: Option<String>,
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
    /// Where the settings say that it is.
    #[serde(default)]
    pub addresses: Vec<PeerLocator>,
    /// The last round trip to it that was measured.
    #[serde(default)]
    pub round_trip: Option<f64>,
    /// Who names it: `configured`, `list`, `book`, `rendezvous` or `gossip`.
    #[serde(default)]
    pub source: Option<String>,
    /// How well it serves, from 0 to 1.
    #[serde(default)]
    pub score: Option<f64>,
}

/// What has come of asking relays for peers.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct SearchStatus {
    /// Relays that have answered, or were given up.
    pub asked: usize,
    /// Those of them that tell of other peers.
    pub told: usize,
    /// Why there is no session with a peer that was found, as a sentence; `None` if there is one.
    pub lack: Option<String>,
}

/// The relays that a node knows.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct PoolStatus {
    /// Reservations that are wanted.
    pub wanted: usize,
    /// Relays at which one is held.
    pub held: usize,
    /// Relays that failed, and are not asked for now.
    pub back_off: usize,
    /// All relays that are known.
    pub known: usize,
    /// When the list of relays is read again; `None` without a list.
    pub next_read: Option<f64>,
}

/// How this node's own NAT maps (RFC 4787, section 4.1).
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct NatStatus {
    /// `endpoint-independent`, `endpoint-dependent` or `unknown`.
    pub mapping: String,
    /// What follows for hole punches, as a sentence.
    pub meaning: String,
    /// The addresses at which relays see this node.
    pub observed: Vec<ObservedStatus>,
}

/// An address at which a relay sees this node.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ObservedStatus {
    /// The address.
    pub address: PeerLocator,
    /// The relay.
    pub by: PeerIdentity,
}

/// Bytes of sessions since the start, and per second lately.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct TrafficStatus {
    /// Bytes received from peers.
    pub received: u64,
    /// Bytes sent to peers.
    pub sent: u64,
    /// Bytes received in a second.
    pub received_rate: f64,
    /// Bytes sent in a second.
    pub sent_rate: f64,
}

/// A hole punch that has ended.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct PunchStatus {
    /// Which one since the start, from 1.
    pub number: u64,
    /// With whom.
    pub peer: PeerIdentity,
    /// Since it ended.
    pub age: f64,
    /// What the direct connection runs over; `None` if there is none.
    pub transport: Option<Transport>,
    /// Why there is none, as a sentence.
    pub reason: Option<String>,
    /// How long it took, if this node saw it begin.
    pub duration: Option<f64>,
    /// Which attempt with this peer it was.
    pub attempt: u32,
    /// When it is tried again; 0 if that time has come.
    pub retry_in: Option<f64>,
}

/// A move of a session from one path to another.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct MoveStatus {
    /// Which one since the start, from 1.
    pub number: u64,
    /// With whom.
    pub peer: PeerIdentity,
    /// Since it moved.
    pub age: f64,
    /// The path before.
    pub from: Path,
    /// The path from then on.
    pub to: Path,
    /// Why one of them is or was through a relay, as a sentence.
    pub reason: Option<String>,
    /// For how long there was no path; 0 for a planned move.
    pub stall: f64,
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
