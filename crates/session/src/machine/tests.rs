//! Two machines on paths in memory, through virtual time.

use std::collections::VecDeque;

use proptest::prelude::*;

use super::*;
use crate::wire::{Decoder, HELLO_FRAME, Piece};

const DELAY: Duration = Duration::from_millis(50);
const BUDGET: usize = 16 * 1024 * 1024;

/// One direction of a path: bytes and when they arrive.
#[derive(Default)]
struct Pipe {
    flying: VecDeque<(Moment, Vec<u8>)>,
    closed: bool,
}

/// A stream between the two sides.
struct Link {
    /// The path's id at each side, once it has one.
    ids: [Option<PathId>; 2],
    /// From each side to the other.
    pipes: [Pipe; 2],
    /// The hello, as far as it has come to the side that did not open the stream.
    hello: Vec<u8>,
    /// The answer to a hello that was refused.
    refused: Option<Refusal>,
    opened_by: usize,
    /// Bytes vanish.
    silent: bool,
    broken: bool,
}

struct World {
    now: Moment,
    sides: [Machine; 2],
    links: Vec<Link>,
    /// What each side wrote and read.
    written: [Vec<u8>; 2],
    read: [Vec<u8>; 2],
    /// The most that a stream takes at once.
    chunk: usize,
    begun: bool,
}

impl World {
    fn new() -> Self {
        let (now, budget) = (Moment::default(), Budget::new(BUDGET));
        let opener = Machine::open(SessionId([7; 16]), BootId(1), &budget, now);
        // Replaced at the first hello.
        let accepter = Machine::open(SessionId([7; 16]), BootId(2), &budget, now);
        let (written, read) = Default::default();
        Self { now, sides: [opener, accepter], links: Vec::new(), written, read, chunk: usize::MAX, begun: false }
    }

    fn open(&mut self, by: usize) {
        if by == 1 && !self.begun {
            return;
        }
        let Some(id) = self.sides[by].attach(self.now) else { return };
        let mut ids = [None; 2];
        ids[by] = Some(id);
        let (pipes, hello) = Default::default();
        self.links.push(Link { ids, pipes, hello, refused: None, opened_by: by, silent: false, broken: false });
    }

    fn break_link(&mut self, link: usize) {
        let (now, link) = (self.now, &mut self.links[link]);
        link.broken = true;
        for (side, id) in link.ids.iter().enumerate() {
            id.iter().for_each(|id| self.sides[side].ended(*id, now));
        }
    }

    /// Lets streams carry what they can now; whether anything has moved.
    fn carry(&mut self) -> bool {
        let mut moved = false;
        for n in 0..self.links.len() {
            for side in 0..2 {
                moved |= self.send(n, side);
                moved |= self.arrive(n, side);
            }
        }
        moved
    }

    fn send(&mut self, n: usize, side: usize) -> bool {
        let link = &mut self.links[n];
        let Some(id) = link.ids[side].filter(|_| !link.broken && !link.pipes[side].closed) else { return false };
        let machine = &mut self.sides[side];
        match machine.transmit(id, self.now) {
            Transmit::Idle => false,
            Transmit::Close => {
                link.pipes[side].closed = true;
                true
            }
            Transmit::Bytes(bytes) => {
                let bytes = bytes[..bytes.len().min(self.chunk)].to_vec();
                machine.wrote(id, bytes.len());
                if !link.silent {
                    link.pipes[side].flying.push_back((self.now + DELAY, bytes));
                }
                true
            }
        }
    }

