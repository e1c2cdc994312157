//! Which relay takes a place.

use std::collections::BTreeMap;

use kaspath_domain::{Moment, PeerIdentity};

use super::{
    relay::Relay,
    table::{pick, taken},
};

/// A relay for a place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Chosen {
    pub(super) relay: PeerIdentity,
    /// For its score; else by chance.
    pub(super) near: bool,
}

/// Who is asked for a place.
#[derive(Clone, Copy, Debug)]
pub(super) struct Wanted<'a> {
    /// The relay that gives its place up.
    pub(super) instead_of: Option<&'a PeerIdentity>,
    /// Only relays of blocks that have no place.
    pub(super) other_blocks: bool,
    /// Nothing is held now.
    pub(super) alone: bool,
    pub(super) now: Moment,
    pub(super) random: f64,
}

/// Those of the settings first, then one near one, then others by chance: a relay that
/// scores perfectly must not get every node. One of a block that has no place goes before
/// one of a block that has.
pub(super) fn choose(relays: &BTreeMap<PeerIdentity, Relay>, wanted: Wanted) -> Option<Chosen> {
    let others = || relays.iter().filter(|(id, _)| Some(*id) != wanted.instead_of);
    let taken = taken(others());
    let is_due = |relay: &Relay| relay.free_at(wanted.alone).is_some_and(|at| at <= wanted.now);
    let due: Vec<(&PeerIdentity, &Relay)> =
        others().filter(|(_, relay)| is_due(relay) && relay.leaving.is_none() && !relay.sources.is_empty()).collect();
    let is_fresh = |(_, relay): &(&PeerIdentity, &Relay)| relay.groups.iter().all(|group| taken.of(group) == 0);
    let configured = due.iter().filter(|(_, relay)| relay.is_configured());
    // The one that failed least, then one of a block of its own, then in the order given.
    let first = configured.min_by_key(|one| (one.1.failures, !is_fresh(one), one.1.rank));
    if let Some((id, _)) = first.filter(|one| !wanted.other_blocks || is_fresh(one)) {
        return Some(Chosen { relay: (*id).clone(), near: false });
    }
    let rest = || due.iter().filter(|(_, relay)| !relay.is_configured());
    let ranked = [(true, true), (true, false), (false, true), (false, false)];
    let of = |(good, fresh): (bool, bool)| -> Vec<(&PeerIdentity, &Relay)> {
        rest().filter(|one| one.1.is_good() == good && is_fresh(one) == fresh).copied().collect()
    };
    let choices = ranked.into_iter().filter(|(_, fresh)| *fresh || !wanted.other_blocks).map(of);
    let mut candidates = choices.into_iter().find(|choices| !choices.is_empty())?;
    let near = !others().any(|(_, relay)| relay.near && relay.has_place());
    if near {
        let best = candidates.iter().map(|(_, relay)| relay.score()).fold(0.0, f64::max);
        candidates.retain(|(_, relay)| relay.score() >= best);
    }
    pick(&candidates, wanted.random).map(|(id, _)| Chosen { relay: (*id).clone(), near })
}
