//! What a peer book remembers.

use std::{net::Ipv4Addr, time::Duration};

use serde::{Deserialize, Serialize};

use crate::{AttemptOutcome, DialError, PeerIdentity, PeerLocator, Timestamp};

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
    /// The last round trip that was measured.
    #[serde(default)]
    pub rtt: Option<Duration>,
    /// The ids by which Kaspa knew it, each new at a start of its node; newest last.
    #[serde(default)]
    pub kaspa_ids: Vec<KaspaId>,
    /// Not let in before then.
    #[serde(default)]
    pub banned_until: Option<Timestamp>,
    /// The loopback address by which a gateway's kaspad knows it.
    #[serde(default)]
    pub synthetic: Option<Ipv4Addr>,
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

impl RelayScore {
    /// Counts the end of an attempt by way of the relay. That a punch failed, or the
    /// peer did, is not the relay's fault.
    pub fn count(&mut self, outcome: &AttemptOutcome) {
        match outcome.result {
            Ok(_) => self.carried = self.carried.saturating_add(1),
            Err(DialError::RelayUnreachable { .. } | DialError::RelayRefused { .. }) => {
                self.failed = self.failed.saturating_add(1);
            }
            Err(_) => {}
        }
    }
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
    /// Kaspa ids kept per peer.
    pub const MAX_KASPA_IDS: usize = 16;

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
            banned_until: None,
            synthetic: None,
            relayed: RelayScore::default(),
        }
    }

    /// Adds an address, or freshens it. Beyond the bound the oldest goes that the
    /// peer came from, of which there is a new one at each connection.
    pub fn observe(&mut self, address: ObservedAddress) {
        self.last_seen = self.last_seen.max(address.last_seen);
        self.addresses.retain(|known| known.locator != address.locator);
        self.addresses.push(address);
        if self.addresses.len() > Self::MAX_ADDRESSES {
            let passing = self.addresses.iter().position(|address| address.source == AddressSource::Inbound);
            self.addresses.remove(passing.unwrap_or(0));
        }
    }

    /// Counts an attempt's end. One that was overtaken says nothing.
    pub fn count(&mut self, outcome: &AttemptOutcome, now: Timestamp) {
        self.last_seen = self.last_seen.max(now);
        match outcome.result {
            Ok(_) => self.successes = self.successes.saturating_add(1),
            Err(DialError::Overtaken) => {}
            Err(_) => self.failures = self.failures.saturating_add(1),
        }
    }

    /// Notes the id by which Kaspa knows it now; whether it is a new one.
    pub fn note_kaspa_id(&mut self, id: &str, now: Timestamp) -> bool {
        self.last_seen = self.last_seen.max(now);
        if self.kaspa_ids.iter().any(|known| known.id == id) {
            return false;
        }
        self.kaspa_ids.push(KaspaId { id: id.to_owned(), first_seen: now });
        if self.kaspa_ids.len() > Self::MAX_KASPA_IDS {
            self.kaspa_ids.remove(0);
        }
        true
    }

    /// Whether it is banned now.
    pub fn is_banned(&self, now: Timestamp) -> bool {
        self.banned_until.is_some_and(|until| now < until)
    }
}
