//! What a peer does against the protocol, or to make the session suffer.

use std::time::Duration;

use kaspath_domain::Moment;

use super::world::*;
use crate::{
    budget::Budget,
    machine::{Machine, PathId, SessionEnd, Transmit, outgoing},
    wire::{BootId, Decoder, Frame, Hello, Piece, Refusal, SessionId},
};

#[test]
fn a_peer_that_restarted_or_forgot_ends_the_session() {
    let mut world = World::new();
    world.run(secs(1), BOTH);
    let mut hello =
        Hello { session: SessionId([7; 16]), boot: BootId(1), epoch: 100, received: 0, limit: 0, is_opener: true, begins: false };
    assert_eq!(world.sides[1].attached(&Hello { epoch: 1, ..hello }, world.now), Err(Refusal::Superseded));
    assert_eq!(world.sides[1].attached(&Hello { is_opener: false, ..hello }, world.now), Err(Refusal::Unknown));
    assert_eq!(world.sides[1].attached(&Hello { boot: BootId(0), ..hello }, world.now), Err(Refusal::Unknown));
    assert_eq!(world.sides[1].end(), None, "an earlier run's hello comes late");
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
        machine.tick(at(2 * n + 1));
        machine.tick(at(2 * n + 2));
        if machine.end().is_some() {
            assert_eq!((machine.end(), n), (Some(SessionEnd::NoPath), 189));
            return;
        }
    }
    panic!("it goes on for ever: {:?}", machine.stats());
}

#[test]
fn a_session_that_has_ended_says_hello_on_no_path_that_was_dialled_for_it() {
    let mut machine = Machine::open(SessionId([7; 16]), BootId(1), &Budget::new(BUDGET), Moment::default());
    machine.attach(Moment::default()).unwrap();
    machine.finish(SessionEnd::Dropped);
    assert_eq!(machine.attach(Moment::default()), None);
}