    fn arrive(&mut self, n: usize, to: usize) -> bool {
        let (now, link) = (self.now, &mut self.links[n]);
        if link.broken || link.silent {
            return false;
        }
        let pipe = &mut link.pipes[1 - to];
        let Some((_, bytes)) = pipe.flying.pop_front_if(|(at, _)| *at <= now) else {
            let over = pipe.closed && pipe.flying.is_empty() && link.ids[to].is_some();
            if let Some(id) = link.ids[to].take_if(|_| over) {
                // Both directions end, as a dropped stream's do.
                link.pipes[to].closed = true;
                self.sides[to].ended(id, now);
            }
            return over;
        };
        if let Some(id) = link.ids[to] {
            self.sides[to].received(id, &bytes, now);
            return true;
        }
        if link.refused.is_some() || link.opened_by == to {
            return true;
        }
        link.hello.extend(bytes);
        if link.hello.len() < HELLO_FRAME {
            return true;
        }
        let (hello, rest) = link.hello.split_at(HELLO_FRAME);
        let Ok(Some(Piece::Frame(Frame::Hello(hello)))) = Decoder::default().next(&mut &hello[..]) else { panic!("no hello") };
        if to == 1 && !self.begun && hello.begins {
            self.begun = true;
            self.sides[1] = Machine::accept(&hello, BootId(2), &Budget::new(BUDGET), now);
        }
        match self.sides[to].attached(&hello, now) {
            Ok(id) => {
                link.ids[to] = Some(id);
                self.sides[to].received(id, rest, now);
            }
            Err(refusal) => {
                let mut frame = Vec::new();
                Frame::Refuse(refusal).encode(&mut frame);
                link.refused = Some(refusal);
                link.pipes[to].flying.push_back((now + DELAY, frame));
                link.pipes[to].closed = true;
            }
        }
        true
    }

    fn write(&mut self, side: usize, count: usize) {
        if side == 1 && !self.begun {
            return;
        }
        let start = self.written[side].len();
        let bytes: Vec<u8> = (start..start + count).map(|n| (n % 251) as u8 ^ side as u8).collect();
        let taken = self.sides[side].write(&bytes);
        self.written[side].extend(&bytes[..taken]);
    }

    fn read(&mut self, side: usize, most: usize) {
        let read = &mut self.read[side];
        self.sides[side].read(most, |bytes| read.extend(bytes));
    }

    /// Runs for so long. A side reads all, and dials each second when it needs a path,
    /// if it is `able`.
    fn run(&mut self, duration: Duration, able: [bool; 2]) {
        let until = self.now + duration;
        let mut dialled = [None::<Moment>; 2];
        loop {
            for side in 0..2 {
                self.sides[side].tick(self.now);
                if able[side] {
                    self.read(side, usize::MAX);
                    let due = dialled[side].is_none_or(|at| self.now.since(at) >= Duration::from_secs(1));
                    if self.sides[side].needs_path() && due {
                        dialled[side] = Some(self.now);
                        self.open(side);
                    }
                }
            }
            if self.carry() {
                continue;
            }
            let arrivals =
                self.links.iter().flat_map(|link| &link.pipes).filter_map(|pipe| pipe.flying.front().map(|(at, _)| *at));
            let arrivals = arrivals.filter(|at| *at > self.now);
            let deadlines = self.sides.iter().filter_map(Machine::deadline);
            let retries = dialled.iter().flatten().map(|at| *at + Duration::from_secs(1)).filter(|at| *at > self.now);
            let Some(next) = arrivals.chain(deadlines).chain(retries).min().filter(|next| *next <= until) else { break };
            self.now = next.max(self.now + Duration::from_micros(1));
        }
        self.now = until;
    }

    fn assert_delivered(&self) {
        for side in 0..2 {
            assert_eq!(self.sides[side].end(), None, "side {side}");
            assert!(self.written[side] == self.read[1 - side], "side {side} wrote {}", self.written[side].len());
        }
    }

    fn link_in_use(&self) -> usize {
        let current = self.sides[0].current().expect("a path");
        self.links.iter().position(|link| link.ids[0] == Some(current)).expect("its link")
    }

