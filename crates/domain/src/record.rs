//! What a peer book remembers.

mod addresses;
mod change;

use std::{net::Ipv4Addr, time::Duration};

use serde::{Deserialize, Serialize};

use crate::{PeerIdentity, PeerLocator, Timestamp};

pub use addresses::addresses_for;
pub use change::PeerChange;

/// Where we have an address from.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum AddressSource {
    /// The user, by flag or file.
    Manual,
    /// A dial of ours that reached the peer there. Books on disk have it under this name.
    #[serde(rename = "identify")]
    Dialed {
        /// The relay it went through, if any.
        relay: Option<PeerIdentity>,
    },
    /// The peer came from there.
    Inbound,
    /// A Kaspa Addresses message.
    Gossip,
}

/// An address, where it is from and since when.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ObservedAddress {
    /// The address.
    pub locator: PeerLocator,
    /// Where it is from.
    pub source: AddressSource,
    /// When it was last reported or used.
    pub last_seen: Timestamp,
    /// When a dial there last gave a stream.
    #[serde(default)]
    pub last_worked: Option<Timestamp>,
    /// Dials there that have failed since.
    #[serde(default)]
    pub failures: u32,
}

impl ObservedAddress {
    /// An address that was just reported and never dialled.
    pub fn new(locator: PeerLocator, source: AddressSource, now: Timestamp) -> Self {
        Self { locator, source, last_seen: now, last_worked: None, failures: 0 }
    }
}

/// Who bans a peer, or lifts a ban.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum BanSource {
    /// This node's user.
    Manual,
    /// The kaspad behind the gateway.
    Kaspad,
}

/// What is known of one peer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PeerRecord {
    /// The peer.
    pub peer: PeerIdentity,
    /// Its addresses, newest last; at most [`PeerRecord::MAX_ADDRESSES`].
    pub addresses: Vec<ObservedAddress>,
    /// When it was first heard of.
    pub first_seen: Timestamp,
    /// When it was last heard of.
    pub last_seen: Timestamp,
    /// Dials that gave a stream.
    pub successes: u64,
    /// Dials that did not.
    pub failures: u64,
    /// The last round trip that was measured.
    #[serde(default)]
    pub rtt: Option<Duration>,
    /// The ids by which Kaspa knew it, each new at a start of its node; newest last.
    #[serde(default)]
    pub kaspa_ids: Vec<KaspaId>,
    /// The end of the user's ban. Earlier versions had one end for both bans.
    #[serde(default, alias = "banned_until")]
    pub manual_ban: Option<Timestamp>,
    /// The end of kaspad's ban. It stays, even when it has passed, as long as kaspad
    /// lists the ban: kaspad does so until it is asked, which must not renew it.
    #[serde(default)]
    pub kaspad_ban: Option<Timestamp>,
    /// The loopback address by which a gateway's kaspad knows it.
    #[serde(default, alias = "synthetic")]
    pub loopback: Option<Ipv4Addr>,
    /// As a relay: dials that it carried, and dials that failed for its sake.
    #[serde(default)]
    pub relayed: RelayScore,
}

/// How a relay has served.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct RelayScore {
    /// Dials through it that gave a stream.
    pub carried: u64,
    /// Dials for which it could not be reached or gave no circuit.
    pub failed: u64,
}

/// The id in a node's Version message, which together with the address is its
/// PeerKey to Kaspa.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct KaspaId {
    /// The id.
    pub id: String,
    /// When it was first seen.
    pub first_seen: Timestamp,
}

impl PeerRecord {
    /// Addresses kept per peer.
    pub const MAX_ADDRESSES: usize = 16;
    /// Of these, addresses that the peer only came from: it can come from a new one
    /// as often as it likes.
    pub const MAX_INBOUND_ADDRESSES: usize = 4;
    /// Kaspa ids kept per peer.
    pub const MAX_KASPA_IDS: usize = 16;
    /// Bytes of one; a UUID has 36. Longer ones are not kept.
    pub const MAX_KASPA_ID: usize = 64;

    /// A peer heard of for the first time.
    pub fn new(peer: PeerIdentity, now: Timestamp) -> Self {
        Self {
            peer,
            addresses: Vec::new(),
            first_seen: now,
            last_seen: now,
            successes: 0,
            failures: 0,
            rtt: None,
            kaspa_ids: Vec::new(),
            manual_ban: None,
            kaspad_ban: None,
            loopback: None,
            relayed: RelayScore::default(),
        }
    }

    /// When the last ban ends that holds now, and whose it is.
    pub fn ban(&self, now: Timestamp) -> Option<(BanSource, Timestamp)> {
        let bans = [(BanSource::Manual, self.manual_ban), (BanSource::Kaspad, self.kaspad_ban)];
        let hold = bans.into_iter().filter_map(|(source, until)| Some((source, until.filter(|until| now < *until)?)));
        hold.max_by_key(|(_, until)| *until)
    }

    /// Whether it is banned now.
    pub fn is_banned(&self, now: Timestamp) -> bool {
        self.ban(now).is_some()
    }
}

#[cfg(test)]
mod tests;
