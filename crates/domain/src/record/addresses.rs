//! Which of a peer's addresses are worth a dial.

use std::{cmp::Reverse, time::Duration};

use super::{AddressSource, ObservedAddress, PeerRecord};
use crate::{PeerLocator, Timestamp};

/// Dials in a row that failed at an address after which it is tried only if there is
/// no better one.
const MAX_FAILURES: u32 = 3;
/// An address that a peer only came from is most likely another's after so long.
const CAME_FROM_VALID: Duration = Duration::from_secs(7 * 24 * 3600);

/// The addresses at which to dial a peer, best known first: those that worked, the
/// latest first, then those that the user gave. Only a peer without any of these is
/// dialled where it was seen or where all dials failed lately: each useless address
/// makes the ways behind it wait. Pure; `now` is wall time.
pub fn addresses_for(record: &PeerRecord, now: Timestamp) -> Vec<PeerLocator> {
    let is_good = |address: &&ObservedAddress| {
        let is_sure = address.last_worked.is_some() || address.source == AddressSource::Manual;
        is_sure && address.failures < MAX_FAILURES
    };
    let mut chosen: Vec<&ObservedAddress> = record.addresses.iter().filter(is_good).collect();
    if chosen.is_empty() {
        let is_gone = |address: &ObservedAddress| {
            address.source == AddressSource::Inbound
                && address.last_worked.is_none()
                && now.since(address.last_seen) > CAME_FROM_VALID
        };
        chosen = record.addresses.iter().filter(|address| !is_gone(address)).collect();
    }
    chosen.sort_by_key(|address| {
        let rank = match address.source {
            AddressSource::Manual => 0,
            AddressSource::Dialed { .. } => 1,
            AddressSource::Gossip => 2,
            AddressSource::Inbound => 3,
        };
        (Reverse(address.last_worked), rank, Reverse(address.last_seen))
    });
    chosen.into_iter().map(|address| address.locator.clone()).collect()
}
