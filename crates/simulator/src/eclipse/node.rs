//! One node that looks for peers, by the code that a node runs.

use std::{cmp::Reverse, collections::BinaryHeap, time::Duration};

use kaspath_domain::{Groups, Moment, PeerGroup, PeerIdentity, RelayAddress, ReservationLoss};
use kaspath_policy::{
    Answer, Askable, Discovered, Outbound, OutboundStep, PoolConfig, PoolState, PoolStep, PooledRelay, Questions, RelayCandidate,
    RelayPool, RelaySource, SlotKind,
};
use rand::{Rng, rngs::StdRng, seq::SliceRandom};

use super::{
    config::{EclipseConfig, Given, Grouping},
    world::{Peer, World, identity, number, position},
};

/// Identities of peers that the user named, and of those that served well before.
const CONFIGURED: u32 = 30_000_000;
const PROVEN: u32 = 31_000_000;
const PROVEN_PEERS: u32 = 2;
/// A record is valid for so long.
const TTL: Duration = Duration::from_secs(600);
/// A session is there after so long; an attacker's at once.
const BEGINS: Duration = Duration::from_millis(300);
const AT_ONCE: Duration = Duration::from_millis(1);
/// Between two questions for relays: a relay that nobody names for an hour is forgotten.
const RELAYS_WANTED: Duration = Duration::from_secs(2);
const RELAYS_AGAIN: Duration = Duration::from_secs(60);
/// A link to a relay that is not there is given up after so long.
const UNREACHED: Duration = Duration::from_secs(15);
const TOGETHER: Duration = Duration::from_millis(10);
/// When a node is looked at first, and from when on each hour.
const SOON: Duration = Duration::from_secs(60);
const HOUR: Duration = Duration::from_secs(3600);
const LATER: u32 = 8;

/// What came of one node.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Outcome {
    /// After a minute: whether there are peers, and all are hostile.
    pub(super) soon: bool,
    /// Whether all slots were filled by then.
    pub(super) filled: bool,
    /// The same each hour from the eighth on.
    pub(super) later: Vec<bool>,
    /// Steps that concerned a peer of the settings, and proven ones that were left.
    pub(super) displaced: usize,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Event {
    Tick,
    Held(usize),
    NotHeld(usize),
    Peers(usize),
    NoPeers(usize),
    Relays(usize),
    Up(u32),
    Gone(u32),
}

struct Node<'a> {
    world: &'a World,
    config: &'a EclipseConfig,
    random: &'a mut StdRng,
    pool: RelayPool,
    /// Instead of the pool where relays are counted by their identities.
    plain: Vec<usize>,
    given: Vec<usize>,
    questions: Questions,
    outbound: Outbound,
    events: BinaryHeap<Reverse<(Moment, u64, Event)>>,
    sequence: u64,
    relays_asked: Option<Moment>,
    /// How many relays that are not there were named.
    named: usize,
    decided: Moment,
    /// The relays that are known, and those that are held, until that changes.
    known: Option<(Vec<Askable>, Vec<usize>)>,
    outcome: Outcome,
}

/// Runs one node for so many hours; at least a minute.
pub(super) fn run(world: &World, config: &EclipseConfig, random: &mut StdRng) -> Outcome {
    let count = config.relays;
    let all: Vec<usize> = (0..count).collect();
    let given: Vec<usize> = match config.given {
        Given::Honest => vec![random.gen_range(config.hostile_relays + config.down..count)],
        Given::Any(n) => all.choose_multiple(random, n).copied().collect(),
    };
    let configured = (0..PROVEN_PEERS).map(|n| identity(CONFIGURED + n));
    let mut outbound = Outbound::new(config.slots, configured);
    let proven = (0..PROVEN_PEERS).map(|n| {
        let at = world.address(random.gen_range(0..count));
        (identity(PROVEN + n), PeerGroup::Relay(at.relay))
    });
    outbound.prove(proven.collect());
    let mut node = Node {
        world,
        config,
        random,
        pool: RelayPool::new(PoolConfig::default()),
        plain: given.clone(),
        given: given.clone(),
        questions: Questions::default(),
        outbound,
        events: BinaryHeap::new(),
        sequence: 0,
        relays_asked: None,
        named: 0,
        decided: Moment::default(),
        known: None,
        outcome: Outcome::default(),
    };
    for at in given {
        node.offer(at, RelaySource::Configured, Moment::default());
    }
    node.push(Moment::default(), Event::Tick);
    node.go()
}

