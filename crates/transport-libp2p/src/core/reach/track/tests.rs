use proptest::prelude::*;

use super::*;
use crate::Reachability::{Reachable, Unknown, Unreachable};

const INTERVAL: Duration = Duration::from_secs(600);

fn at(seconds: u64) -> Moment {
    Moment::after_start(Duration::from_secs(seconds))
}

/// The network with that number.
fn group(number: u8) -> IpPrefix {
    IpPrefix::network([198, 51, number, 1].into())
}

/// So many networks can be asked.
fn networks(count: u8) -> Networks {
    (1..=count).map(group).collect()
}

/// Where three networks can be asked.
fn judge(track: &mut Track, verdict: Verdict, number: u8, seconds: u64) -> Reachability {
    judge_of(track, 3, verdict, number, seconds)
}

fn judge_of(track: &mut Track, count: u8, verdict: Verdict, number: u8, seconds: u64) -> Reachability {
    track.judge(verdict, group(number), &networks(count), INTERVAL, at(seconds));
    track.state
}

#[test]
fn one_stranger_is_enough_for_our_own_address_and_two_networks_for_a_mapped_one() {
    let mut own = Track::new(Source::Interface, at(0));
    assert_eq!(judge(&mut own, Verdict::Known, 1, 0), Unknown, "we may have opened the way for it");
    assert_eq!(judge(&mut own, Verdict::Stranger, 1, 1), Reachable);
    let mut mapped = Track::new(Source::Mapped, at(0));
    assert_eq!(judge(&mut mapped, Verdict::Stranger, 1, 0), Unknown);
    assert_eq!(judge(&mut mapped, Verdict::Stranger, 1, 1), Unknown, "the same network counts once");
    assert_eq!(judge(&mut mapped, Verdict::Stranger, 2, 700), Unknown, "the first is too long ago");
    assert_eq!(judge(&mut mapped, Verdict::Stranger, 3, 800), Reachable);
}

#[test]
fn three_networks_end_it_and_two_of_three_do_not() {
    for positive in [Verdict::Stranger, Verdict::Known] {
        let mut track = Track::new(Source::Interface, at(0));
        judge(&mut track, Verdict::Stranger, 9, 0);
        for round in 1..50 {
            // Two of three lie, all day long.
            let now = round * 1200;
            assert_eq!(judge(&mut track, Verdict::No, 1, now), Reachable);
            assert_eq!(judge(&mut track, Verdict::No, 2, now + 400), Reachable);
            assert_eq!(judge(&mut track, positive, 3, now + 800), Reachable);
        }
        judge(&mut track, Verdict::No, 1, 100_000);
        judge(&mut track, Verdict::No, 2, 100_001);
        assert_eq!(judge(&mut track, Verdict::No, 3, 100_002), Unreachable);
    }
}

#[test]
fn where_there_is_one_network_to_ask_five_in_a_row_and_soon_end_it() {
    let mut track = Track::new(Source::Interface, at(0));
    judge(&mut track, Verdict::Stranger, 9, 0);
    for second in 1..100 {
        assert_eq!(judge_of(&mut track, 1, Verdict::No, 1, second * 60), Reachable, "one a minute is a doubtful witness");
    }
    let mut track = Track::new(Source::Interface, at(0));
    judge(&mut track, Verdict::Stranger, 9, 0);
    assert_eq!([15, 30, 45, 60].map(|second| judge_of(&mut track, 1, Verdict::No, 1, second)), [Reachable; 4]);
    assert_eq!(judge_of(&mut track, 1, Verdict::No, 1, 75), Unreachable);
    // One of two, or two of three, is not enough, however often it says so.
    for (liars, count) in [(1, 2), (2, 3)] {
        let mut track = Track::new(Source::Interface, at(0));
        judge(&mut track, Verdict::Stranger, 9, 0);
        for second in 1..1000 {
            let liar = 1 + (second % liars) as u8;
            assert_eq!(judge_of(&mut track, count, Verdict::No, liar, second), Reachable, "{liars} of {count}");
            track.answered(group(count), &networks(count), INTERVAL, at(second));
        }
    }
}

