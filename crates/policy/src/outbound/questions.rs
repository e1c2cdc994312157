use std::{
    collections::{BTreeMap, HashMap, HashSet},
    time::Duration,
};

use kaspath_domain::{Moment, PeerGroup, PeerIdentity, RetryCadence, below, spread};

use super::{random::Random, rule::of_strangers};

/// Questions under way at once: to relays that are ours, and to others.
const TO_OURS: usize = 2;
const TO_OTHERS: usize = 6;
/// Of those to others: to relays that have never answered, as long as one is due that has; and to
/// such relays of one teller.
const TO_NEW: usize = 4;
const TO_NEW_OF_TELLER: usize = 3;
/// Between two questions to one relay: at first shorter, for others have just started too.
const FIRST: [Duration; 3] = [Duration::from_secs(2), Duration::from_secs(4), Duration::from_secs(8)];
const THEN: Duration = Duration::from_secs(30);
/// Whoever does not speak the protocol may be restarted with another version.
const SILENT: Duration = Duration::from_secs(3600);
/// Between two questions to anybody once no peer is missing, and between two to relays that
/// have never answered; half of it is random.
const AT_TARGET: Duration = Duration::from_secs(60);
/// Without an answer of anybody for so long, our own network may have failed.
const ALONE: Duration = Duration::from_secs(120);
/// Relays whose questions are remembered although they are not known now.
const REMEMBERED: usize = 1024;

/// A relay that may be asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Askable {
    /// Which.
    pub relay: PeerIdentity,
    /// Its group.
    pub group: PeerGroup,
    /// The user has named it, or it holds a reservation.
    pub is_ours: bool,
    /// The strangers who told of it.
    pub tellers: Vec<PeerIdentity>,
}

/// How a question has ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Answer {
    /// With an answer, even if it is a refusal.
    Given,
    /// The relay does not speak the protocol.
    NotSpoken,
    /// It could not be reached, or said nothing.
    None,
    /// It was not asked, for want of a place.
    NotAsked,
}

#[derive(Clone, Debug)]
struct Asked {
    at: Moment,
    times: usize,
    is_waiting: bool,
    is_silent: bool,
    /// How often in a row there was no answer.
    failures: u32,
    /// Whether there ever was one.
    has_answered: bool,
    /// On whose account it was asked the first time.
    teller: Option<PeerIdentity>,
}

/// A relay to ask, and on whose account.
type Chosen<'a> = (&'a Askable, Option<&'a PeerIdentity>);

/// Which relay is asked next: each group of relays that answer as often as any other, for
/// scores, and how many relays somebody has, must not decide who tells of peers. Relays that
/// somebody told of and that never answer take no question from others, however many are
/// told of.
#[derive(Clone, Debug)]
pub struct Questions {
    asked: BTreeMap<PeerIdentity, Asked>,
    /// When a relay answered last.
    answered: Option<Moment>,
    /// If no peer is missing: when one may be asked that has answered before, and one that has not.
    next: Option<Moment>,
    next_new: Option<Moment>,
    /// When to ask ours again that do not answer, and others.
    ours: RetryCadence,
    others: RetryCadence,
}

impl Default for Questions {
    fn default() -> Self {
        let delays = [4, 15, 30].map(Duration::from_secs).to_vec();
        let ours = RetryCadence { delays, then: Some(Duration::from_secs(60)), jitter: 0.0 };
        Self { asked: BTreeMap::new(), answered: None, next: None, next_new: None, ours, others: of_strangers() }
    }
}

impl Questions {
    /// Whom of the known ones to ask now. `is_wanting`: peers are missing.
    pub fn next(&mut self, known: &[Askable], is_wanting: bool, now: Moment, random: Random<'_>) -> Vec<PeerIdentity> {
        self.forget(known, now);
        let is_time = |next: Option<Moment>| is_wanting || next.is_none_or(|next| now >= next);
        if !is_time(self.next) && !is_time(self.next_new) {
            return Vec::new();
        }
        let due: Vec<&Askable> = known.iter().filter(|askable| self.is_due(askable, now)).collect();
        let chosen = if is_wanting {
            (self.next, self.next_new) = (None, None);
            self.wanted(known, due, random)
        } else {
            self.at_target(due, now, random)
        };
        for (askable, teller) in &chosen {
            let asked = self.asked.entry(askable.relay.clone()).or_insert_with(|| Asked::new(now));
            (asked.at, asked.times, asked.is_waiting) = (now, asked.times.saturating_add(1), true);
            asked.teller = teller.cloned();
        }
        chosen.into_iter().map(|(askable, _)| askable.relay.clone()).collect()
    }

