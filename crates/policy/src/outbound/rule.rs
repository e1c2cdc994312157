use std::{collections::HashSet, time::Duration};

use kaspath_domain::{Moment, PeerGroup, PeerIdentity, RetryCadence, spread};

use super::{
    candidates::{Candidates, Discovered},
    random::Random,
    slots::{Slot, SlotKind, SlotState, Slots},
};
use crate::limits::BackOffs;

/// Peers that are begun at once, and of these, proven ones: they come first, and must not
/// keep discovered ones waiting if none of them answers.
const BEGUN_AT_ONCE: usize = 2;
const PROVEN_AT_ONCE: usize = 1;
/// Proven peers, beside the target of discovered ones.
const PROVEN: usize = 2;
/// So long after the first answer of a relay that nobody configured its peers are drawn:
/// whoever answers fastest must not fill the slots.
const SETTLE: Duration = Duration::from_secs(3);
/// Without a candidate of an unused group for so long, a second peer of a group is
/// reached, and a third so much later.
const ROUND: Duration = Duration::from_secs(4);
const NEXT_ROUND: Duration = Duration::from_secs(1);
/// A later round waits no longer than this for relays that were not asked yet.
const ALL_ASKED: Duration = Duration::from_secs(15);
/// A slot that a later round has filled is kept for so long if a new group is there.
const LATER_ROUND: Duration = Duration::from_secs(600);
/// Hostile peers never leave, so the others must not stay for ever either.
const ROTATED: (Duration, Duration) = (Duration::from_secs(3600), Duration::from_secs(3 * 3600));
const BETWEEN_ROTATIONS: Duration = Duration::from_secs(1200);
/// A session that ends before this is a failure.
const SHORT: Duration = Duration::from_secs(60);
/// While there is no session, no back-off counts for longer: what failed may have been our
/// own network, or our kaspad.
const LONGEST_ALONE: Duration = Duration::from_secs(120);
/// Peers whose failures are remembered.
const REMEMBERED: usize = 1024;

/// What is to be done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// Reach this peer, and say how it went.
    Reach(PeerIdentity),
    /// End the session with it.
    Leave(PeerIdentity),
}

/// Which discovered peers to reach. Pure: time and chance are parameters.
#[derive(Clone, Debug)]
pub struct Outbound {
    target: usize,
    candidates: Candidates,
    proven: Vec<(PeerIdentity, PeerGroup)>,
    /// This node, and peers whose sessions are somebody else's matter.
    excluded: HashSet<PeerIdentity>,
    slots: Slots,
    back_offs: BackOffs<PeerIdentity>,
    /// When peers of relays that nobody configured may be drawn.
    settled: Option<Moment>,
    /// Since when there is no candidate of an unused group.
    dry: Option<Moment>,
    rotated: Option<Moment>,
}

/// When to try again what strangers have told of, and what failed.
pub(super) fn of_strangers() -> RetryCadence {
    let delays = [30, 120, 600].map(Duration::from_secs).to_vec();
    RetryCadence { delays, then: Some(Duration::from_secs(3600)), jitter: 0.0 }
}

impl Outbound {
    /// Reaches up to `target` discovered peers; `excluded` are this node and the peers that
    /// its user has named, which never count as discovered.
    pub fn new(target: usize, excluded: impl IntoIterator<Item = PeerIdentity>) -> Self {
        let cadence = of_strangers();
        Self {
            target,
            candidates: Candidates::default(),
            proven: Vec::new(),
            excluded: excluded.into_iter().collect(),
            slots: Slots::default(),
            back_offs: BackOffs::new(cadence, REMEMBERED),
            settled: None,
            dry: None,
            rotated: None,
        }
    }

    /// Somebody has told of these.
    pub fn told(&mut self, told: impl IntoIterator<Item = Discovered>, now: Moment, random: Random<'_>) {
        for told in told.into_iter().filter(|told| !self.excluded.contains(&told.peer)) {
            if !told.is_trusted {
                self.settled.get_or_insert(now + SETTLE);
            }
            self.candidates.insert(told, random);
        }
    }

    /// Peers that have proven themselves in earlier sessions, and by what each was reached
    /// last. Up to two are reached beside a target that is not 0, and no discovered one takes
    /// their place. Whoever is told of counts as discovered as well: those who come back
    /// must not have it harder than strangers.
    pub fn prove(&mut self, proven: Vec<(PeerIdentity, PeerGroup)>) {
        self.proven = proven;
        self.proven.retain(|(peer, _)| !self.excluded.contains(peer));
    }

    /// The session with the peer is there. `carrier`: the group of the address where it was
    /// reached, if that was its own.
    pub fn began(&mut self, peer: &PeerIdentity, carrier: Option<PeerGroup>, now: Moment, random: Random<'_>) {
        let (shortest, longest) = ROTATED;
        let stays = shortest + (longest - shortest).mul_f64(random().clamp(0.0, 1.0));
        self.slots.began(peer, carrier, now, now + stays);
    }

    /// It has ended.
    pub fn ended(&mut self, peer: &PeerIdentity, now: Moment) {
        let Some(slot) = self.slots.remove(peer) else { return };
        match slot.state {
            SlotState::Up { since } if now.since(since) < SHORT => self.back_off(peer, now),
            SlotState::Up { .. } => self.back_offs.worked(peer),
            SlotState::Beginning | SlotState::Leaving => {}
        }
    }