    fn dump(&self) {
        for (n, side) in self.sides.iter().enumerate() {
            eprintln!(
                "side {n} at {:?}: current {:?} stalled {:?} epoch {} end {:?} out {}..{} in {}",
                self.now,
                side.current,
                side.stalled_since,
                side.epoch,
                side.end,
                side.out.acked(),
                side.out.written(),
                side.incoming.received()
            );
            for path in &side.paths {
                eprintln!(
                    "  {:?} {:?} epoch {} since {:?} cursor {} suspect {} closing {} pending {}",
                    path.id,
                    path.stage,
                    path.epoch,
                    path.since,
                    path.cursor,
                    path.suspect,
                    path.closing,
                    path.pending().len()
                );
            }
        }
        for (n, link) in self.links.iter().enumerate() {
            eprintln!(
                " link {n} ids {:?} refused {:?} by {} silent {} broken {} closed {:?}",
                link.ids,
                link.refused,
                link.opened_by,
                link.silent,
                link.broken,
                link.pipes.each_ref().map(|pipe| (pipe.closed, pipe.flying.len()))
            );
        }
    }

    fn stats(&self) -> [SessionStats; 2] {
        [self.sides[0].stats(), self.sides[1].stats()]
    }
}

const BOTH: [bool; 2] = [true, true];