    fn wanted<'a>(&self, known: &[Askable], due: Vec<&'a Askable>, random: Random<'_>) -> Vec<Chosen<'a>> {
        let ours: HashSet<&PeerIdentity> = known.iter().filter(|askable| askable.is_ours).map(|askable| &askable.relay).collect();
        let waiting = || self.asked.iter().filter(|(_, asked)| asked.is_waiting);
        let count = |is_ours: bool| waiting().filter(|(relay, _)| ours.contains(relay) == is_ours).count();
        // Ours by the time since they were asked, so that none of them waits for long.
        let (mut chosen, others): (Vec<&Askable>, Vec<&Askable>) = due.into_iter().partition(|askable| askable.is_ours);
        chosen.sort_by_key(|askable| self.asked.get(&askable.relay).map(|asked| asked.at));
        chosen.truncate(TO_OURS.saturating_sub(count(true)));
        let mut chosen: Vec<Chosen<'_>> = chosen.into_iter().map(|askable| (askable, None)).collect();
        let free = TO_OTHERS.saturating_sub(count(false));
        if free == 0 {
            return chosen;
        }
        let (before, new): (Vec<_>, Vec<_>) = others.into_iter().partition(|askable| self.answers(askable));
        let new_under_way: Vec<&Asked> =
            waiting().filter(|(relay, asked)| !asked.has_answered && !ours.contains(relay)).map(|(_, asked)| asked).collect();
        let for_new = if before.is_empty() { free } else { free.min(TO_NEW.saturating_sub(new_under_way.len())) };
        let new = of_each_teller(new, &new_under_way, for_new, random);
        let before = of_each_group(before, free - new.len(), random);
        chosen.extend(new.into_iter().chain(before));
        chosen
    }

    /// One of those that have answered, and one of the others, each rarely: however many the
    /// others are, they keep none of those from being asked.
    fn at_target<'a>(&mut self, due: Vec<&'a Askable>, now: Moment, random: Random<'_>) -> Vec<Chosen<'a>> {
        let is_time = |next: Option<Moment>| next.is_none_or(|next| now >= next);
        let (before, new): (Vec<_>, Vec<_>) = due.into_iter().partition(|askable| self.answers(askable));
        let mut pause = || now + AT_TARGET.mul_f64(0.5 + random().clamp(0.0, 1.0));
        let (mut may_ask, mut may_ask_new) = (false, false);
        if is_time(self.next) && !before.is_empty() {
            (may_ask, self.next) = (true, Some(pause()));
        }
        if is_time(self.next_new) && !new.is_empty() {
            (may_ask_new, self.next_new) = (true, Some(pause()));
        }
        let mut chosen = of_each_group(before, usize::from(may_ask), random);
        chosen.extend(of_each_teller(new, &[], usize::from(may_ask_new), random));
        chosen
    }

    /// A question to the relay has ended. Whether it is the relay's fault that there was no
    /// answer: others answer, so it is not our own network that has failed.
    pub fn answered(&mut self, relay: &PeerIdentity, answer: Answer, now: Moment) -> bool {
        if answer == Answer::NotAsked {
            if let Some(asked) = self.asked.get_mut(relay) {
                asked.is_waiting = false;
            }
            return false;
        }
        let others_answer = self.answered.is_some_and(|at| now.since(at) < ALONE);
        if answer != Answer::None {
            self.answered = Some(now);
        }
        let Some(asked) = self.asked.get_mut(relay) else { return false };
        (asked.at, asked.is_waiting, asked.is_silent) = (now, false, answer == Answer::NotSpoken);
        asked.has_answered |= answer != Answer::None;
        match answer {
            Answer::None if others_answer => asked.failures = asked.failures.saturating_add(1),
            Answer::None => asked.failures = asked.failures.max(1),
            Answer::Given | Answer::NotSpoken | Answer::NotAsked => asked.failures = 0,
        }
        answer == Answer::None && others_answer
    }

    /// Whether each of these was asked and has answered, or will not.
    pub fn all_asked(&self, known: &[Askable]) -> bool {
        let was_asked = |asked: &Asked| !asked.is_waiting || asked.times > 1;
        known.iter().all(|askable| self.asked.get(&askable.relay).is_some_and(was_asked))
    }

    fn answers(&self, askable: &Askable) -> bool {
        self.asked.get(&askable.relay).is_some_and(|asked| asked.has_answered)
    }

    fn is_due(&self, askable: &Askable, now: Moment) -> bool {
        let Some(asked) = self.asked.get(&askable.relay) else { return true };
        !asked.is_waiting && now.since(asked.at) >= asked.pause(if askable.is_ours { &self.ours } else { &self.others })
    }

