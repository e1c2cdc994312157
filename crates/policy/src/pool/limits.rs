//! How many relays, how long, how often.

use std::time::Duration;

/// What can be set.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PoolConfig {
    /// Reservations to hold. With 0 the pool remembers relays and uses none.
    pub reservations: usize,
    /// A relay that works is kept for so long at least.
    pub minimum_hold: Duration,
    /// Whether relays that nobody gave are used too: those of the book, and those that others
    /// tell of. Without it the pool knows the relays of the settings and of the list alone.
    pub strangers: bool,
}

impl Default for PoolConfig {
    fn default() -> Self {
        Self { reservations: 3, minimum_hold: Duration::from_secs(3600), strangers: true }
    }
}

/// Relays of the settings and of the list: the list has at most 32.
pub(super) const MAX_GIVEN: usize = 128;
/// Relays that have carried something or were held for long; strangers displace none of them.
pub(super) const MAX_TRIED: usize = 64;
/// Relays that others told of, and that were never of use.
pub(super) const MAX_NEW: usize = 192;
/// Relays in one provider's block, of whatever use they were, but for those that the user gave: an
/// attacker needs blocks, not identities.
pub(super) const MAX_OF_BLOCK: usize = 2;
/// Of those that were told of, of one teller. An honest one names all that there are, in one answer: with
/// fewer, hostile tellers that each name their own would outnumber the honest relays that are
/// known (docs/simulation/eclipse.md). What bounds them is the share of a block.
pub(super) const MAX_NEW_OF_TELLER: usize = 128;
/// Addresses of one relay.
pub(super) const MAX_ADDRESSES: usize = 8;
/// Sources of one relay that are remembered, the best ones.
pub(super) const MAX_SOURCES: usize = 4;
/// One that nobody tells of any more is forgotten after this time, unless it was of use.
pub(super) const TOLD_FOR: Duration = Duration::from_secs(3600);
/// Held for so long it counts as tried, and its earlier failures are forgotten.
pub(super) const PROVEN: Duration = Duration::from_secs(600);
/// The same for the failures of a relay of the settings: it is asked again soon, whatever
/// happens to it.
pub(super) const PROVEN_CONFIGURED: Duration = Duration::from_secs(30);
/// Time between looks at whether a relay that is held should give its place to another.
pub(super) const REVIEW: Duration = Duration::from_secs(60);
/// Time after an exchange that failed.
pub(super) const EXCHANGE_PAUSE: Duration = Duration::from_secs(300);
/// A random relay is exchanged after 12 hours, and up to this much more.
pub(super) const ROTATION: Duration = Duration::from_secs(12 * 3600);
pub(super) const ROTATION_SPREAD: Duration = Duration::from_secs(24 * 3600);
/// While nothing is held, no back-off counts for longer: what failed may have been our own
/// network.
pub(super) const LONGEST_ALONE: Duration = Duration::from_secs(120);
