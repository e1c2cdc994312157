//! When to punch, as a pure state machine: time and chance are parameters.

use std::time::Duration;

use kaspath_domain::{Moment, RetryCadence};

/// An attempt that has given no connection by then has failed: longer than the
/// swarm's connection timeout, so that no two attempts compete for a port.
pub(super) const ATTEMPT_TIMEOUT: Duration = Duration::from_millis(10_500);

#[derive(Debug, Clone, PartialEq)]
enum State {
    /// Punch when the time has come.
    Due(Moment),
    /// Under way; failed if nothing has come of it by then.
    Running { until: Moment },
    /// Never again.
    Exhausted,
}

/// The punches over one relayed connection.
#[derive(Debug)]
pub(super) struct Schedule {
    cadence: RetryCadence,
    state: State,
    attempts: u32,
    failures: u32,
    /// When the relayed connection came up.
    since: Moment,
}

/// What is to be done now.
#[derive(Debug, PartialEq)]
pub(super) enum Step {
    Start { attempt: u32 },
    TimedOut,
    Nothing,
}

impl Schedule {
    pub(super) fn new(cadence: RetryCadence, now: Moment) -> Self {
        Self { cadence, state: State::Due(now), attempts: 0, failures: 0, since: now }
    }

    /// One that only waits for the peer to punch.
    pub(super) fn passive(now: Moment) -> Self {
        Self { cadence: RetryCadence::never(), state: State::Exhausted, attempts: 0, failures: 0, since: now }
    }

    pub(super) fn since(&self) -> Moment {
        self.since
    }

    /// Whether an attempt is under way.
    pub(super) fn is_running(&self) -> bool {
        matches!(self.state, State::Running { .. })
    }

    pub(super) fn attempts(&self) -> u32 {
        self.attempts
    }

    /// When to call [`Schedule::step`] next.
    pub(super) fn deadline(&self) -> Option<Moment> {
        match self.state {
            State::Due(at) | State::Running { until: at } => Some(at),
            State::Exhausted => None,
        }
    }

    pub(super) fn step(&mut self, now: Moment) -> Step {
        match self.state {
            State::Due(at) if at <= now => {
                self.attempts += 1;
                self.state = State::Running { until: now + ATTEMPT_TIMEOUT };
                Step::Start { attempt: self.attempts }
            }
            State::Running { until } if until <= now => Step::TimedOut,
            _ => Step::Nothing,
        }
    }

    /// Punch now, unless a punch is under way.
    pub(super) fn hurry(&mut self, now: Moment) {
        if !matches!(self.state, State::Running { .. }) {
            self.state = State::Due(now);
        }
    }

    /// The peer's punch has come to dialling, which is an attempt too.
    pub(super) fn peer_punches(&mut self, now: Moment) {
        self.attempts += 1;
        self.state = State::Running { until: now + ATTEMPT_TIMEOUT };
    }

    /// Both sides dial now: from here an attempt's time runs.
    pub(super) fn dialing(&mut self, now: Moment) {
        if let State::Running { until } = &mut self.state {
            *until = now + ATTEMPT_TIMEOUT;
        }
    }

    /// An attempt has failed; when the next one is due, if ever.
    pub(super) fn failed(&mut self, now: Moment, random: f64) -> Option<Moment> {
        self.failures += 1;
        let next = self.cadence.delay(self.failures, random).map(|delay| now + delay);
        self.state = next.map_or(State::Exhausted, State::Due);
        next
    }

    /// Attempts that failed.
    pub(super) fn failures(&self) -> u32 {
        self.failures
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn at(millis: u64) -> Moment {
        Moment::after_start(Duration::from_millis(millis))
    }

    #[test]
    fn failures_follow_the_cadence() {
        let cadence = RetryCadence { delays: vec![Duration::from_secs(2)], then: None, jitter: 0.0 };
        let mut schedule = Schedule::new(cadence, at(0));
        assert_eq!(schedule.step(at(0)), Step::Start { attempt: 1 });
        assert_eq!(schedule.step(at(5_000)), Step::Nothing);
        schedule.dialing(at(1_000));
        assert_eq!(schedule.step(at(11_499)), Step::Nothing);
        assert_eq!(schedule.step(at(11_500)), Step::TimedOut);
        assert_eq!(schedule.failed(at(11_500), 0.5), Some(at(13_500)));
        assert_eq!(schedule.failures(), 1);
        assert_eq!(schedule.step(at(13_500)), Step::Start { attempt: 2 });
        assert_eq!(schedule.failed(at(20_000), 0.5), None);
        assert_eq!((schedule.step(at(99_999)), schedule.deadline()), (Step::Nothing, None));
    }

    #[test]
    fn a_peers_punch_that_comes_to_nothing_is_a_failure_here_too() {
        let mut schedule = Schedule::passive(at(0));
        assert_eq!(schedule.deadline(), None);
        schedule.peer_punches(at(1_000));
        assert_eq!(schedule.step(at(11_500)), Step::TimedOut);
        assert_eq!(schedule.failed(at(11_500), 0.5), None);
        assert_eq!((schedule.attempts(), schedule.failures()), (1, 1));
    }

    #[test]
    fn hurry_does_not_disturb_a_running_punch() {
        let mut schedule = Schedule::passive(at(0));
        schedule.hurry(at(10));
        assert_eq!(schedule.step(at(10)), Step::Start { attempt: 1 });
        schedule.hurry(at(20));
        assert_eq!(schedule.step(at(20)), Step::Nothing);
    }
}