    /// Those that are not known are forgotten, but for those that must not be asked again soon: an
    /// identity that is told of again and again is one question in its back-off.
    fn forget(&mut self, known: &[Askable], now: Moment) {
        if self.asked.len() <= known.len() {
            return;
        }
        let keeps_all = self.asked.len() <= REMEMBERED;
        let known: HashSet<&PeerIdentity> = known.iter().map(|askable| &askable.relay).collect();
        self.asked.retain(|relay, asked| {
            let waits = keeps_all && asked.failures > 0 && now.since(asked.at) < asked.pause(&self.others);
            asked.is_waiting || waits || known.contains(relay)
        });
    }
}

impl Asked {
    fn new(at: Moment) -> Self {
        Self { at, times: 0, is_waiting: false, is_silent: false, failures: 0, has_answered: false, teller: None }
    }

    /// Until it may be asked again.
    fn pause(&self, cadence: &RetryCadence) -> Duration {
        if self.is_silent {
            return SILENT;
        }
        if self.failures == 0 {
            return self.times.checked_sub(1).and_then(|n| FIRST.get(n)).copied().unwrap_or(THEN);
        }
        cadence.delay(self.failures, 0.5).unwrap_or(THEN)
    }
}

fn of_each_group<'a>(relays: Vec<&'a Askable>, n: usize, random: Random<'_>) -> Vec<Chosen<'a>> {
    let drawn = if n == 0 { Vec::new() } else { spread(relays, |askable| &askable.group, n, random) };
    drawn.into_iter().map(|askable| (askable, None)).collect()
}

/// Who tells of many gets no more questions than who tells of one. Of several that tell of a
/// relay a random one counts.
fn of_each_teller<'a>(relays: Vec<&'a Askable>, under_way: &[&Asked], n: usize, random: Random<'_>) -> Vec<Chosen<'a>> {
    if n == 0 {
        return Vec::new();
    }
    let told = |askable: &'a Askable, random: Random<'_>| askable.tellers.get(below(askable.tellers.len(), random()));
    let mut counts: HashMap<Option<&PeerIdentity>, usize> = HashMap::new();
    under_way.iter().for_each(|asked| *counts.entry(asked.teller.as_ref()).or_default() += 1);
    let mut chosen: Vec<Chosen<'a>> = relays.into_iter().map(|askable| (askable, told(askable, random))).collect();
    chosen.retain(|(_, teller)| counts.get(teller).is_none_or(|count| *count < TO_NEW_OF_TELLER));
    let mut drawn = spread(chosen, |(_, teller)| *teller, n.saturating_mul(2), random);
    drawn.retain(|(_, teller)| {
        let count = counts.entry(*teller).or_default();
        *count += 1;
        *count <= TO_NEW_OF_TELLER
    });
    drawn.truncate(n);
    drawn
}

#[cfg(test)]
mod tests {
    use kaspath_domain::IpPrefix;

    use super::*;
    use crate::outbound::tests::{numbers, peer};

    fn at(seconds: u64) -> Moment {
        Moment::after_start(Duration::from_secs(seconds))
    }

    fn askable(n: u16, teller: Option<u16>) -> Askable {
        let [a, b] = n.to_be_bytes();
        let group = PeerGroup::Prefix(IpPrefix::provider_block([a + 1, b, 0, 1].into()));
        Askable { relay: peer(n), group, is_ours: teller.is_none(), tellers: teller.map(peer).into_iter().collect() }
    }

    #[test]
    fn a_relay_that_was_not_asked_for_want_of_a_place_has_not_answered() {
        let (mut questions, known) = (Questions::default(), [askable(1, Some(9))]);
        assert_eq!(questions.next(&known, true, at(0), &mut || 0.5), [peer(1)]);
        assert!(!questions.answered(&peer(1), Answer::NotAsked, at(0)));
        assert!(!questions.answers(&known[0]) && questions.answered.is_none());
        assert_eq!(questions.next(&known, true, at(5), &mut || 0.5), [peer(1)]);
    }

    #[test]
    fn a_relay_is_asked_soon_again_at_first_then_each_half_minute_and_rarely_once_none_is_missing() {
        let (relays, mut random) = ([1, 2, 3, 4, 5].map(|n| askable(n, Some(9))), numbers(3));
        let mut questions = Questions::default();
        let first = questions.next(&relays, true, at(0), &mut random);
        assert_eq!(first.len(), 3, "of one teller");
        assert!(questions.next(&relays, true, at(1), &mut random).is_empty() && !questions.all_asked(&relays));
        for relay in &first {
            questions.answered(relay, Answer::Given, at(1));
        }
        let last = questions.next(&relays, true, at(1), &mut random);
        assert!(last.len() == 2 && last.iter().all(|relay| !first.contains(relay)));
        for relay in &last {
            questions.answered(relay, Answer::Given, at(1));
        }
        assert!(questions.all_asked(&relays));
        let one = &relays[relays.iter().position(|one| one.relay == first[0]).unwrap()..][..1];
        let mut times = Vec::new();
        for second in 2..120 {
            if !questions.next(one, true, at(second), &mut random).is_empty() {
                questions.answered(&one[0].relay, Answer::Given, at(second));
                times.push(second);
            }
        }
        assert_eq!(times, [3, 7, 15, 45, 75, 105]);
        let mut asked = 0;
        for second in 120..3720 {
            for relay in questions.next(one, false, at(second), &mut random) {
                questions.answered(&relay, Answer::Given, at(second));
                asked += 1;
            }
        }
        assert!((50..75).contains(&asked), "about one a minute: {asked}");
    }

