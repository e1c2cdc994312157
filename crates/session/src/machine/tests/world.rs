//! Two machines on paths in memory, through virtual time.

use std::{collections::VecDeque, time::Duration};

use kaspath_domain::Moment;

use crate::{
    budget::Budget,
    machine::{Machine, PathId, SessionStats, Transmit},
    wire::{BootId, Decoder, Frame, HELLO_FRAME, Piece, Refusal, SessionId},
};

pub(super) const DELAY: Duration = Duration::from_millis(50);
pub(super) const BUDGET: usize = 16 * 1024 * 1024;

/// One direction of a path: bytes and when they arrive.
#[derive(Default)]
pub(super) struct Pipe {
    pub(super) flying: VecDeque<(Moment, Vec<u8>)>,
    pub(super) closed: bool,
}

/// A stream between the two sides.
pub(super) struct Link {
    /// The path's id at each side, once it has one.
    pub(super) ids: [Option<PathId>; 2],
    /// From each side to the other.
    pub(super) pipes: [Pipe; 2],
    /// The hello, as far as it has come to the side that did not open the stream.
    pub(super) hello: Vec<u8>,
    /// The answer to a hello that was refused.
    pub(super) refused: Option<Refusal>,
    pub(super) opened_by: usize,
    /// Bytes vanish.
    pub(super) silent: bool,
    pub(super) broken: bool,
}

pub(super) struct World {
    pub(super) now: Moment,
    pub(super) sides: [Machine; 2],
    pub(super) links: Vec<Link>,
    /// What each side wrote and read.
    pub(super) written: [Vec<u8>; 2],
    pub(super) read: [Vec<u8>; 2],
    /// The most that a stream takes at once.
    pub(super) chunk: usize,
    pub(super) begun: bool,
}

impl World {
    pub(super) fn new() -> Self {
        let (now, budget) = (Moment::default(), Budget::new(BUDGET));
        let opener = Machine::open(SessionId([7; 16]), BootId(1), &budget, now);
        // Replaced at the first hello.
        let accepter = Machine::open(SessionId([7; 16]), BootId(2), &budget, now);
        let (written, read) = Default::default();
        Self { now, sides: [opener, accepter], links: Vec::new(), written, read, chunk: usize::MAX, begun: false }
    }

    pub(super) fn open(&mut self, by: usize) {
        if by == 1 && !self.begun {
            return;
        }
        let Some(id) = self.sides[by].attach(self.now) else { return };
        let mut ids = [None; 2];
        ids[by] = Some(id);
        let (pipes, hello) = Default::default();
        self.links.push(Link { ids, pipes, hello, refused: None, opened_by: by, silent: false, broken: false });
    }

    pub(super) fn break_link(&mut self, link: usize) {
        let (now, link) = (self.now, &mut self.links[link]);
        link.broken = true;
        for (side, id) in link.ids.iter().enumerate() {
            id.iter().for_each(|id| self.sides[side].ended(*id, now));
        }
    }

    /// Lets streams carry what they can now; whether anything has moved.
    pub(super) fn carry(&mut self) -> bool {
        let mut moved = false;
        for n in 0..self.links.len() {
            for side in 0..2 {
                moved |= self.send(n, side);
                moved |= self.arrive(n, side);
            }
        }
        moved
    }

    pub(super) fn send(&mut self, n: usize, side: usize) -> bool {
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

    pub(super) fn arrive(&mut self, n: usize, to: usize) -> bool {
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

    pub(super) fn write(&mut self, side: usize, count: usize) {
        if side == 1 && !self.begun {
            return;
        }
        let start = self.written[side].len();
        let bytes: Vec<u8> = (start..start + count).map(|n| (n % 251) as u8 ^ side as u8).collect();
        let taken = self.sides[side].write(&bytes);
        self.written[side].extend(&bytes[..taken]);
    }

    pub(super) fn read(&mut self, side: usize, most: usize) {
        let read = &mut self.read[side];
        self.sides[side].read(most, |bytes| read.extend(bytes));
    }

    /// Runs for so long. A side reads all, and dials each second when it needs a path,
    /// if it is `able`.
    pub(super) fn run(&mut self, duration: Duration, able: [bool; 2]) {
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

    pub(super) fn assert_delivered(&self) {
        for side in 0..2 {
            assert_eq!(self.sides[side].end(), None, "side {side}");
            assert!(self.written[side] == self.read[1 - side], "side {side} wrote {}", self.written[side].len());
        }
    }

    pub(super) fn link_in_use(&self) -> usize {
        let current = self.sides[0].current().expect("a path");
        self.links.iter().position(|link| link.ids[0] == Some(current)).expect("its link")
    }

    pub(super) fn stats(&self) -> [SessionStats; 2] {
        [self.sides[0].stats(), self.sides[1].stats()]
    }
}

pub(super) const BOTH: [bool; 2] = [true, true];

pub(super) fn secs(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}
