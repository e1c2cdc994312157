//! A plan in virtual time: the executor's own race.

use std::time::Duration;

use kaspath_domain::{AttemptOutcome, DialError, DialPlan, Moment, Path};
use kaspath_policy::{AttemptId, Race, Step};
use rand::Rng;

use crate::{population::Population, world::Pair};

struct Running {
    id: AttemptId,
    ends: Moment,
    result: Result<Path, DialError>,
}

/// Runs a plan; when it gave a stream and over what path, or when it had failed.
/// `observe` is called with every outcome and its moment.
pub(crate) fn run(
    plan: DialPlan,
    mut observe: impl FnMut(&AttemptOutcome, Moment),
    pair: &Pair,
    world: &Population,
    begin: Moment,
    random: &mut impl Rng,
) -> (Duration, Option<Path>) {
    let (mut race, mut running, mut now) = (Race::new(plan), Vec::<Running>::new(), begin);
    loop {
        let due = match race.step(now) {
            Step::Start(id, request) => {
                let (takes, result) = pair.attempt(&request.route, request.timeout, world, random);
                running.push(Running { id, ends: now + takes, result });
                continue;
            }
            Step::Wait(due) => due,
            Step::Over => return (now.since(begin), None),
        };
        let Some(index) = (0..running.len()).min_by_key(|index| running[*index].ends) else { return (now.since(begin), None) };
        if let Some(due) = due.filter(|due| *due < running[index].ends) {
            now = due;
            continue;
        }
        let Running { id, ends, result } = running.swap_remove(index);
        now = ends;
        let won = result.clone().ok();
        race.ended(id, result, now).iter().for_each(|outcome| observe(outcome, now));
        if won.is_some() {
            return (now.since(begin), won);
        }
    }
}
