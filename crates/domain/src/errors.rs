//! What can go wrong at each port, in words that name the cause and the cure.

use std::{io, net::Ipv4Addr, time::Duration};

use thiserror::Error;

use crate::{PeerIdentity, RelayReason, Route};

/// Why a dial gave no stream.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum DialError {
    /// No dialer here serves such a route.
    #[error("nothing here can dial {0}")]
    Unsupported(Box<Route>),
    /// A peer id is needed for this route and none was given.
    #[error("{0} needs the peer's id: append /p2p/<peer id>")]
    MissingPeerId(Box<Route>),
    /// A name did not resolve.
    #[error("{host} did not resolve: {cause}")]
    Resolve {
        /// The name.
        host: String,
        /// The resolver's message.
        cause: String,
    },
    /// The time ran out.
    #[error("no answer within {after:?} while {doing}")]
    Timeout {
        /// The time that there was.
        after: Duration,
        /// What was being waited for.
        doing: &'static str,
    },
    /// Nothing answers there, or it refuses.
    #[error("{address} cannot be reached: {cause}")]
    Unreachable {
        /// Where.
        address: String,
        /// The system's or the transport's message.
        cause: String,
    },
    /// Another peer answered.
    #[error("expected peer {expected} but {found} answered: check the peer id, or the address is stale")]
    WrongPeer {
        /// Who was expected.
        expected: PeerIdentity,
        /// Who answered.
        found: PeerIdentity,
    },
    /// The relay itself cannot be reached.
    #[error("relay {relay} cannot be reached: {cause}")]
    RelayUnreachable {
        /// The relay.
        relay: PeerIdentity,
        /// Why.
        cause: String,
    },
    /// The relay is there but opens no circuit.
    #[error("relay {relay} opens no circuit to the peer: {cause}")]
    RelayRefused {
        /// The relay.
        relay: PeerIdentity,
        /// Its reason.
        cause: String,
    },
    /// The peer does not speak our stream protocol.
    #[error("peer {peer} does not speak {protocol}: it is not a Kaspath peer, of another Kaspa network, or too old")]
    ProtocolUnsupported {
        /// The peer.
        peer: PeerIdentity,
        /// The stream protocol asked for.
        protocol: String,
    },
    /// The relay works but no direct path came up.
    #[error("no direct path to peer {peer}: {reason}")]
    NoDirectPath {
        /// The peer.
        peer: PeerIdentity,
        /// Why it is still on the relay.
        reason: RelayReason,
    },
    /// A limit of this node is reached.
    #[error("this node's limit of {limit} {what} is reached")]
    LimitReached {
        /// What is limited.
        what: &'static str,
        /// The limit.
        limit: usize,
    },
    /// This node dials nothing new while its memory is short.
    #[error("this node's memory is short: nothing new is dialled")]
    MemoryShort,
    /// The connection broke under the dial.
    #[error("the connection broke while {doing}: {cause}")]
    Broken {
        /// What was going on.
        doing: &'static str,
        /// The transport's message.
        cause: String,
    },
    /// Another way to the peer was there first, so this one was given up. It says
    /// only that this one took longer than `elapsed` of its outcome.
    #[error("another way was faster")]
    Overtaken,
    /// The transport is going down.
    #[error("the transport is shutting down")]
    ShuttingDown,
}

impl DialError {
    /// Whether a limit of this node ended the dial, which then says nothing about the peer.
    pub fn is_of_our_limits(&self) -> bool {
        matches!(self, Self::LimitReached { .. } | Self::MemoryShort)
    }
}

/// Why a listener gives no more streams.
#[derive(Debug, Error)]
pub enum ListenError {
    /// The address cannot be listened on.
    #[error("cannot listen on {address}: {cause}")]
    Bind {
        /// Where.
        address: String,
        /// The system's message.
        cause: io::Error,
    },
    /// The listener was closed.
    #[error("the listener is closed")]
    Closed,
}

/// Why the peer book failed.
#[derive(Debug, Error)]
pub enum PeerBookError {
    /// The book is full and nothing may be evicted.
    #[error("the peer book is full at {limit} peers, all of them banned, configured or in a session")]
    Full {
        /// The limit.
        limit: usize,
    },
    /// A loopback address is in use or not valid.
    #[error("{address} cannot be a peer's loopback address: it is outside 127.64.0.0/10, or another peer's and in use")]
    Loopback {
        /// The address.
        address: Ipv4Addr,
    },
    /// The store failed.
    #[error("the peer book's store failed: {0}")]
    Store(String),
}

/// Why a policy makes no plan.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum PolicyError {
    /// No address is known that the strategy may use.
    #[error("the {policy} policy finds no usable address among {known} known ones")]
    NoUsableAddress {
        /// The policy's name.
        policy: String,
        /// How many addresses it was given.
        known: usize,
    },
}