#[test]
fn whom_we_may_have_let_in_speaks_for_nobody_else() {
    let mut track = Track::new(Source::Interface, at(0));
    judge_of(&mut track, 4, Verdict::Stranger, 9, 0);
    for (verdict, number) in [(Verdict::No, 1), (Verdict::No, 2), (Verdict::Known, 3), (Verdict::No, 1), (Verdict::No, 2)] {
        assert_eq!(judge_of(&mut track, 4, verdict, number, 1), Reachable);
        track.answered(group(number), &networks(4), INTERVAL, at(1));
    }
    assert_eq!(judge_of(&mut track, 4, Verdict::No, 4, 2), Unreachable);
    // It takes back what it said itself.
    let mut track = Track::new(Source::Interface, at(0));
    judge(&mut track, Verdict::Stranger, 9, 0);
    for (verdict, number) in [(Verdict::No, 1), (Verdict::Known, 1), (Verdict::No, 2), (Verdict::No, 3)] {
        assert_eq!(judge(&mut track, verdict, number, 1), Reachable);
    }
}

#[test]
fn fewer_than_half_end_nothing_and_each_has_its_turn_before_the_others_do() {
    let mut track = Track::new(Source::Interface, at(0));
    judge_of(&mut track, 8, Verdict::Stranger, 9, 0);
    for second in 0..1000 {
        for liar in 1..=4 {
            assert_eq!(judge_of(&mut track, 8, Verdict::No, liar, second), Reachable);
        }
        for other in 5..=8 {
            track.answered(group(other), &networks(8), INTERVAL, at(second));
        }
    }
    let mut track = Track::new(Source::Interface, at(0));
    judge_of(&mut track, 5, Verdict::Stranger, 9, 0);
    for number in 1..=4 {
        assert_eq!(judge_of(&mut track, 5, Verdict::No, number, 1), Reachable, "the fifth was not asked");
    }
    assert!(track.answered(group(5), &networks(5), INTERVAL, at(2)) && track.state == Unreachable);
}

#[test]
fn back_again_takes_twice_the_proof_and_longer_each_time() {
    let mut track = Track::new(Source::Interface, at(0));
    judge(&mut track, Verdict::Stranger, 9, 0);
    let (mut now, mut held) = (0, Vec::new());
    for flap in 0..4 {
        for number in 1..=3 {
            judge(&mut track, Verdict::No, number, now);
        }
        assert_eq!(track.state, Unreachable, "flap {flap}");
        let lost = now;
        while track.state == Unreachable {
            now += 10;
            let number = (now / 10 % 2) as u8;
            judge(&mut track, Verdict::Stranger, number, now);
        }
        held.push(now - lost);
    }
    assert_eq!(held, [600, 1200, 2400, 4800]);
}

#[test]
fn strangers_that_came_before_the_time_was_over_count_when_it_is() {
    let mut track = Track::new(Source::Interface, at(0));
    judge(&mut track, Verdict::Stranger, 9, 0);
    for network in 1..=3 {
        judge(&mut track, Verdict::No, network, 10);
    }
    assert_eq!(judge(&mut track, Verdict::Stranger, 4, 400), Unreachable);
    assert_eq!(judge(&mut track, Verdict::Stranger, 5, 500), Unreachable);
    let review = track.review.expect("a time");
    assert_eq!(review, at(610));
    assert!(track.settle(&networks(3), INTERVAL, review) && track.state == Reachable && track.review.is_none());
}

#[test]
fn it_is_checked_at_once_then_ever_more_seldom_and_soon_after_a_doubt() {
    let mut track = Track::new(Source::Interface, at(0));
    let mut due = Vec::new();
    for _ in 0..5 {
        let now = track.due;
        track.checked(group(1), &networks(3), INTERVAL, 0.5, now);
        due.push(track.due.since(now).as_secs());
    }
    assert_eq!(due, [5, 30, 120, 600, 600]);
    judge(&mut track, Verdict::Stranger, 1, 2000);
    assert_eq!(track.due, at(2600));
    judge(&mut track, Verdict::No, 1, 2010);
    assert_eq!(track.due, at(2015));
    // Once it is unreachable, nothing more depends on what anybody denies.
    judge(&mut track, Verdict::No, 2, 2011);
    assert_eq!(judge(&mut track, Verdict::No, 3, 2012), Unreachable);
    let due = track.due;
    for number in 1..=3 {
        judge(&mut track, Verdict::No, number, 2020);
    }
    assert_eq!((track.due, due), (due, at(2012) + INTERVAL * UNREACHABLE_INTERVALS));
}

