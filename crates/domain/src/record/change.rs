//! The changes that a record can undergo.

use std::time::Duration;

use super::{AddressSource, BanSource, KaspaId, ObservedAddress, PeerRecord, RelayScore};
use crate::{AttemptOutcome, DialError, PeerAddress, PeerLocator, Route, Timestamp};

/// One thing that was learnt of a peer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PeerChange {
    /// An address of it was reported or seen.
    Address {
        /// The address.
        locator: PeerLocator,
        /// Where it is from.
        source: AddressSource,
    },
    /// It was let in, or its session is established.
    Admitted,
    /// A dial to it ended.
    Dialed(AttemptOutcome),
    /// A dial to another peer ended, for which it was the relay.
    Relayed(AttemptOutcome),
    /// Kaspa knows it by this id now.
    KaspaId(String),
    /// A round trip was measured.
    RoundTrip(Duration),
    /// It is banned. The user's ban replaces an earlier one of the user's;
    /// kaspad's counts from the first time it is seen.
    Ban {
        /// By whom.
        source: BanSource,
        /// Until when.
        until: Timestamp,
    },
    /// A ban is lifted. The user lifts every ban; kaspad lifts its own.
    Unban {
        /// By whom.
        source: BanSource,
    },
    /// What another book knows of it.
    Join(Box<PeerRecord>),
}

impl PeerChange {
    /// Whether it is a reason to remember a peer that is not in the book: that a peer
    /// connected, which costs it nothing, or could not be reached is none.
    pub fn introduces(&self) -> bool {
        match self {
            Self::Address { source, .. } => *source == AddressSource::Manual,
            Self::Dialed(outcome) | Self::Relayed(outcome) => outcome.result.is_ok(),
            Self::Admitted | Self::KaspaId(_) | Self::Ban { .. } | Self::Join(_) => true,
            Self::RoundTrip(_) | Self::Unban { .. } => false,
        }
    }
}

impl PeerRecord {
    /// Carries a change out. Whether it said anything new: a ban that was not there, a
    /// ban lifted that was, an address or id not known before.
    pub fn apply(&mut self, change: PeerChange, now: Timestamp) -> bool {
        match change {
            PeerChange::Address { locator, source } => {
                self.seen(now);
                self.observe(ObservedAddress::new(locator, source, now))
            }
            PeerChange::Admitted => {
                self.seen(now);
                true
            }
            PeerChange::Dialed(outcome) => self.count(&outcome, now),
            PeerChange::Relayed(outcome) => {
                if outcome.result.is_ok() {
                    self.seen(now);
                }
                self.relayed.count(&outcome)
            }
            PeerChange::KaspaId(id) => {
                self.seen(now);
                self.note_kaspa_id(KaspaId { id, first_seen: now })
            }
            PeerChange::RoundTrip(rtt) => self.rtt.replace(rtt) != Some(rtt),
            PeerChange::Ban { source: BanSource::Manual, until } => self.manual_ban.replace(until) != Some(until),
            PeerChange::Ban { source: BanSource::Kaspad, until } => {
                let is_first = self.kaspad_ban.is_none();
                self.kaspad_ban.get_or_insert(until);
                is_first
            }
            PeerChange::Unban { source: BanSource::Manual } => {
                let was_banned = self.is_banned(now);
                self.manual_ban = None;
                // Ended, not forgotten: kaspad may list its own still.
                self.kaspad_ban = self.kaspad_ban.map(|until| until.min(now));
                was_banned
            }
            PeerChange::Unban { source: BanSource::Kaspad } => self.kaspad_ban.take().is_some(),
            PeerChange::Join(other) => {
                self.join(*other);
                true
            }
        }
    }

    pub(crate) fn seen(&mut self, now: Timestamp) {
        self.last_seen = self.last_seen.max(now);
    }