fn secs(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

#[test]
fn the_first_answer_comes_after_one_round_trip() {
    let mut world = World::new();
    world.write(0, 100);
    world.run(DELAY, BOTH);
    assert_eq!(world.read[1].len(), 100, "bytes travel with the hello");
    world.write(1, 100);
    world.run(DELAY, BOTH);
    assert_eq!(world.read[0].len(), 100);
    assert!(!world.sides[0].needs_path() && !world.sides[1].needs_path());
}

#[test]
fn a_broken_path_is_replaced_at_once_and_nothing_is_lost() {
    let mut world = World::new();
    world.run(secs(1), BOTH);
    for n in 0..10 {
        world.write(0, 5_000);
        world.write(1, 7_000);
        world.run(DELAY / 2, BOTH);
        world.break_link(world.link_in_use());
        world.run(secs(2), BOTH);
        assert!(world.sides.iter().all(|side| !side.needs_path()), "{n}");
    }
    world.assert_delivered();
    let [stats, _] = world.stats();
    assert!(stats.replayed >= 50_000 && stats.longest_stall <= 3 * DELAY, "{stats:?}");
}

#[test]
fn a_silent_path_is_suspect_after_a_second_and_left() {
    let mut world = World::new();
    world.write(0, 10);
    world.run(secs(5), BOTH);
    world.links[0].silent = true;
    world.write(0, 10);
    world.run(Duration::from_millis(900), BOTH);
    assert!(!world.sides[0].needs_path());
    world.run(Duration::from_millis(500), BOTH);
    assert!(!world.sides[0].needs_path());
    world.assert_delivered();
    assert_eq!(world.stats()[0].moves, 1);
    assert!(!world.sides[0].has_path(world.links[0].ids[0].unwrap()), "a silent path is not waited for");
}

#[test]
fn an_idle_session_notices_a_silent_path_by_its_heartbeat() {
    let mut world = World::new();
    world.run(secs(20), BOTH);
    world.links[0].silent = true;
    world.run(secs(20), BOTH);
    assert_eq!(world.links.len(), 3, "both sides dial");
    assert!(world.sides.iter().all(|side| !side.needs_path()));
    assert_eq!(world.sides.each_ref().map(|side| side.paths.len()), [1, 1]);
}

#[test]
fn a_planned_move_interrupts_nothing() {
    let mut world = World::new();
    world.run(secs(1), BOTH);
    world.write(0, 1_000_000);
    world.run(DELAY / 2, BOTH);
    world.open(0);
    world.run(secs(5), BOTH);
    world.assert_delivered();
    let [ours, theirs] = world.stats();
    assert_eq!((ours.moves, theirs.moves), (1, 1));
    assert_eq!((ours.longest_stall, theirs.longest_stall), (Duration::ZERO, Duration::ZERO));
    assert!(world.links[0].pipes.iter().all(|pipe| pipe.closed), "the old path is closed");
}

#[test]
fn attaches_that_cross_end_on_one_path() {
    let mut world = World::new();
    world.run(secs(1), BOTH);
    world.write(0, 100_000);
    world.write(1, 100_000);
    (world.open(0), world.open(1));
    world.run(secs(12), BOTH);
    world.assert_delivered();
    assert_eq!(world.sides.each_ref().map(|side| side.paths.len()), [1, 1]);
    assert_eq!(world.sides[0].epoch, world.sides[1].epoch);
}

#[test]
fn both_ends_close_when_both_are_done_and_not_before() {
    let mut world = World::new();
    world.write(0, 100);
    world.sides[0].close_write();
    world.run(secs(1), BOTH);
    assert_eq!((world.sides[1].readable(), world.sides[0].end()), ((0, true), None));
    world.write(1, 100_000);
    world.break_link(0);
    world.run(secs(1), BOTH);
    assert_eq!(world.read[0].len(), 100_000, "half of it stays open over a move");
    world.sides[1].close_write();
    world.run(secs(1), BOTH);
    assert_eq!(world.sides.each_ref().map(Machine::end), [Some(SessionEnd::Closed); 2]);
}

#[test]
fn a_session_without_a_path_ends_after_90_seconds() {
    let mut world = World::new();
    world.run(secs(1), BOTH);
    world.break_link(0);
    world.run(secs(89), [false, false]);
    assert_eq!(world.sides[0].end(), None);
    world.run(secs(2), [false, false]);
    assert_eq!(world.sides.each_ref().map(Machine::end), [Some(SessionEnd::NoPath); 2]);
}

#[test]
fn a_dropped_session_ends_at_the_peer_at_once() {
    let mut world = World::new();
    world.write(0, 1_000);
    world.run(secs(1), BOTH);
    world.sides[0].abandon(world.now);
    world.run(DELAY, BOTH);
    assert_eq!(world.sides.each_ref().map(Machine::end), [Some(SessionEnd::Dropped), Some(SessionEnd::Reset)]);
}

#[test]
fn the_last_bytes_of_an_owner_that_has_gone_arrive() {
    let mut world = World::new();
    world.run(secs(1), BOTH);
    world.write(0, 500_000);
    let written = world.written[0].len();
    world.sides[0].close_write();
    world.sides[0].abandon(world.now);
    world.run(secs(2), BOTH);
    assert_eq!((world.read[1].len(), world.sides[1].readable()), (written, (0, true)));
}

#[test]
fn a_slow_reader_slows_the_writer_and_not_the_acknowledgements() {
    let mut world = World::new();
    world.run(secs(1), BOTH);
    for _ in 0..100 {
        world.write(0, 1_000_000);
        world.write(1, 10);
        world.run(Duration::from_millis(100), [true, false]);
    }
    assert!(world.written[0].len() <= MAX_HELD, "{}", world.written[0].len());
    assert_eq!(world.read[0].len(), 1_000, "the other direction goes on");
    assert_eq!(world.stats()[0].moves, 0, "and nobody takes the path for dead");
    world.run(secs(5), BOTH);
    world.assert_delivered();
}

/// What a side may hold for a peer, and the peer for its owner.
const MAX_HELD: usize = outgoing::MAX_REPLAY + incoming::MAX_WINDOW;

#[test]
fn a_peer_that_restarted_or_forgot_ends_the_session() {
    let mut world = World::new();
    world.run(secs(1), BOTH);
    let mut hello =
        Hello { session: SessionId([7; 16]), boot: BootId(1), epoch: 100, received: 0, limit: 0, is_opener: true, begins: false };
    assert_eq!(world.sides[1].attached(&Hello { epoch: 1, ..hello }, world.now), Err(Refusal::Superseded));
    assert_eq!(world.sides[1].attached(&Hello { is_opener: false, ..hello }, world.now), Err(Refusal::Unknown));
    hello.boot = BootId(9);
    assert_eq!(world.sides[1].attached(&hello, world.now), Err(Refusal::Unknown));
    assert_eq!(world.sides[1].end(), Some(SessionEnd::Restarted));
    world.break_link(0);
    world.run(secs(2), [true, false]);
    assert_eq!(world.sides[0].end(), Some(SessionEnd::Unknown));
}

#[test]
fn a_hostile_epoch_ends_nothing_but_moves() {
    let mut world = World::new();
    world.run(secs(1), BOTH);
    let hello = Hello {
        session: SessionId([7; 16]),
        boot: BootId(1),
        epoch: u32::MAX,
        received: 0,
        limit: u64::MAX,
        is_opener: true,
        begins: false,
    };
    world.sides[1].attached(&hello, world.now).unwrap();
    assert_eq!(world.sides[1].attach(world.now), None);
    world.write(1, 5_000_000);
    assert!(world.written[1].len() <= outgoing::MAX_REPLAY);
}

#[test]
fn frames_against_the_protocol_end_the_session() {
    let frame = |frame: Frame| {
        let mut bytes = Vec::new();
        frame.encode(&mut bytes);
        bytes
    };
    let too_far = [&[4, 0, 0, 9][..], &u64::MAX.to_be_bytes(), &[1]].concat();
    for bytes in [
        vec![0; 4],
        too_far,
        frame(Frame::Ack { received: 1, limit: 0 }),
        frame(Frame::End { offset: 5 }),
        frame(Frame::Refuse(Refusal::Unknown)),
        frame(Frame::Accept { boot: BootId(1), epoch: 1, received: 0, limit: 0 }),
    ] {
        let mut world = World::new();
        world.run(secs(1), BOTH);
        let id = world.sides[1].current().unwrap();
        world.sides[1].received(id, &bytes, world.now);
        assert!(matches!(world.sides[1].end(), Some(SessionEnd::Violation(_))), "{bytes:?}");
    }
}

#[test]
fn a_peer_that_only_asks_is_answered_within_bounds() {
    let mut world = World::new();
    world.run(secs(1), BOTH);
    let id = world.sides[1].current().unwrap();
    let mut ping = Vec::new();
    Frame::Ping(1).encode(&mut ping);
    for _ in 0..100_000 {
        world.sides[1].received(id, &ping, world.now);
    }
    assert!(world.sides[1].sending().unwrap().pending().len() < 100_000);
    assert_eq!(world.sides[1].end(), None);
}

#[test]
fn answers_that_are_read_slowly_take_no_more_memory() {
    let mut world = World::new();
    world.run(secs(1), BOTH);
    let id = world.sides[1].current().unwrap();
    let mut pings = Vec::new();
    (0..100).for_each(|n| Frame::Ping(n).encode(&mut pings));
    for _ in 0..10_000 {
        world.sides[1].received(id, &pings, world.now);
        // All but a little is read: something is always pending.
        let Transmit::Bytes(bytes) = world.sides[1].transmit(id, world.now) else { panic!("nothing pending") };
        let count = bytes.len() - 1;
        world.sides[1].wrote(id, count);
    }
    let held = world.sides[1].sending().unwrap().held();
    assert!(held < 256 * 1024, "{held}");
}

/// All that the machine wants to write on a path is written.
fn drain(machine: &mut Machine, id: PathId, now: Moment) -> Vec<u8> {
    let mut written = Vec::new();
    while let Transmit::Bytes(bytes) = machine.transmit(id, now) {
        let count = bytes.len();
        written.extend(bytes);
        machine.wrote(id, count);
    }
    written
}

#[test]
fn a_suspect_path_recovers_though_what_was_due_was_acknowledged_on_the_path_before() {
    let at = |millis| Moment::after_start(Duration::from_millis(millis));
    let mut machine = Machine::open(SessionId([7; 16]), BootId(1), &Budget::new(BUDGET), at(0));
    let receive = |machine: &mut Machine, id, frame: Frame, now| {
        let mut bytes = Vec::new();
        frame.encode(&mut bytes);
        machine.received(id, &bytes, now);
    };
    let accept = |epoch| Frame::Accept { boot: BootId(2), epoch, received: 0, limit: u64::MAX };
    let old = machine.attach(at(0)).unwrap();
    receive(&mut machine, old, accept(2), at(10));
    assert_eq!(machine.write(b"0123456789"), 10);
    drain(&mut machine, old, at(10));
    let new = machine.attach(at(20)).unwrap();
    receive(&mut machine, new, accept(4), at(30));
    drain(&mut machine, new, at(30));
    machine.tick(at(2_000));
    assert!(machine.needs_path(), "nothing has come on the new path");
    let ack = Frame::Ack { received: 10, limit: u64::MAX };
    receive(&mut machine, old, ack, at(2_010));
    let asked = drain(&mut machine, new, at(2_010));
    receive(&mut machine, new, ack, at(2_020));
    // The peer answers what it was asked.
    let (mut decoder, mut asked) = (Decoder::default(), &asked[..]);
    while let Some(piece) = decoder.next(&mut asked).unwrap() {
        if let Piece::Frame(Frame::Ping(number)) = piece {
            receive(&mut machine, new, Frame::Pong(number), at(2_020));
        }
    }
    assert!(!machine.needs_path());
}

#[test]
fn a_peer_that_accepts_each_path_and_acknowledges_nothing_is_given_up() {
    let at = |seconds| Moment::after_start(Duration::from_secs(seconds));
    let mut machine = Machine::open(SessionId([7; 16]), BootId(1), &Budget::new(BUDGET), at(0));
    for n in 0..200 {
        // A quiet time before the first byte does not count.
        if n == 100 {
            machine.write(&[1; 1000]);
        }
        let Some(id) = machine.attach(at(2 * n)) else { panic!("no room for a path") };
        let mut bytes = Vec::new();
        Frame::Accept { boot: BootId(2), epoch: machine.proposed, received: 0, limit: u64::MAX }.encode(&mut bytes);
        machine.received(id, &bytes, at(2 * n));
        drain(&mut machine, id, at(2 * n));
        (machine.tick(at(2 * n + 1)), machine.tick(at(2 * n + 2)));
        if machine.end().is_some() {
            assert_eq!((machine.end(), n), (Some(SessionEnd::NoPath), 189));
            return;
        }
    }
    panic!("it goes on for ever: {:?}", machine.stats());
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    /// Whatever happens to paths, and whoever dials, each byte arrives once and in order.
    #[test]
    fn every_byte_arrives_once_and_in_order(
        chunk in prop_oneof![1..50usize, 1_000..100_000usize],
        steps in proptest::collection::vec((0..8u8, 0..100_000usize, 0..400u64), 1..80),
    ) {
        let mut world = World::new();
        world.chunk = chunk;
        for (what, size, millis) in steps {
            let last = world.links.len().saturating_sub(1);
            let any = if world.links.is_empty() { 0 } else { size % world.links.len() };
            match what {
                0 => world.write(0, size % (chunk * 200)),
                1 => world.write(1, size % (chunk * 200)),
                2 => world.open(size % 2),
                3 => (world.open(0), world.open(1)).0,
                4 if !world.links.is_empty() => world.break_link(last),
                5 if !world.links.is_empty() => world.break_link(any),
                6 if !world.links.is_empty() => world.links[any].silent = true,
                _ => world.read(size % 2, size),
            }
            let able = [millis % 3 != 0, millis % 5 != 0];
            world.run(Duration::from_millis(millis), able);
            for side in &world.sides {
                prop_assert!(side.paths.len() <= MAX_PATHS);
            }
        }
        world.run(secs(60), BOTH);
        if world.begun {
                    world.assert_delivered();
            prop_assert!(world.sides.iter().all(|side| !side.needs_path() && side.paths.len() == 1));
        }
    }
}

#[test]
fn paths_that_never_answer_give_way_to_newer_ones() {
    let mut world = World::new();
    world.run(secs(1), BOTH);
    world.break_link(0);
    for _ in 0..10 {
        world.open(0);
        let last = world.links.len() - 1;
        world.links[last].silent = true;
        assert!(world.sides[0].paths.len() <= MAX_PATHS);
    }
    world.open(0);
    world.run(secs(1), [false, false]);
    assert!(world.sides.iter().all(|side| !side.needs_path()));
}
