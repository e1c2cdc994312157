//! What is asked of the router, when, and what its answers mean: a machine without I/O.
//!
//! There are two activities. A *round* asks by every method at once, takes the best that
//! answers, and maps every port by it; there is one at the start, and whenever the router
//! may have forgotten us. A *renewal* asks again for one mapping, by the method that made it.

mod answers;
mod io;
mod round;
#[cfg(test)]
mod tests;

use std::{
    collections::{BTreeMap, VecDeque},
    time::Duration,
};

use kaspath_domain::{MapMethod, MapRequest, Mapped, MappingEvent, Moment};

use self::round::{Progress, Round};
pub(crate) use self::{
    io::{Answer, Ask, AskId, Granted, Input, Output},
    round::IGD_PATIENCE,
};
use crate::{epoch::Epoch, route::Route};

/// Ports that are mapped at most; more are left out.
const MAX_REQUESTS: usize = 8;
/// A mapping is renewed after half of its lifetime, or after this time: a router that
/// has lost it says nothing by itself.
const LONGEST_TRUST: Duration = Duration::from_secs(600);
/// Least time between the beginnings of two rounds.
const ROUND_GAP: Duration = Duration::from_secs(1);
/// The same for a mere suspicion; and where the router has not mapped anything.
const SUSPICION_GAP: Duration = Duration::from_secs(2);
const VAIN_GAP: Duration = Duration::from_secs(10);
/// A router that has mapped ports is asked again so often while it is silent: it restarts.
const RESTART: (u32, Duration) = (30, Duration::from_secs(1));
/// Then, and where no router has mapped anything, after these times; the last one for ever.
const RETRIES: [Duration; 4] =
    [Duration::from_secs(5), Duration::from_secs(30), Duration::from_secs(300), Duration::from_secs(600)];

/// A mapping that stands, as far as is known.
#[derive(Debug)]
struct Held {
    mapped: Mapped,
    ends: Moment,
    renew_at: Moment,
}

/// What an ask is for. An answer to an ask that is not known is late, and changes nothing
/// but that a mapping is removed again.
#[derive(Debug)]
enum Pending {
    Find { round: u64, by: MapMethod },
    Map { round: Option<u64>, by: MapMethod, request: MapRequest },
    Remove,
}

pub(crate) struct Machine {
    requests: Vec<MapRequest>,
    methods: Vec<MapMethod>,
    now: Moment,
    route: Option<Route>,
    /// The same, or what it was before there was none.
    last_route: Option<Route>,
    held: BTreeMap<MapRequest, Held>,
    /// The port outside of all that the router was ever had to map, and not to forget: another
    /// method may have taken its place since.
    made: BTreeMap<(MapMethod, MapRequest), u16>,
    round: Option<Round>,
    rounds: u64,
    /// When the next round is to begin.
    wanted: Option<Moment>,
    last_round: Option<Moment>,
    /// Rounds in a row that mapped nothing.
    failures: u32,
    /// This router has mapped a port.
    has_mapped: bool,
    /// [`MappingEvent::Unavailable`] was said, and nothing has been mapped since.
    is_said: bool,
    epochs: BTreeMap<MapMethod, Epoch>,
    /// The router has restarted, and the round that maps everything anew is not over.
    has_restarted: bool,
    asks: BTreeMap<AskId, Pending>,
    last_ask: u64,
    is_stopping: bool,
    outputs: VecDeque<Output>,
}

impl Machine {
    /// For these ports, by these methods.
    pub(crate) fn new(mut requests: Vec<MapRequest>, mut methods: Vec<MapMethod>) -> Self {
        requests.truncate(MAX_REQUESTS);
        methods.sort_unstable();
        methods.dedup();
        Self {
            requests,
            methods,
            now: Moment::default(),
            route: None,
            last_route: None,
            held: BTreeMap::new(),
            made: BTreeMap::new(),
            round: None,
            rounds: 0,
            wanted: None,
            last_round: None,
            failures: 0,
            has_mapped: false,
            is_said: false,
            epochs: BTreeMap::new(),
            has_restarted: false,
            asks: BTreeMap::new(),
            last_ask: 0,
            is_stopping: false,
            outputs: VecDeque::new(),
        }
    }

    /// What is to be done next, until there is nothing.
    pub(crate) fn poll(&mut self) -> Option<Output> {
        self.outputs.pop_front()
    }

    /// When to come with [`Input::Elapsed`], if nothing else comes before.
    pub(crate) fn deadline(&self) -> Option<Moment> {
        if self.is_stopping {
            return None;
        }
        let round = match &self.round {
            Some(round) => round.deadline(),
            // Without a route nothing is asked.
            None => self.route.and(self.wanted),
        };
        let held = self.held.values().map(|held| if self.is_free() { held.renew_at.min(held.ends) } else { held.ends });
        round.into_iter().chain(held).min()
    }

    /// Takes what happened. `now` never goes back.
    pub(crate) fn handle(&mut self, input: Input, now: Moment) {
        self.now = now;
        match input {
            Input::Route(route) => self.routed(route),
            Input::Answer { ask, answer } => self.answered(ask, answer),
            Input::Hint { from } => {
                if self.route.is_some_and(|route| route.gateway == from) {
                    self.want(ROUND_GAP);
                }
            }
            Input::Suspect => self.want(if self.has_mapped { SUSPICION_GAP } else { VAIN_GAP }),
            Input::Elapsed => {}
            Input::Stop => self.stop(),
        }
        if !self.is_stopping {
            self.step();
        } else if self.asks.is_empty() {
            self.outputs.push_back(Output::Stopped);
        }
    }

    /// Whether mappings may be renewed now.
    fn is_free(&self) -> bool {
        self.round.is_none() && self.route.is_some()
    }

