use std::fmt;

use kaspath_domain::{DialError, IpPrefix, Transport};
use libp2p::PeerId;
use serde::Serialize;
use thiserror::Error;

/// Why we dial; each has room of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Class {
    /// A peer is wanted.
    Peer,
    /// Our connection to a relay.
    Relay,
    /// A circuit.
    Circuit,
    /// A stranger may have asked for it.
    Punch,
}

/// What is counted and has a limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Room {
    /// Inbound, not through their handshake.
    Pending(Transport),
    PendingFromHost(Transport, IpPrefix),
    PendingFromNetwork(Transport, IpPrefix),
    PendingCircuits,
    PendingThrough(Option<PeerId>),
    /// Inbound, established.
    Inbound,
    FromHost(IpPrefix),
    FromNetwork(IpPrefix),
    Circuits,
    Through(Option<PeerId>),
    /// Ours, not through their handshake.
    Dialling(Class),
    /// Ours, established.
    Dialled(Class),
    /// Direct ones.
    WithPeer(PeerId),
    /// Apart, so that circuits never keep a direct connection out.
    CircuitsWithPeer(PeerId),
    /// To be closed.
    Closing,
}

impl Class {
    fn name(self) -> &'static str {
        match self {
            Class::Peer => "connections to peers",
            Class::Relay => "connections to relays",
            Class::Circuit => "outbound circuits",
            Class::Punch => "punched connections",
        }
    }
}

impl fmt::Display for Class {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl fmt::Display for Room {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Room::Pending(transport) => write!(f, "unfinished inbound connections over {transport}"),
            Room::PendingFromHost(_, from) | Room::PendingFromNetwork(_, from) => {
                write!(f, "unfinished connections from {from}")
            }
            Room::PendingCircuits => f.write_str("unfinished inbound circuits"),
            Room::PendingThrough(Some(relay)) => write!(f, "unfinished circuits through {relay}"),
            Room::PendingThrough(None) => f.write_str("unfinished circuits through an unnamed relay"),
            Room::Inbound => f.write_str("inbound connections"),
            Room::FromHost(from) | Room::FromNetwork(from) => write!(f, "connections from {from}"),
            Room::Circuits => f.write_str("inbound circuits"),
            Room::Through(Some(relay)) => write!(f, "circuits through {relay}"),
            Room::Through(None) => f.write_str("circuits through an unnamed relay"),
            Room::Dialling(class) => write!(f, "unfinished {class}"),
            Room::Dialled(class) => write!(f, "{class}"),
            Room::WithPeer(peer) => write!(f, "connections with {peer}"),
            Room::CircuitsWithPeer(peer) => write!(f, "circuits with {peer}"),
            Room::Closing => f.write_str("connections being closed"),
        }
    }
}

/// Why a connection was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub(crate) enum Refusal {
    #[error("too many {room}: {limit} are allowed")]
    Full { room: Room, limit: u32 },
    #[error("too many new connections from {from} in a short time")]
    TooFast { from: IpPrefix },
    #[error("memory is short")]
    Pressure,
}

impl Refusal {
    /// The domain's error, if what we dialled was refused.
    pub(crate) fn of_dial(&self) -> Option<DialError> {
        let (room, limit) = match self {
            Refusal::Full { room, limit } => (room, *limit),
            Refusal::Pressure => return Some(DialError::MemoryShort),
            Refusal::TooFast { .. } => return None,
        };
        let what = match room {
            Room::Dialling(Class::Peer) => "unfinished connections to peers",
            Room::Dialling(Class::Relay) => "unfinished connections to relays",
            Room::Dialling(Class::Circuit) => "unfinished outbound circuits",
            Room::Dialling(Class::Punch) => "unfinished punched connections",
            Room::Dialled(class) => class.name(),
            Room::WithPeer(_) => "connections with one peer",
            Room::CircuitsWithPeer(_) => "circuits with one peer",
            Room::Closing => "connections being closed",
            _ => return None,
        };
        Some(DialError::LimitReached { what, limit: usize::try_from(limit).unwrap_or(usize::MAX) })
    }
}

/// Connections that were refused since the start, by reason.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct RefusedConnections {
    /// An address or prefix began too many in a short time.
    pub too_fast: u64,
    /// Too many inbound ones were not through their handshake.
    pub pending: u64,
    /// Too many inbound ones from one address or prefix.
    pub per_address: u64,
    /// Too many inbound ones in all, and none that could be closed for it.
    pub inbound: u64,
    /// Too many inbound circuits, in all or through one relay.
    pub circuits: u64,
    /// Too many with one peer.
    pub per_peer: u64,
    /// Too many of ours.
    pub outbound: u64,
    /// Memory was short.
    pub pressure: u64,
    /// Not refused, but closed so that others could stay.
    pub evicted: u64,
}

impl RefusedConnections {
    pub(crate) fn count(&mut self, refusal: &Refusal) {
        let counter = match refusal {
            Refusal::TooFast { .. } => &mut self.too_fast,
            Refusal::Pressure => &mut self.pressure,
            Refusal::Full { room, .. } => match room {
                Room::Pending(_) | Room::PendingFromHost(..) | Room::PendingFromNetwork(..) => &mut self.pending,
                Room::FromHost(_) | Room::FromNetwork(_) => &mut self.per_address,
                Room::Inbound | Room::Closing => &mut self.inbound,
                Room::PendingCircuits | Room::PendingThrough(_) | Room::Circuits | Room::Through(_) => &mut self.circuits,
                Room::WithPeer(_) | Room::CircuitsWithPeer(_) => &mut self.per_peer,
                Room::Dialling(_) | Room::Dialled(_) => &mut self.outbound,
            },
        };
        *counter += 1;
    }

    /// All that were refused, for whatever reason.
    pub fn total(&self) -> u64 {
        self.too_fast
            + self.pending
            + self.per_address
            + self.inbound
            + self.circuits
            + self.per_peer
            + self.outbound
            + self.pressure
    }
}

impl fmt::Display for RefusedConnections {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let reasons = [
            (self.too_fast, "began too fast from one address"),
            (self.pending, "too many unfinished"),
            (self.per_address, "too many from one address"),
            (self.inbound, "too many inbound"),
            (self.circuits, "too many circuits"),
            (self.per_peer, "too many with one peer"),
            (self.outbound, "too many outbound"),
            (self.pressure, "memory was short"),
        ];
        let named: Vec<String> =
            reasons.iter().filter(|(count, _)| *count > 0).map(|(count, reason)| format!("{count} {reason}")).collect();
        write!(f, "{} connections refused so far", self.total())?;
        if !named.is_empty() {
            write!(f, " ({})", named.join(", "))?;
        }
        if self.evicted > 0 {
            write!(f, ", {} closed to make room", self.evicted)?;
        }
        Ok(())
    }
}