    /// Runs for an hour: relay 0 is ours, 1 to 9 were told of by it and answer, and a hostile
    /// one tells of 200 others each minute, which never do, and take 15 s each. When each
    /// relay that answers was asked.
    fn flooded(is_wanting: bool) -> HashMap<PeerIdentity, Vec<u64>> {
        let (mut questions, mut random) = (Questions::default(), numbers(8));
        let honest: Vec<Askable> = (0..10).map(|n| askable(n, (n > 0).then_some(0))).collect();
        let mut hanging: Vec<(u64, PeerIdentity)> = Vec::new();
        let mut asked: HashMap<PeerIdentity, Vec<u64>> = HashMap::new();
        for second in 0..3600 {
            let first = 100 + u16::try_from(second / 60).unwrap() * 200;
            let fresh = (first..first + 200).map(|n| askable(n, Some(50)));
            let known: Vec<Askable> = honest.iter().cloned().chain(fresh).collect();
            hanging.retain(|(since, relay)| {
                let hangs = second < since + 15;
                if !hangs {
                    questions.answered(relay, Answer::None, at(second));
                }
                hangs
            });
            for relay in questions.next(&known, is_wanting, at(second), &mut random) {
                if honest.iter().any(|honest| honest.relay == relay) {
                    questions.answered(&relay, Answer::Given, at(second));
                    asked.entry(relay).or_default().push(second);
                } else {
                    hanging.push((second, relay));
                }
            }
            assert!(hanging.len() <= TO_OTHERS && questions.asked.len() <= REMEMBERED + known.len());
        }
        asked
    }

    #[test]
    fn two_hundred_silent_relays_a_minute_keep_no_other_from_being_asked() {
        let asked = flooded(true);
        let longest = |n: u16| asked[&peer(n)].windows(2).map(|two| two[1] - two[0]).max().unwrap();
        assert!(longest(0) <= 31, "ours: {}", longest(0));
        assert!((1..10).all(|n| longest(n) <= 60), "{asked:?}");
    }

    #[test]
    fn once_no_peer_is_missing_silent_relays_take_no_question_from_those_that_answer() {
        let asked = flooded(false);
        let count: usize = asked.values().map(Vec::len).sum();
        assert!(count > 50 && asked.len() == 10, "one a minute, and each of them: {count} {}", asked.len());
    }

    #[test]
    fn a_silent_relay_is_asked_ever_later_but_not_in_an_outage_of_our_own() {
        let (mut questions, mut random) = (Questions::default(), numbers(8));
        let (ours, other) = (askable(0, None), askable(1, Some(0)));
        let known = [ours.clone(), other.clone()];
        let (mut times, mut back): (Vec<u64>, Option<u64>) = (Vec::new(), None);
        for second in 0..4000 {
            for relay in questions.next(&known, true, at(second), &mut random) {
                // Nobody is reached for a quarter of an hour from here on.
                let answers = relay == ours.relay && !(3000..3900).contains(&second);
                let answer = if answers { Answer::Given } else { Answer::None };
                let is_at_fault = questions.answered(&relay, answer, at(second));
                assert!(!is_at_fault || relay == other.relay || second < 3120, "{second}");
                if relay == other.relay {
                    times.push(second);
                } else if second >= 3900 {
                    back.get_or_insert(second);
                }
            }
        }
        assert_eq!(times, [0, 30, 150, 750]);
        assert!(back.is_some_and(|second| second <= 3960), "{back:?}");
    }

    #[test]
    fn groups_are_asked_as_often_as_each_other_however_many_relays_they_have() {
        let (mut questions, mut random) = (Questions::default(), numbers(8));
        let crowd = askable(1, Some(0)).group;
        let known: Vec<Askable> = (1..40)
            .map(|n| askable(n, Some(0)))
            .map(|one| Askable { group: if one.relay < peer(39) { crowd.clone() } else { one.group }, ..one })
            .collect();
        let mut of_the_small = 0;
        for second in 0..36_000 {
            for relay in questions.next(&known, second < 100, at(second), &mut random) {
                questions.answered(&relay, Answer::Given, at(second));
                of_the_small += usize::from(relay == peer(39) && second > 100);
            }
        }
        assert!((240..360).contains(&of_the_small), "half of 600: {of_the_small}");
    }
}