    /// A round is to begin soon, and this long after the last one.
    fn want(&mut self, gap: Duration) {
        self.want_at(self.last_round.map_or(self.now, |last| self.now.max(last + gap)));
    }

    fn want_at(&mut self, at: Moment) {
        self.wanted = Some(self.wanted.map_or(at, |wanted| wanted.min(at)));
    }

    fn routed(&mut self, route: Option<Route>) {
        let Some(route) = route else {
            // A cable may come back; what is mapped stands until it ends.
            self.route = None;
            self.round = None;
            if self.last_route.is_none() {
                self.is_unavailable("this host has no default gateway of IPv4 that is known".to_owned());
            }
            return;
        };
        if self.route.replace(route) == Some(route) {
            return;
        }
        if self.last_route.replace(route) != Some(route) {
            // Another network: what the last router maps leads elsewhere.
            self.round = None;
            self.asks.clear();
            self.made.clear();
            self.failures = 0;
            self.has_mapped = false;
            self.is_said = false;
            self.epochs.clear();
            self.has_restarted = false;
            let requests: Vec<MapRequest> = self.held.keys().copied().collect();
            requests.into_iter().for_each(|request| self.lose(request, "this host's network has changed"));
        }
        self.last_round = None;
        self.want(Duration::ZERO);
    }

    fn stop(&mut self) {
        self.is_stopping = true;
        self.round = None;
        self.asks.retain(|_, pending| !matches!(pending, Pending::Find { .. }));
        self.held.clear();
        for ((by, request), external) in self.made.clone() {
            self.remove(by, request, external);
        }
    }

    fn ask(&mut self, ask: Ask, pending: Pending) {
        let Some(route) = self.route else { return };
        self.last_ask += 1;
        let id = AskId(self.last_ask);
        self.asks.insert(id, pending);
        self.outputs.push_back(Output::Ask { id, ask, route });
    }

    fn map(&mut self, round: Option<u64>, by: MapMethod, request: MapRequest) {
        // The port that we had is asked for again: peers know it.
        let port = self.held.get(&request).map_or(request.port, |held| held.mapped.external.port());
        self.ask(Ask::Map { by, request, port }, Pending::Map { round, by, request });
    }

    fn remove(&mut self, by: MapMethod, request: MapRequest, external: u16) {
        if self.made.get(&(by, request)) == Some(&external) {
            self.made.remove(&(by, request));
        }
        self.ask(Ask::Remove { by, request, external }, Pending::Remove);
    }

    fn event(&mut self, event: MappingEvent) {
        self.outputs.push_back(Output::Event(event));
    }

    fn lose(&mut self, request: MapRequest, cause: &str) {
        if let Some(held) = self.held.remove(&request) {
            self.event(MappingEvent::Lost { mapped: held.mapped, cause: cause.to_owned() });
        }
    }

    /// Does what is due.
    fn step(&mut self) {
        let now = self.now;
        let ended: Vec<MapRequest> = self.held.values().filter(|held| held.ends <= now).map(|held| held.mapped.request).collect();
        ended.into_iter().for_each(|request| self.lose(request, "the router did not renew it in time"));
        self.step_round();
        if !self.is_free() {
            return;
        }
        if self.wanted.is_some_and(|wanted| wanted <= now) {
            return self.begin_round();
        }
        let due: Vec<Mapped> = self.held.values().filter(|held| held.renew_at <= now).map(|held| held.mapped.clone()).collect();
        for Mapped { by, request, .. } in due {
            if let Some(held) = self.held.get_mut(&request) {
                // Again after that time if no answer comes at all.
                held.renew_at = now + LONGEST_TRUST;
            }
            self.map(None, by, request);
        }
    }

    fn begin_round(&mut self) {
        self.rounds += 1;
        let number = self.rounds;
        self.wanted = None;
        self.last_round = Some(self.now);
        self.round = Some(Round::new(number, &self.methods, self.requests.len(), self.now));
        for by in self.methods.clone() {
            match by {
                // Its first request is its discovery.
                MapMethod::Pcp => self.map_all(number, by),
                MapMethod::NatPmp | MapMethod::Igd => self.ask(Ask::Find(by), Pending::Find { round: number, by }),
            }
        }
        self.step_round();
    }

    fn map_all(&mut self, round: u64, by: MapMethod) {
        self.requests.clone().into_iter().for_each(|request| self.map(Some(round), by, request));
    }

    fn step_round(&mut self) {
        while let Some(round) = &mut self.round {
            match round.step(self.now) {
                Progress::Waiting => return,
                Progress::Chosen(by) => {
                    let number = round.number;
                    self.map_all(number, by);
                    return;
                }
                Progress::Done { mapped, cause } => {
                    self.round = None;
                    self.round_ended(mapped, cause);
                }
            }
        }
    }

    fn round_ended(&mut self, mapped: usize, cause: String) {
        self.has_restarted = false;
        if mapped > 0 {
            self.failures = 0;
            if mapped < self.requests.len() {
                self.retry(RETRIES[2]);
            }
            return;
        }
        self.failures += 1;
        let (restarts, soon) = RESTART;
        let after = match self.failures.checked_sub(if self.has_mapped { restarts } else { 0 } + 1) {
            None => soon,
            Some(index) => RETRIES[(index as usize).min(RETRIES.len() - 1)],
        };
        self.retry(after);
        self.is_unavailable(cause);
    }

    /// Says so, once.
    fn is_unavailable(&mut self, cause: String) {
        if self.held.is_empty() && !std::mem::replace(&mut self.is_said, true) {
            self.event(MappingEvent::Unavailable { cause });
        }
    }

    /// A round is to begin after that time, unless one is wanted sooner.
    fn retry(&mut self, after: Duration) {
        self.want_at(self.now + after);
    }
}