/// When the next check is due in each of so many, of networks in turn of which those up to
/// `denying` deny and the others never answer.
fn pauses(track: &mut Track, denying: u8, count: u8, checks: u64, from: u64) -> Vec<u64> {
    let (all, mut now, mut pauses) = (networks(count), at(from), Vec::new());
    for check in 0..checks {
        let network = group((check % u64::from(count)) as u8 + 1);
        track.checked(network, &all, INTERVAL, 0.5, now);
        if (1..=denying).any(|number| group(number) == network) {
            track.judge(Verdict::No, network, &all, INTERVAL, now);
        }
        pauses.push(track.due.since(now).as_secs());
        now = track.due;
    }
    pauses
}

#[test]
fn however_long_nobody_can_say_anything_those_that_deny_it_later_are_enough() {
    for count in 1..=8 {
        let mut track = Track::new(Source::Interface, at(0));
        judge(&mut track, Verdict::Stranger, 9, 0);
        judge_of(&mut track, count, Verdict::No, 1, 100);
        pauses(&mut track, 0, count, 60, 100);
        let denied = track.due.since(at(0)).as_secs();
        pauses(&mut track, count, count, 60, denied);
        assert_eq!(track.state, Unreachable, "of {count}");
    }
}

#[test]
fn one_that_never_answers_does_not_have_the_others_asked_every_few_seconds_for_ever() {
    let mut track = Track::new(Source::Interface, at(0));
    judge(&mut track, Verdict::Stranger, 9, 0);
    let paced = pauses(&mut track, 2, 3, 40, 100);
    assert_eq!(track.state, Reachable, "two of three are not enough");
    assert!(paced[..RECHECKS as usize].iter().all(|pause| *pause == RECHECK.as_secs()), "{paced:?}");
    assert_eq!(paced.last(), Some(&300), "{paced:?}");
    // Once it can be asked no more, the others are enough, and soon.
    let end = track.due.since(at(0)).as_secs();
    pauses(&mut track, 2, 2, 8, end);
    assert_eq!(track.state, Unreachable, "two of two are");
    let mut track = Track::new(Source::Interface, at(0));
    judge(&mut track, Verdict::Stranger, 9, 0);
    pauses(&mut track, 2, 3, 40, 100);
    // A new doubt is looked into as fast as the first one.
    judge(&mut track, Verdict::Stranger, 9, 50_000);
    track.checked(group(3), &networks(3), INTERVAL, 0.5, at(50_000));
    assert_eq!(pauses(&mut track, 2, 3, 1, 50_600), [RECHECK.as_secs()]);
}

fn verdict() -> impl Strategy<Value = Verdict> {
    prop_oneof![Just(Verdict::Known), Just(Verdict::No)]
}

proptest! {
    #[test]
    fn without_a_stranger_nothing_makes_an_address_reachable(
        steps in prop::collection::vec((verdict(), 0_u8..8, 0_u64..2000), 0..100),
        mapped in any::<bool>(),
    ) {
        let mut track = Track::new(if mapped { Source::Mapped } else { Source::Interface }, at(0));
        let mut now = 0;
        for (verdict, number, wait) in steps {
            now += wait;
            prop_assert_ne!(judge_of(&mut track, 7, verdict, number, now), Reachable);
        }
    }

    #[test]
    fn however_it_flaps_a_day_sees_few_changes(
        steps in prop::collection::vec((any::<bool>(), 0_u8..8), 1440),
    ) {
        let mut track = Track::new(Source::Interface, at(0));
        let mut changes = 0;
        for (minute, (is_up, number)) in (0..).zip(steps) {
            let verdict = if is_up { Verdict::Stranger } else { Verdict::No };
            changes += usize::from(track.judge(verdict, group(number), &networks(3), INTERVAL, at(minute * 60)));
        }
        // Unreachable at first, then nine times back, held for 10 min, 10, 20, 40 and so on.
        prop_assert!(changes <= 19, "{} changes", changes);
    }
}
