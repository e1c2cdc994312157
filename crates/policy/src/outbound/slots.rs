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
    /// Who told of it; of a proven one, by what it was reached last.
    pub(super) source: PeerGroup,
    /// Where it is, if it was reached straight.
    pub(super) carrier: Option<PeerGroup>,
    /// 1 if no other slot had its source or its carrier, 2 if one had, and so on.
    pub(super) round: usize,
    /// How far it is.
    pub state: SlotState,
    /// When another peer takes its place, if one of an unused group is there.
    pub(super) stays: Moment,
    /// Whose place it takes once it is up.
    pub(super) replaces: Option<PeerIdentity>,
}

impl Slot {
    pub(super) fn new(kind: SlotKind, source: PeerGroup, round: usize) -> Self {
        let (state, stays) = (SlotState::Beginning, Moment::default());
        Self { kind, source, carrier: None, round, state, stays, replaces: None }
    }

    /// The groups that it counts for.
    pub fn groups(&self) -> Groups {
        std::iter::once(&self.source).chain(&self.carrier).cloned().collect()
    }

    /// Who told of it; of a proven one, by what it was reached last.
    pub fn source(&self) -> &PeerGroup {
        &self.source
    }

    /// Whether there is a session.
    pub fn is_up(&self) -> bool {
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

    /// The session is there, on a path of that group if it is a straight one. If another
    /// one has that group, this one gives way before those that have none in common.
    pub(super) fn began(&mut self, peer: &PeerIdentity, carrier: Option<PeerGroup>, now: Moment, stays: Moment) {
        let carriers = self.carriers();
        if let Some(slot) = self.slots.get_mut(peer).filter(|slot| slot.state == SlotState::Beginning) {
            (slot.state, slot.stays) = (SlotState::Up { since: now }, stays);
            if let Some(carrier) = carrier.filter(|_| slot.kind == SlotKind::Discovered) {
                slot.round = slot.round.max(carriers.of(&carrier) + 1);
                slot.carrier = Some(carrier);
            }
        }
    }

    pub(super) fn beginning(&self, kinds: &[SlotKind]) -> usize {
        self.slots.values().filter(|slot| slot.state == SlotState::Beginning && kinds.contains(&slot.kind)).count()
    }

    /// Nobody is there.
    pub(super) fn is_alone(&self) -> bool {
        !self.slots.values().any(Slot::is_up)
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

    /// How many slots of that kind each group has told of.
    pub(super) fn sources(&self, kind: SlotKind) -> Counts<PeerGroup> {
        counts(self.slots.values().filter(|slot| slot.kind == kind).map(|slot| &slot.source))
    }

    /// How many discovered peers are in each group themselves.
    pub(super) fn carriers(&self) -> Counts<PeerGroup> {
        counts(self.slots.values().filter_map(|slot| slot.carrier.as_ref()))
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
    /// `target`; with a target of 0 proven ones as well. They are leaving from then on.
    pub(super) fn take_leaving(&mut self, target: usize) -> Vec<PeerIdentity> {
        let replaced = self.slots.values_mut().filter(|slot| slot.is_up()).filter_map(|slot| slot.replaces.take());
        let mut leave: Vec<PeerIdentity> = replaced.collect();
        let discovered = self.slots.iter().filter(|(peer, slot)| {
            (slot.kind == SlotKind::Discovered || target == 0)
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

fn counts<'a>(groups: impl Iterator<Item = &'a PeerGroup>) -> Counts<PeerGroup> {
    let mut counts = Counts::default();
    groups.for_each(|group| counts.add(group.clone()));
    counts
}
