mod hostile;
mod world;

use proptest::prelude::*;

use self::world::*;
use super::*;

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
    world.open(0);
    world.open(1);
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
                3 => [0, 1].into_iter().for_each(|side| world.open(side)),
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
