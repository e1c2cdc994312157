//! A plan being run: which attempt starts when, and which one wins. Pure.

use std::{collections::VecDeque, vec};

use kaspath_domain::{Attempt, AttemptOutcome, DialError, DialPlan, DialRequest, Moment, Path, Stage};

/// Names an attempt of one race.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct AttemptId(usize);

/// What is to be done next.
#[derive(Debug)]
pub enum Step {
    /// Begin this dial now.
    Start(AttemptId, DialRequest),
    /// Wait for an attempt to end, or for that moment.
    Wait(Option<Moment>),
    /// Nothing is under way, and nothing is left to try.
    Over,
}

struct Running {
    id: AttemptId,
    request: DialRequest,
    since: Moment,
}

/// Stages one after the other; within a stage attempts start one after the other, and at once if
/// nothing is under way. The first stream wins. Whoever runs the race carries out each
/// [`Step`] and reports how the attempts end.
pub struct Race {
    stages: vec::IntoIter<Stage>,
    /// When the current stage began.
    began: Moment,
    waiting: VecDeque<Attempt>,
    running: Vec<Running>,
    started: usize,
}

impl Race {
    /// Of that plan's attempts.
    pub fn new(plan: DialPlan) -> Self {
        let stages = plan.stages.into_iter();
        Self { stages, began: Moment::default(), waiting: VecDeque::new(), running: Vec::new(), started: 0 }
    }

    /// What is to be done now. To be asked again once it is done.
    pub fn step(&mut self, now: Moment) -> Step {
        while self.waiting.is_empty() && self.running.is_empty() {
            let Some(stage) = self.stages.next() else { return Step::Over };
            (self.began, self.waiting) = (now, stage.attempts.into());
        }
        let due = self.waiting.front().map(|attempt| self.began + attempt.start_after);
        // With nothing under way the next attempt need not wait for its turn.
        if due.is_some_and(|due| due > now) && !self.running.is_empty() {
            return Step::Wait(due);
        }
        let Some(Attempt { request, .. }) = self.waiting.pop_front() else { return Step::Wait(None) };
        let id = AttemptId(self.started);
        self.started += 1;
        self.running.push(Running { id, request: request.clone(), since: now });
        Step::Start(id, request)
    }

    /// An attempt has ended so. Returns its outcome; if it won, also those of the
    /// attempts under way, which are to be cancelled, and the race is over. An attempt
    /// that is not under way changes nothing.
    pub fn ended(&mut self, id: AttemptId, result: Result<Path, DialError>, now: Moment) -> Vec<AttemptOutcome> {
        let Some(index) = self.running.iter().position(|running| running.id == id) else { return Vec::new() };
        let outcome = |Running { request, since, .. }: Running, result| AttemptOutcome {
            peer: request.peer,
            route: request.route,
            result,
            elapsed: now.since(since),
        };
        let won = result.is_ok();
        let mut outcomes = vec![outcome(self.running.remove(index), result)];
        if won {
            outcomes.extend(self.running.drain(..).map(|running| outcome(running, Err(DialError::Overtaken))));
            self.waiting.clear();
            self.stages = Vec::new().into_iter();
        }
        outcomes
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use kaspath_domain::{Route, Transport, TransportAddress};
    use proptest::prelude::*;

    use super::*;

    fn at(millis: u64) -> Moment {
        Moment::after_start(Duration::from_millis(millis))
    }

    fn attempt(port: u16, start_after: u64) -> Attempt {
        let route = Route::Direct(TransportAddress::tcp(([192, 0, 2, 1], port).into()));
        let request = DialRequest { peer: None, route, timeout: Duration::from_secs(5) };
        Attempt { request, start_after: Duration::from_millis(start_after) }
    }

    fn race(stages: &[&[Attempt]]) -> Race {
        Race::new(DialPlan { stages: stages.iter().map(|attempts| Stage { attempts: attempts.to_vec() }).collect() })
    }

    fn start(race: &mut Race, now: u64) -> AttemptId {
        match race.step(at(now)) {
            Step::Start(id, _) => id,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn attempts_are_staggered_and_the_winner_overtakes_the_rest() {
        let mut race = race(&[&[attempt(1, 0), attempt(2, 250), attempt(3, 500)], &[attempt(4, 0)]]);
        let first = start(&mut race, 1_000);
        assert!(matches!(race.step(at(1_100)), Step::Wait(Some(until)) if until == at(1_250)));
        let second = start(&mut race, 1_250);
        let outcomes = race.ended(second, Ok(Path::Direct { transport: Transport::Tcp }), at(1_400));
        assert_eq!(outcomes.iter().map(|outcome| outcome.elapsed.as_millis()).collect::<Vec<_>>(), [150, 400]);
        assert_eq!(outcomes[1].result, Err(DialError::Overtaken));
        assert!(race.ended(first, Err(DialError::ShuttingDown), at(1_500)).is_empty(), "a late answer is nobody's");
        assert!(matches!(race.step(at(9_000)), Step::Over));
    }

    #[test]
    fn a_failure_starts_the_next_attempt_at_once_and_then_the_next_stage() {
        let mut race = race(&[&[attempt(1, 0), attempt(2, 5_000)], &[], &[attempt(3, 0)]]);
        for now in [0, 10, 20] {
            let id = start(&mut race, now);
            assert_eq!(race.ended(id, Err(DialError::ShuttingDown), at(now + 10)).len(), 1);
        }
        assert!(matches!(race.step(at(30)), Step::Over));
    }

    proptest! {
        /// However attempts end, each is started once and has one outcome, in order
        /// of the stages, until one wins.
        #[test]
        fn every_attempt_has_one_outcome(
            sizes in proptest::collection::vec(0..4usize, 0..4),
            ends in proptest::collection::vec((any::<prop::sample::Index>(), 0..20u8, 0..400u64), 0..40),
        ) {
            let stages = sizes.iter().map(|size| Stage { attempts: (0..*size).map(|n| attempt(1, 250 * n as u64)).collect() });
            let total: usize = sizes.iter().sum();
            let mut race = Race::new(DialPlan { stages: stages.collect() });
            let (mut now, mut running, mut outcomes, mut won) = (0, Vec::new(), 0, false);
            for (which, luck, later) in ends {
                loop {
                    match race.step(at(now)) {
                        Step::Start(id, _) => running.push(id),
                        Step::Wait(_) => break,
                        Step::Over => {
                            prop_assert!(running.is_empty() && (won || outcomes == total));
                            return Ok(());
                        }
                    }
                }
                now += later;
                let id = running.swap_remove(which.index(running.len()));
                won = luck == 0;
                let result = if won { Ok(Path::Direct { transport: Transport::Tcp }) } else { Err(DialError::ShuttingDown) };
                let ended = race.ended(id, result, at(now)).len();
                prop_assert_eq!(ended, if won { running.len() + 1 } else { 1 });
                outcomes += ended;
                if won {
                    running.clear();
                }
                prop_assert!(outcomes <= total);
            }
        }
    }
}