impl Node<'_> {
    fn push(&mut self, at: Moment, event: Event) {
        self.sequence += 1;
        self.events.push(Reverse((at, self.sequence, event)));
    }

    fn go(mut self) -> Outcome {
        let end = Moment::after_start(HOUR.mul_f64(self.config.hours).max(SOON));
        let (mut soon, mut hour) = (Some(Moment::after_start(SOON)), LATER);
        while let Some(Reverse((now, _, event))) = self.events.pop() {
            if soon.is_some_and(|soon| now >= soon) {
                soon = None;
                let (all_hostile, up) = self.look();
                (self.outcome.soon, self.outcome.filled) = (all_hostile, up >= self.config.slots);
            }
            while now >= Moment::after_start(HOUR * hour) && f64::from(hour) <= self.config.hours {
                hour += 1;
                let (all_hostile, _) = self.look();
                self.outcome.later.push(all_hostile);
            }
            if now > end {
                break;
            }
            self.on(event, now);
        }
        self.outcome
    }

    /// Whether there are discovered peers, and all are hostile; and how many there are.
    fn look(&self) -> (bool, usize) {
        let up = self.outbound.slots().filter(|(_, slot)| slot.kind == SlotKind::Discovered && slot.is_up());
        let up: Vec<bool> = up.map(|(peer, _)| self.is_hostile(peer)).collect();
        (!up.is_empty() && up.iter().all(|hostile| *hostile), up.len())
    }

    fn is_hostile(&self, peer: &PeerIdentity) -> bool {
        Peer::of(number(peer)).is_hostile()
    }

    fn on(&mut self, event: Event, now: Moment) {
        match event {
            Event::Tick => {
                let next = match now.since(Moment::default()) {
                    soon if soon < Duration::from_secs(20) => Duration::from_millis(500),
                    soon if soon < SOON => Duration::from_secs(10),
                    _ => SOON,
                };
                self.push(now + next, Event::Tick);
            }
            Event::Held(at) => {
                let (relay, rtt) = (self.world.address(at).relay, self.round_trip(at));
                self.pool.held(&relay, now, self.random.gen_range(0.0..1.0));
                self.pool.round_trip(&relay, rtt);
                self.known = None;
            }
            Event::NotHeld(at) => {
                let relay = self.world.address(at).relay;
                self.pool.lost(&relay, ReservationLoss::Unreachable, now, self.random.gen_range(0.0..1.0));
                self.known = None;
            }
            Event::Peers(at) => self.peers(at, now),
            Event::NoPeers(at) => {
                let relay = self.world.address(at).relay;
                if self.questions.answered(&relay, Answer::None, now) {
                    self.pool.answered(&relay, false);
                    self.known = None;
                }
            }
            Event::Relays(at) => {
                let teller = self.world.address(at).relay;
                for other in self.world.relays(at, &mut self.named, self.random) {
                    self.offer(other, RelaySource::Rendezvous(teller.clone()), now);
                }
            }
            Event::Up(peer) => {
                let random = &mut *self.random;
                self.outbound.began(&identity(peer), None, now, &mut || random.gen_range(0.0..1.0));
                if !Peer::of(peer).is_hostile() && self.config.hours > 1.0 {
                    let stays = -self.config.stays * self.random.gen_range(f64::EPSILON..1.0).ln();
                    self.push(now + HOUR.mul_f64(stays), Event::Gone(peer));
                }
            }
            Event::Gone(peer) => self.outbound.ended(&identity(peer), now),
        }
        // What happens within a few milliseconds is decided on together.
        let is_alone = self.events.peek().is_none_or(|Reverse((next, ..))| next.since(now) > TOGETHER);
        if is_alone || now.since(self.decided) > TOGETHER {
            self.decided = now;
            self.decide(now);
        }
    }

    fn round_trip(&mut self, at: usize) -> Duration {
        if self.world.is_hostile(at) { AT_ONCE } else { Duration::from_millis(self.random.gen_range(50..150)) }
    }

    fn offer(&mut self, at: usize, source: RelaySource, now: Moment) {
        if self.config.grouping == Grouping::Identities && !self.plain.contains(&at) {
            self.plain.push(at);
        }
        let RelayAddress { relay, via } = self.world.address(at);
        let candidate = RelayCandidate { relay, addresses: vec![via], source, load: Some(0) };
        self.pool.offer(candidate, now, self.random.gen_range(0.0..1.0));
        self.known = None;
    }

    fn peers(&mut self, at: usize, now: Moment) {
        let relay = self.world.address(at);
        self.questions.answered(&relay.relay, Answer::Given, now);
        self.pool.answered(&relay.relay, true);
        let source = self.group(at);
        let told = self.world.peers(at, self.random);
        // One that the user has named is told of as well, by everybody.
        let told = told.iter().map(|peer| identity(peer.number)).chain([identity(CONFIGURED)]).map(|peer| Discovered {
            peer,
            source: source.clone(),
            claims: Groups::default(),
            is_trusted: self.given.contains(&at),
            until: now + TTL,
        });
        let told: Vec<Discovered> = told.collect();
        let random = &mut *self.random;
        self.outbound.told(told, now, &mut || random.gen_range(0.0..1.0));
    }

    fn group(&self, at: usize) -> PeerGroup {
        let relay = self.world.address(at);
        match self.config.grouping {
            Grouping::Blocks => Groups::of_relay(&relay),
            Grouping::Identities => PeerGroup::Relay(relay.relay),
        }
    }

    /// The relays that are known, and those that hold a reservation.
    fn known(&self, now: Moment) -> (Vec<Askable>, Vec<usize>) {
        let view = self.pool.view(now);
        let held = view.relays.iter().filter(|relay| relay.state == PoolState::Held);
        let held: Vec<usize> = held.map(|relay| position(&relay.relay)).collect();
        let askable = |at: usize, tellers: Vec<PeerIdentity>| Askable {
            relay: self.world.address(at).relay,
            group: self.group(at),
            is_ours: self.given.contains(&at) || held.contains(&at),
            tellers,
        };
        let known = match self.config.grouping {
            Grouping::Blocks => {
                let tellers = |relay: &PooledRelay| relay.sources.iter().filter_map(RelaySource::teller).cloned().collect();
                view.relays.iter().map(|relay| askable(position(&relay.relay), tellers(relay))).collect()
            }
            Grouping::Identities => self.plain.iter().map(|at| askable(*at, Vec::new())).collect(),
        };
        (known, held)
    }

    fn decide(&mut self, now: Moment) {
        let random = &mut *self.random;
        for step in self.pool.step(now, || random.gen_range(0.0..1.0)) {
            if let PoolStep::Use { relay, .. } = step {
                let at = position(&relay);
                if self.world.is_silent(at) {
                    self.push(now + UNREACHED, Event::NotHeld(at));
                    continue;
                }
                let after = self.round_trip(at);
                self.push(now + after, Event::Held(at));
            }
        }
        let (known, held) = self.known.take().unwrap_or_else(|| self.known(now));
        let is_served = held.len() >= PoolConfig::default().reservations;
        let pause = if is_served { RELAYS_AGAIN } else { RELAYS_WANTED };
        if self.relays_asked.is_none_or(|asked| now.since(asked) >= pause)
            && let Some(at) = held.choose(self.random).copied()
        {
            self.relays_asked = Some(now);
            let after = self.round_trip(at);
            self.push(now + after, Event::Relays(at));
        }
        let random = &mut *self.random;
        let asked = self.questions.next(&known, self.outbound.is_below_target(), now, &mut || random.gen_range(0.0..1.0));
        for relay in asked {
            let at = position(&relay);
            if self.world.is_silent(at) {
                self.push(now + UNREACHED, Event::NoPeers(at));
                continue;
            }
            let after = self.round_trip(at);
            self.push(now + after, Event::Peers(at));
        }
        let all_asked = self.questions.all_asked(&known);
        self.known = Some((known, held));
        let random = &mut *self.random;
        let steps = self.outbound.step(now, all_asked, &mut || random.gen_range(0.0..1.0));
        for step in steps {
            let (OutboundStep::Reach(peer) | OutboundStep::Leave(peer)) = &step;
            let peer = number(peer);
            let is_left = matches!(step, OutboundStep::Leave(_));
            if (CONFIGURED..PROVEN).contains(&peer) || (is_left && (PROVEN..PROVEN + PROVEN_PEERS).contains(&peer)) {
                self.outcome.displaced += 1;
            }
            if is_left {
                self.outbound.ended(&identity(peer), now);
            } else {
                self.push(now + if Peer::of(peer).is_hostile() { AT_ONCE } else { BEGINS }, Event::Up(peer));
            }
        }
    }
}
