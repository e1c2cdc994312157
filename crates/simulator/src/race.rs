//! A plan in virtual time, by the executor's rules.

use std::time::Duration;

use kaspath_domain::{Attempt, AttemptOutcome, DialError, DialPlan, Moment, Path, TransportPolicy};
use rand::Rng;

use crate::{population::Population, world::Pair};

struct Running {
    attempt: Attempt,
    since: Duration,
    ends: Duration,
    result: Result<Path, DialError>,
}

/// Runs a plan; when it gave a stream and over what path, or when it had failed.
/// The policy is told of every outcome, as the executor tells it.
pub(crate) fn run(
    plan: DialPlan,
    policy: &dyn TransportPolicy,
    pair: &Pair,
    world: &Population,
    begin: Moment,
    random: &mut impl Rng,
) -> (Duration, Option<Path>) {
    let mut now = Duration::ZERO;
    for stage in plan.stages {
        let stage_begin = now;
        let mut waiting = stage.attempts.into_iter().peekable();
        let mut running: Vec<Running> = Vec::new();
        loop {
            let next_start = waiting.peek().map(|attempt| stage_begin + attempt.start_after);
            let first_end = running.iter().map(|running| running.ends).min();
            let starts = match (next_start, first_end) {
                (None, None) => break,
                // With nothing under way the next attempt need not wait for its turn.
                (Some(_), None) => Some(now),
                (Some(start), Some(end)) => (start < end).then_some(start.max(now)),
                (None, Some(_)) => None,
            };
            if let (Some(start), Some(attempt)) = (starts, starts.and_then(|_| waiting.next())) {
                now = start;
                let (takes, result) = pair.attempt(&attempt.request.route, attempt.request.deadline, world, random);
                running.push(Running { attempt, since: now, ends: now + takes, result });
                continue;
            }
            let Some(index) = (0..running.len()).min_by_key(|index| running[*index].ends) else { break };
            let ended = running.swap_remove(index);
            now = ended.ends;
            let won = ended.result.clone().ok();
            tell(policy, ended, now, begin, |result| result);
            if let Some(path) = won {
                for loser in running {
                    tell(policy, loser, now, begin, |_| Err(DialError::Overtaken));
                }
                return (now, Some(path));
            }
        }
    }
    (now, None)
}

fn tell(
    policy: &dyn TransportPolicy,
    running: Running,
    now: Duration,
    begin: Moment,
    result: impl Fn(Result<Path, DialError>) -> Result<Path, DialError>,
) {
    let request = running.attempt.request;
    let outcome =
        AttemptOutcome { peer: request.peer, route: request.route, result: result(running.result), elapsed: now - running.since };
    policy.observe(&outcome, begin + now);
}
