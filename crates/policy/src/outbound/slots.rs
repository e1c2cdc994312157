use std::{collections::BTreeMap, time::Duration};

use kaspath_domain::{Counts, Groups, Moment, PeerGroup, PeerIdentity};

/// What a slot is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum SlotKind {
    /// A peer that has served well before.
    Proven,
    /// A peer that somebody has told of.
    Discovered,
}

/// How far its session is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SlotState {
    /// It is being reached.
    Beginning,
    /// There is a session.
    Up {
        /// Since when.
        since: Moment,
    },
    /// The session is being ended.
    Leaving,
}

/// A peer that is reached.
#[derive(Clone, Debug)]
pub struct Slot {
    /// What for.
    pub kind: SlotKind,
    /// The groups that it takes.
    pub groups: Groups,
    /// 1 if no other slot had any of these groups, 2 if one had, and so on.
    pub(super) round: usize,
    /// How far it is.
    pub state: SlotState,
    /// When another peer takes its place, if one of an unused group is there.
    pub(super) stays: Moment,
    /// Whose place it takes once it is up.
    pub(super) replaces: Option<PeerIdentity>,
}

impl Slot {
    pub(super) fn new(kind: SlotKind, groups: Groups, round: usize) -> Self {
        Self { kind, groups, round, state: SlotState::Beginning, stays: Moment::default(), replaces: None }
    }

    fn is_up(&self) -> bool {
        matches!(self.state, SlotState::Up { .. })
    }
}

/// Who is reached. There are a few, so they are simply looked through.
#[derive(Clone, Debug, Default)]
pub(super) struct Slots {
    slots: BTreeMap<PeerIdentity, Slot>,
}

impl Slots {
    pub(super) fn insert(&mut self, peer: PeerIdentity, slot: Slot) {
        self.slots.insert(peer, slot);
    }

    pub(super) fn remove(&mut self, peer: &PeerIdentity) -> Option<Slot> {
        self.slots.remove(peer)
    }

    pub(super) fn contains(&self, peer: &PeerIdentity) -> bool {
        self.slots.contains_key(peer)
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (&PeerIdentity, &Slot)> {
        self.slots.iter()
    }

    pub(super) fn began(&mut self, peer: &PeerIdentity, now: Moment, stays: Moment) {
        if let Some(slot) = self.slots.get_mut(peer).filter(|slot| slot.state == SlotState::Beginning) {
            (slot.state, slot.stays) = (SlotState::Up { since: now }, stays);
        }
    }

    pub(super) fn beginning(&self) -> usize {
        self.slots.values().filter(|slot| slot.state == SlotState::Beginning).count()
    }

    /// Slots of that kind that are taken; one that is to replace another counts once that
    /// one is gone.
    pub(super) fn count(&self, kind: SlotKind) -> usize {
        let counts = |slot: &&Slot| {
            slot.kind == kind && slot.state != SlotState::Leaving && !slot.replaces.as_ref().is_some_and(|old| self.contains(old))
        };
        self.slots.values().filter(counts).count()
    }

    /// Sessions of that kind.
    pub(super) fn up(&self, kind: SlotKind) -> usize {
        self.slots.values().filter(|slot| slot.kind == kind && slot.is_up()).count()
    }

    /// How many slots of that kind each group has.
    pub(super) fn taken(&self, kind: SlotKind) -> Counts<PeerGroup> {
        let mut taken = Counts::default();
        let of_kind = self.slots.values().filter(|slot| slot.kind == kind);
        of_kind.flat_map(|slot| slot.groups.iter()).for_each(|group| taken.add(group.clone()));
        taken
    }

    /// A peer whose place another one may take: one of a later round, that has been there
    /// for `least`, or one whose time is over, if `may_rotate`.
    pub(super) fn to_replace(&self, now: Moment, least: Duration, may_rotate: bool) -> Option<PeerIdentity> {
        if self.slots.values().any(|slot| slot.replaces.is_some() && slot.state == SlotState::Beginning) {
            return None;
        }
        let is_due = |slot: &Slot| match slot.state {
            SlotState::Up { since } if slot.kind == SlotKind::Discovered => {
                (slot.round > 1 && now.since(since) >= least) || (may_rotate && now >= slot.stays)
            }
            _ => false,
        };
        let due = self.slots.iter().filter(|(_, slot)| is_due(slot));
        due.max_by_key(|(peer, slot)| (slot.round, std::cmp::Reverse(slot.stays), *peer)).map(|(peer, _)| peer.clone())
    }

    /// Peers to leave now: those that others have replaced, and discovered ones beyond
    /// `target`. They are leaving from then on.
    pub(super) fn take_leaving(&mut self, target: usize) -> Vec<PeerIdentity> {
        let replaced = self.slots.values_mut().filter(|slot| slot.is_up()).filter_map(|slot| slot.replaces.take());
        let mut leave: Vec<PeerIdentity> = replaced.collect();
        let discovered = self.slots.iter().filter(|(peer, slot)| {
            slot.kind == SlotKind::Discovered
                && slot.state != SlotState::Leaving
                && slot.replaces.is_none()
                && !leave.contains(peer)
        });
        let mut discovered: Vec<_> = discovered.map(|(peer, slot)| (slot.round, peer.clone())).collect();
        discovered.sort_unstable();
        leave.extend(discovered.into_iter().skip(target).map(|(_, peer)| peer));
        leave.retain(|peer| {
            let Some(slot) = self.slots.get_mut(peer) else { return false };
            std::mem::replace(&mut slot.state, SlotState::Leaving) != SlotState::Leaving
        });
        leave
    }
}
