use proptest::{collection::vec, option, prelude::*};

use super::*;

fn at(seconds: u64) -> Moment {
    Moment::after_start(Duration::from_secs(seconds))
}

/// One that came at `since`, and was of use just before `NOW`.
fn useful(id: u32, group: u8, since: u64) -> Candidate<u32, u8> {
    Candidate {
        id,
        group,
        since: at(since),
        round_trip: Some(Duration::from_millis(100)),
        useful_bytes: 1000,
        last_activity: Some(at(NOW - 1)),
        pinned: false,
    }
}

const NOW: u64 = 10_000;

fn choose(candidates: &[Candidate<u32, u8>], newcomer: u8) -> Option<u32> {
    Eviction::default().choose(candidates, &newcomer, at(NOW))
}

#[test]
fn the_youngest_of_the_most_crowded_group_goes() {
    let here = [useful(1, 1, 10), useful(2, 2, 20), useful(3, 2, 30), useful(4, 3, 40)];
    assert_eq!(choose(&here, 9), Some(3));
    // With the newcomer itself, its group is as crowded as the other one.
    assert_eq!(choose(&here, 3), Some(4));
}

#[test]
fn one_that_was_of_no_use_for_a_minute_goes_first() {
    let silent = Candidate { last_activity: None, ..useful(1, 1, 10) };
    let here = [silent, useful(2, 2, 20), useful(3, 2, 30)];
    assert_eq!(choose(&here, 2), Some(1));
    let fresh = Candidate { last_activity: None, ..useful(1, 1, NOW - 59) };
    assert_eq!(choose(&[fresh, useful(2, 2, 20), useful(3, 2, 30)], 2), Some(3));
}

#[test]
fn who_stands_out_stays_even_as_the_youngest() {
    let mut here: Vec<_> = (0..64).map(|n| useful(n, n as u8, u64::from(n))).collect();
    assert_eq!(choose(&here, 200), Some(63));
    here[63].round_trip = Some(Duration::from_millis(1));
    here[62].useful_bytes = 5000;
    here[61].last_activity = Some(at(NOW));
    assert_eq!(choose(&here, 200), Some(60));
}

#[test]
fn nobody_goes_if_all_are_pinned_or_none_is_there() {
    let pinned: Vec<_> = (0..4).map(|n| Candidate { pinned: true, ..useful(n, 1, 1) }).collect();
    assert_eq!(choose(&pinned, 1), None);
    assert_eq!(choose(&[], 1), None);
}

/// A host with peers of one prefix comes again and again to a full table of others.
#[test]
fn a_flood_from_one_group_takes_one_place_of_a_hundred_and_no_more() {
    let mut here: Vec<_> = (0..100).map(|n| useful(n, n as u8, u64::from(n))).collect();
    for n in 1000..2000 {
        let Some(gone) = choose(&here, 250) else { continue };
        here.retain(|candidate| candidate.id != gone);
        here.push(useful(n, 250, NOW - 5));
    }
    assert_eq!(here.iter().filter(|candidate| candidate.group != 250).count(), 99);
}

prop_compose! {
    fn candidate()(
        group in 0..6u8,
        since in NOW - 300..NOW,
        rtt in option::of(0..50u64),
        useful_bytes in 0..4u64,
        active in option::of(NOW - 200..NOW + 5),
        pinned in prop::bool::weighted(0.15),
    ) -> Candidate<u32, u8> {
        let (round_trip, last_activity) = (rtt.map(Duration::from_millis), active.map(at));
        Candidate { id: 0, group, since: at(since), round_trip, useful_bytes, last_activity, pinned }
    }
}

/// Their ids are their places in the list.
fn candidates() -> impl Strategy<Value = Vec<Candidate<u32, u8>>> {
    vec(candidate(), 0..80).prop_map(|list| (0..).zip(list).map(|(id, one)| Candidate { id, ..one }).collect())
}

fn crowd(here: &[Candidate<u32, u8>], newcomer: u8, group: u8) -> usize {
    here.iter().filter(|one| !one.pinned && one.group == group).count() + usize::from(newcomer == group)
}

proptest! {
    #[test]
    fn no_pinned_one_goes_and_somebody_does_if_a_group_has_several(here in candidates(), newcomer in 0..7u8) {
        let chosen = choose(&here, newcomer);
        if let Some(chosen) = chosen {
            prop_assert!(!here[chosen as usize].pinned);
        }
        let several = (0..7).any(|group| crowd(&here, newcomer, group) > 1);
        prop_assert!(!several || chosen.is_some());
    }

    #[test]
    fn a_useful_one_goes_only_out_of_a_most_crowded_group_and_only_if_none_is_silent(
        here in candidates(), newcomer in 0..7u8,
    ) {
        let Some(chosen) = choose(&here, newcomer) else { return Ok(()) };
        let chosen = &here[chosen as usize];
        let silent = |one: &Candidate<u32, u8>| one.silence(at(NOW)) >= Duration::from_secs(60);
        if here.iter().any(|one| !one.pinned && silent(one)) {
            prop_assert!(silent(chosen));
        } else {
            let largest = (0..7).map(|group| crowd(&here, newcomer, group)).max().unwrap();
            prop_assert_eq!(crowd(&here, newcomer, chosen.group), largest);
        }
    }

    /// As long as newcomers come, each silent one goes, and each within as many as there are candidates.
    #[test]
    fn no_silent_one_stays_for_good(here in candidates(), newcomer in 0..7u8) {
        let mut left = here.clone();
        for n in 0..here.len() {
            let Some(gone) = choose(&left, newcomer) else { break };
            left.retain(|one| one.id != gone);
            left.push(Candidate { since: at(NOW), ..useful(1000 + n as u32, newcomer, NOW) });
        }
        prop_assert!(left.iter().all(|one| one.pinned || one.silence(at(NOW)) < Duration::from_secs(60)));
    }

    #[test]
    fn the_order_of_the_candidates_does_not_matter(here in candidates(), newcomer in 0..7u8) {
        let mut turned = here.clone();
        turned.reverse();
        prop_assert_eq!(choose(&here, newcomer), choose(&turned, newcomer));
    }
}
