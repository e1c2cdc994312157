//! What relays say on streams of the relay protocol: whether we may reserve, that they
//! drain, and which peers come from where we do.
//!
//! There is one such stream on each link to a relay. A reservation waits for the relay's
//! answer; a relay that gives none, or does not speak the protocol, is asked anyway.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use kaspath_domain::{PeerIdentity, RelayReason};

use super::{
    connections::ConnId,
    io::{OperationId, Output, RelaySays},
    shared::{Shared, Signal},
};
use crate::NetworkEvent;

/// The longest drain that we believe.
const MAX_DRAIN: Duration = Duration::from_secs(3600);

#[derive(Clone, Debug, PartialEq)]
enum State {
    Asked,
    Welcome,
    Refused(String),
    /// It gave no answer.
    Silent,
}

struct Control {
    id: ConnId,
    relay: PeerIdentity,
    state: State,
    /// It has said that the relay drains. A relay that has said so ends, so it says it once.
    has_drained: bool,
}

/// Whether a relay may be asked for a reservation.
enum Verdict {
    Pending,
    May,
    MayNot(String),
}

#[derive(Default)]
pub(super) struct Controls {
    /// Those on open links.
    all: BTreeMap<OperationId, Control>,
    /// Relays at which a reservation waits for the answer.
    waiting: BTreeSet<PeerIdentity>,
}

impl Controls {
    /// A link to a relay is of use from now on.
    pub(super) fn linked(&mut self, shared: &mut Shared, relay: &PeerIdentity, id: ConnId) {
        if self.all.values().all(|control| control.id != id) {
            let control = shared.operation();
            self.all.insert(control, Control { id, relay: relay.clone(), state: State::Asked, has_drained: false });
            shared.put(Output::Control { control, id });
        }
    }

    /// A reservation is wanted there: [`Signal::RelayReady`] or [`Signal::RelayRefused`]
    /// follows. What a relay has refused once it is asked again.
    pub(super) fn ask(&mut self, shared: &mut Shared, relay: &PeerIdentity) {
        self.all.retain(|_, control| control.relay != *relay || !matches!(control.state, State::Refused(_)));
        let links: Vec<ConnId> = shared.connections.direct(relay).map(|(id, _)| id).collect();
        links.into_iter().for_each(|id| self.linked(shared, relay, id));
        self.waiting.insert(relay.clone());
        self.settle(shared, relay);
    }

    /// No reservation is wanted there any more.
    pub(super) fn not_needed(&mut self, relay: &PeerIdentity) {
        self.waiting.remove(relay);
    }

    /// The relay says something.
    pub(super) fn heard(&mut self, shared: &mut Shared, control: OperationId, says: RelaySays) {
        let Some(heard) = self.all.get_mut(&control) else { return };
        let relay = heard.relay.clone();
        match says {
            RelaySays::Welcome => heard.state = State::Welcome,
            RelaySays::Refused(cause) => heard.state = State::Refused(cause),
            RelaySays::Neighbour(peer) => return shared.signal(Signal::Neighbour { relay, peer }),
            RelaySays::Draining(_) if heard.has_drained => return,
            RelaySays::Draining(left) => {
                heard.has_drained = true;
                return drain(shared, &relay, left.min(MAX_DRAIN));
            }
        }
        self.settle(shared, &relay);
    }

    /// The stream has ended, or there was none.
    pub(super) fn ended(&mut self, shared: &mut Shared, control: OperationId) {
        let Some(ended) = self.all.get_mut(&control).filter(|control| control.state == State::Asked) else { return };
        ended.state = State::Silent;
        let relay = ended.relay.clone();
        self.settle(shared, &relay);
    }

    /// The connection is gone.
    pub(super) fn disconnected(&mut self, shared: &mut Shared, id: ConnId) {
        let gone: Vec<PeerIdentity> =
            self.all.extract_if(.., |_, control| control.id == id).map(|(_, control)| control.relay).collect();
        gone.iter().for_each(|relay| self.settle(shared, relay));
    }

    fn settle(&mut self, shared: &mut Shared, relay: &PeerIdentity) {
        match self.verdict(relay) {
            None | Some(Verdict::Pending) => {}
            Some(Verdict::May) => {
                if self.waiting.remove(relay) {
                    shared.signal(Signal::RelayReady(relay.clone()));
                }
            }
            // What is held there is lost too.
            Some(Verdict::MayNot(cause)) => {
                self.waiting.remove(relay);
                shared.signal(Signal::RelayRefused { relay: relay.clone(), cause });
            }
        }
    }

    /// `None` without a link.
    fn verdict(&self, relay: &PeerIdentity) -> Option<Verdict> {
        let mut verdict = None;
        // A token that was given on one link is good for all.
        for control in self.all.values().filter(|control| control.relay == *relay) {
            verdict = Some(match (&control.state, verdict) {
                (State::Welcome, _) => return Some(Verdict::May),
                (State::Asked, _) | (_, Some(Verdict::Pending)) => Verdict::Pending,
                (State::Refused(cause), _) => Verdict::MayNot(cause.clone()),
                (State::Silent, Some(verdict)) => verdict,
                (State::Silent, None) => Verdict::May,
            });
        }
        verdict
    }

    /// What is held, for tests: questions, and reservations that wait for an answer.
    #[cfg(test)]
    pub(super) fn held(&self) -> usize {
        self.waiting.len() + self.all.values().filter(|control| control.state == State::Asked).count()
    }
}

/// The relay ends all circuits then: nothing new is begun there, and who is on a circuit
/// through it learns that it is time to move. Until that time it says so once.
fn drain(shared: &mut Shared, relay: &PeerIdentity, left: Duration) {
    if shared.is_draining(relay) {
        return;
    }
    let until = shared.now + left;
    shared.draining.retain(|_, until| *until > shared.now);
    shared.draining.insert(relay.clone(), until);
    let through: Vec<ConnId> = shared.connections.circuits().filter(|(_, at)| *at == relay).map(|(id, _)| id).collect();
    through.into_iter().for_each(|id| shared.put(Output::Reason { id, reason: RelayReason::RelayDraining }));
    shared.report(NetworkEvent::RelayDraining { relay: relay.clone(), left });
    shared.signal(Signal::RelayDraining { relay: relay.clone(), until });
}

#[cfg(test)]
mod tests;
