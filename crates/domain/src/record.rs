//! What a peer book remembers.

use serde::{Deserialize, Serialize};

use crate::{PeerIdentity, PeerLocator, Timestamp};

/// Who told us an address.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum AddressSource {
    /// The user, by flag or file.
    Manual,
    /// The peer itself, by identify, over a connection through this relay if any.
    Identify {
        /// The relay it came through.
        relay: Option<PeerIdentity>,
    },
    /// The peer came from there.
    Inbound,
    /// A Kaspa Addresses message.
    Gossip,
}

/// An address, who told it and when.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ObservedAddress {
    /// The address.
    pub locator: PeerLocator,
    /// Who told it.
    pub source: AddressSource,
    /// When it was told last.
    pub last_seen: Timestamp,
}

/// What is known of one peer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PeerRecord {
    /// The peer.
    pub peer: PeerIdentity,
    /// Its addresses, newest last; bounded by the book.
    pub addresses: Vec<ObservedAddress>,
    /// When it was first heard of.
    pub first_seen: Timestamp,
    /// When it was last heard of.
    pub last_seen: Timestamp,
    /// Dials that gave a stream.
    pub successes: u64,
    /// Dials that did not.
    pub failures: u64,
}