    /// The peer could not be reached.
    pub fn failed(&mut self, peer: &PeerIdentity, now: Moment) {
        if self.slots.remove(peer).is_some() {
            self.back_off(peer, now);
        }
    }

    fn longest_back_off(&self) -> Duration {
        if self.slots.is_alone() { LONGEST_ALONE } else { Duration::MAX }
    }

    fn back_off(&mut self, peer: &PeerIdentity, now: Moment) {
        let longest = self.longest_back_off();
        self.back_offs.failed_within(peer, now, longest);
    }

    /// What is to be done now. `all_asked`: every relay that is known has been asked.
    pub fn step(&mut self, now: Moment, all_asked: bool, random: Random<'_>) -> Vec<Step> {
        self.candidates.retain(|told| told.until > now);
        let mut steps: Vec<Step> = self.slots.take_leaving(self.target).into_iter().map(Step::Leave).collect();
        while self.slots.beginning(&[SlotKind::Proven, SlotKind::Discovered]) < BEGUN_AT_ONCE {
            let Some((peer, slot)) = self.next(now, all_asked, random) else { break };
            steps.push(Step::Reach(peer.clone()));
            self.slots.insert(peer, slot);
        }
        steps
    }

    fn next(&mut self, now: Moment, all_asked: bool, random: Random<'_>) -> Option<(PeerIdentity, Slot)> {
        if let Some((peer, source)) = self.draw_proven(now, random) {
            return Some((peer, Slot::new(SlotKind::Proven, source, 1)));
        }
        if self.slots.count(SlotKind::Discovered) < self.target {
            if let Some(told) = self.draw(1, now, random) {
                self.dry = None;
                return Some((told.peer.clone(), Slot::new(SlotKind::Discovered, told.source, 1)));
            }
            let dry = *self.dry.get_or_insert(now);
            let waited = now.since(dry);
            if self.candidates.len() == 0 || waited < ROUND || !(all_asked || waited >= ALL_ASKED) {
                return None;
            }
            let rounds = 2 + usize::try_from((waited - ROUND).as_secs() / NEXT_ROUND.as_secs()).unwrap_or(usize::MAX);
            let (round, told) =
                (2..=rounds.min(self.target.max(2))).find_map(|round| Some((round, self.draw(round, now, random)?)))?;
            return Some((told.peer.clone(), Slot::new(SlotKind::Discovered, told.source, round)));
        }
        self.dry = None;
        let may_rotate = self.rotated.is_none_or(|last| now.since(last) >= BETWEEN_ROTATIONS);
        let old = self.slots.to_replace(now, LATER_ROUND, may_rotate)?;
        let told = self.draw(1, now, random)?;
        self.rotated = Some(now);
        Some((told.peer.clone(), Slot { replaces: Some(old), ..Slot::new(SlotKind::Discovered, told.source, 1) }))
    }

    /// A proven peer of a group that has none: a random one of a random group, for those of
    /// one owner may all have been here most lately.
    fn draw_proven(&self, now: Moment, random: Random<'_>) -> Option<(PeerIdentity, PeerGroup)> {
        let has_room = self.target > 0
            && self.slots.count(SlotKind::Proven) < PROVEN
            && self.slots.beginning(&[SlotKind::Proven]) < PROVEN_AT_ONCE;
        if !has_room {
            return None;
        }
        let taken = self.slots.sources(SlotKind::Proven);
        let fitting = self.proven.iter().filter(|(peer, source)| taken.of(source) == 0 && self.is_free(peer, now));
        spread(fitting, |(_, source)| source, 1, random).pop().cloned()
    }

    /// A candidate of whose teller's group there are fewer than `round` peers, and as few in
    /// each group where it says it is.
    fn draw(&self, round: usize, now: Moment, random: Random<'_>) -> Option<Discovered> {
        let is_settled = self.settled.is_some_and(|settled| now >= settled);
        let (sources, carriers) = (self.slots.sources(SlotKind::Discovered), self.slots.carriers());
        let fits = |told: &Discovered| {
            (told.is_trusted || is_settled)
                && sources.of(&told.source) < round
                && told.claims.iter().all(|group| carriers.of(group) < round)
                && self.is_free(&told.peer, now)
        };
        self.candidates.draw(fits, random).cloned()
    }

    fn is_free(&self, peer: &PeerIdentity, now: Moment) -> bool {
        !self.slots.contains(peer) && self.back_offs.left_within(peer, now, self.longest_back_off()).is_zero()
    }
}

impl Outbound {
    /// Reaches so many from now on.
    pub fn set_target(&mut self, target: usize) {
        self.target = target;
    }

    /// Whether peers are missing.
    pub fn is_below_target(&self) -> bool {
        self.slots.up(SlotKind::Discovered) < self.target
    }

    /// Who is reached, or about to be.
    pub fn slots(&self) -> impl Iterator<Item = (&PeerIdentity, &Slot)> {
        self.slots.iter()
    }

    /// How many candidates there are.
    pub fn candidates(&self) -> usize {
        self.candidates.len()
    }

    /// When to step again at the latest, if nothing happens before.
    pub const STEP: Duration = Duration::from_millis(500);
}
