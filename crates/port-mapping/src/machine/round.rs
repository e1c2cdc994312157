//! One round: all methods are asked at once, and the best that answers wins.

use std::{collections::BTreeMap, time::Duration};

use kaspath_domain::{MapMethod, Moment};

use super::io::Answer;

/// How long a better method is waited for. Its requests are sent twice within that time.
const UDP_PATIENCE: Duration = Duration::from_millis(500);
/// The same for IGD: a search, a description, and its round trips over TCP.
pub(crate) const IGD_PATIENCE: Duration = Duration::from_secs(1);

#[derive(Debug)]
enum State {
    Asking,
    Found,
    Failed(String),
}

/// What is to follow.
pub(super) enum Progress {
    /// Nothing yet.
    Waiting,
    /// All ports are to be mapped by that method.
    Chosen(MapMethod),
    /// It is over; so many ports are mapped, or none, for that reason.
    Done { mapped: usize, cause: String },
}

#[derive(Debug)]
pub(super) struct Round {
    pub(super) number: u64,
    began: Moment,
    states: BTreeMap<MapMethod, State>,
    chosen: Option<MapMethod>,
    /// Answers of PCP, and of the chosen method, that are still to come.
    waiting: usize,
    requests: usize,
    mapped: usize,
    cause: Option<String>,
}

impl Round {
    pub(super) fn new(number: u64, methods: &[MapMethod], requests: usize, now: Moment) -> Self {
        let states = methods.iter().map(|method| (*method, State::Asking)).collect();
        Self { number, began: now, states, chosen: None, waiting: requests, requests, mapped: 0, cause: None }
    }

    fn patience(by: MapMethod) -> Duration {
        if by == MapMethod::Igd { IGD_PATIENCE } else { UDP_PATIENCE }
    }

    /// When to step, though no answer has come.
    pub(super) fn deadline(&self) -> Option<Moment> {
        let asking = self.states.iter().filter(|(_, state)| matches!(state, State::Asking));
        asking.map(|(by, _)| self.began + Self::patience(*by)).min().filter(|_| self.chosen.is_none())
    }

    /// Whether a mapping by that method is still of use.
    pub(super) fn takes(&self, by: MapMethod) -> bool {
        match self.chosen {
            Some(chosen) => chosen == by,
            None => by == MapMethod::Pcp && matches!(self.states.get(&by), Some(State::Asking)),
        }
    }

    /// The router speaks that method, or does not.
    pub(super) fn found(&mut self, by: MapMethod, answer: Answer) {
        let state = match answer {
            Answer::Found => State::Found,
            Answer::Failed(cause) => State::Failed(cause),
            Answer::Mapped(_) | Answer::Removed => State::Failed("an answer to another question".to_owned()),
        };
        self.states.insert(by, state);
    }

    /// A port was mapped by that method, or was not.
    pub(super) fn mapped(&mut self, by: MapMethod, result: Result<(), String>) {
        if !self.takes(by) {
            return;
        }
        self.waiting = self.waiting.saturating_sub(1);
        match result {
            Ok(()) => {
                self.mapped += 1;
                self.chosen = Some(by);
            }
            Err(cause) => self.cause = Some(cause),
        }
        if self.waiting == 0 && self.mapped == 0 {
            self.chosen = None;
            self.states.insert(by, State::Failed(self.cause.take().unwrap_or_default()));
        }
    }

    pub(super) fn step(&mut self, now: Moment) -> Progress {
        if self.chosen.is_some() {
            return match self.waiting {
                0 => Progress::Done { mapped: self.mapped, cause: String::new() },
                _ => Progress::Waiting,
            };
        }
        for (by, state) in &mut self.states {
            match state {
                State::Asking if now < self.began + Self::patience(*by) => return Progress::Waiting,
                State::Asking => *state = State::Failed("no answer".to_owned()),
                State::Failed(_) => {}
                State::Found => {
                    self.chosen = Some(*by);
                    self.waiting = self.requests;
                    return Progress::Chosen(*by);
                }
            }
        }
        Progress::Done { mapped: 0, cause: self.cause() }
    }

    fn cause(&self) -> String {
        let cause = |(by, state): (&MapMethod, &State)| match state {
            State::Failed(cause) => Some(format!("{by}: {cause}")),
            State::Asking | State::Found => None,
        };
        self.states.iter().filter_map(cause).collect::<Vec<_>>().join("; ")
    }
}