    /// Adds an address, or freshens it; whether it is new. One that the user gave stays
    /// the user's. Beyond the bounds the oldest goes that the peer came from, else the
    /// oldest that never worked.
    fn observe(&mut self, mut address: ObservedAddress) -> bool {
        // With and without the id it is one address.
        address.locator.peer = Some(self.peer.clone());
        let known = self.addresses.iter().position(|known| known.locator == address.locator);
        let is_new = known.is_none();
        if let Some(known) = known.map(|at| self.addresses.remove(at)) {
            if known.source == AddressSource::Manual {
                address.source = AddressSource::Manual;
            }
            address.last_seen = address.last_seen.max(known.last_seen);
            address.last_worked = address.last_worked.max(known.last_worked);
            address.failures = known.failures;
        }
        self.addresses.push(address);
        let came_from = |address: &ObservedAddress| address.source == AddressSource::Inbound;
        while self.addresses.iter().filter(|address| came_from(address)).count() > Self::MAX_INBOUND_ADDRESSES {
            let oldest = self.addresses.iter().position(came_from);
            oldest.map(|at| self.addresses.remove(at));
        }
        if self.addresses.len() > Self::MAX_ADDRESSES {
            let never_worked =
                |address: &ObservedAddress| address.last_worked.is_none() && address.source != AddressSource::Manual;
            let oldest = self.addresses.iter().position(came_from).or_else(|| self.addresses.iter().position(never_worked));
            self.addresses.remove(oldest.unwrap_or(0));
        }
        is_new
    }

    /// Counts a dial's end, at the peer and at the address. What ended it here, as another way
    /// or a limit of ours, says nothing.
    fn count(&mut self, outcome: &AttemptOutcome, now: Timestamp) -> bool {
        let address = match &outcome.route {
            Route::Direct(address) => PeerAddress::Direct(address.clone()),
            Route::Relayed(relay) | Route::Punched { relay, .. } => PeerAddress::Relayed(relay.clone()),
        };
        match &outcome.result {
            Ok(_) => {
                self.seen(now);
                self.successes = self.successes.saturating_add(1);
                let source = AddressSource::Dialed { relay: outcome.route.relay().cloned() };
                let locator = PeerLocator { peer: Some(self.peer.clone()), address };
                self.observe(ObservedAddress { last_worked: Some(now), ..ObservedAddress::new(locator, source, now) });
                if let Some(newest) = self.addresses.last_mut() {
                    newest.failures = 0;
                }
                true
            }
            Err(DialError::Overtaken) => false,
            Err(error) if error.is_of_our_limits() => false,
            Err(_) => {
                self.failures = self.failures.saturating_add(1);
                for known in self.addresses.iter_mut().filter(|known| known.locator.address == address) {
                    known.failures = known.failures.saturating_add(1);
                }
                true
            }
        }
    }

    /// Notes the id by which Kaspa knows it; whether it is a new one.
    fn note_kaspa_id(&mut self, id: KaspaId) -> bool {
        if id.id.len() > Self::MAX_KASPA_ID || self.kaspa_ids.iter().any(|known| known.id == id.id) {
            return false;
        }
        self.kaspa_ids.push(id);
        if self.kaspa_ids.len() > Self::MAX_KASPA_IDS {
            self.kaspa_ids.remove(0);
        }
        true
    }

    /// Joins what two books know. The loopback address is the book's matter.
    fn join(&mut self, other: PeerRecord) {
        self.first_seen = self.first_seen.min(other.first_seen);
        self.seen(other.last_seen);
        self.successes = self.successes.max(other.successes);
        self.failures = self.failures.max(other.failures);
        self.rtt = self.rtt.or(other.rtt);
        self.manual_ban = self.manual_ban.max(other.manual_ban);
        self.kaspad_ban = self.kaspad_ban.max(other.kaspad_ban);
        self.relayed.carried = self.relayed.carried.max(other.relayed.carried);
        self.relayed.failed = self.relayed.failed.max(other.relayed.failed);
        other.addresses.into_iter().for_each(|address| {
            self.observe(address);
        });
        other.kaspa_ids.into_iter().for_each(|id| {
            self.note_kaspa_id(id);
        });
    }
}

impl RelayScore {
    /// Counts the end of an attempt by way of the relay. That a punch failed, or the
    /// peer did, is not the relay's fault.
    fn count(&mut self, outcome: &AttemptOutcome) -> bool {
        match outcome.result {
            Ok(_) => self.carried = self.carried.saturating_add(1),
            Err(DialError::RelayUnreachable { .. } | DialError::RelayRefused { .. }) => {
                self.failed = self.failed.saturating_add(1);
            }
            Err(_) => return false,
        }
        true
    }
}
