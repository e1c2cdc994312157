//! The relays that we use: by go-libp2p's names for autorelay, and for each relay.

use std::{
    borrow::Cow,
    collections::HashMap,
    sync::{Mutex, PoisonError},
};

use kaspath_domain::{PeerIdentity, ReservationLoss};
use kaspath_transport_libp2p::ReservationState;
use prometheus_client::{
    metrics::{counter::Counter, gauge::Gauge},
    registry::Registry,
};

use crate::families::{Family, Label, LabelSet, fall, label, series, single};

/// Relays that are remembered beside those of the settings.
const MAX_ADDED: usize = 128;

label!(RequestType = "request_type" { New = "new", Refresh = "refresh" });
label!(Outcome = "outcome" {
    Success = "success",
    Other = "err other",
    ConnectionFailed = "connection failed",
    Refused = "reservation refused",
    Limit = "resource limit exceeded",
});
label!(Candidates = "type" { Added = "added", Removed = "removed" });
label!(Support = "support" { Yes = "yes", No = "no" });
label!(Cause = "cause" {
    Timeout = "timeout",
    ConnectionLost = "connection-lost",
    Unreachable = "unreachable",
    Unresolved = "unresolved",
    Refused = "refused",
    Limit = "limit",
    Unsupported = "unsupported",
    Ended = "ended",
    Removed = "removed",
    Other = "other",
});

/// The metrics of the relays that we use.
pub(crate) struct Relays {
    /// Each relay of the settings by its position.
    positions: HashMap<PeerIdentity, usize>,
    known: Mutex<HashMap<PeerIdentity, Known>>,
    opened: Counter,
    closed: Counter,
    requests: Family<(RequestType, Outcome), Counter>,
    addresses: Gauge,
    addresses_updated: Counter,
    candidates: Family<(Candidates,), Counter>,
    support: Family<(Support,), Counter>,
    held: Vec<Gauge>,
    granted: Vec<Counter>,
    lost: Vec<Counter>,
    circuits: Vec<Gauge>,
    sessions: Vec<Gauge>,
}

/// What is known of one relay.
#[derive(Clone, Copy, Default)]
struct Known {
    is_held: bool,
    has_answered: bool,
}

impl Relays {
    /// `relays` in the order of the settings; one that is named twice counts once.
    pub(crate) fn new(registry: &mut Registry, relays: &[PeerIdentity]) -> Self {
        let mut positions = HashMap::new();
        for relay in relays {
            let next = positions.len();
            positions.entry(relay.clone()).or_insert(next);
        }
        let labels = || {
            let numbers = (1..=positions.len()).map(|number| Cow::Owned(number.to_string()));
            numbers.chain([Cow::Borrowed("other")]).map(|relay| vec![("relay", relay)]).collect::<Vec<LabelSet>>()
        };
        let with_cause = || {
            let each = |begin: LabelSet| {
                Cause::VALUES
                    .iter()
                    .map(move |cause| begin.iter().cloned().chain([(Cause::KEY, Cow::Borrowed(*cause))]).collect())
            };
            labels().into_iter().flat_map(each).collect()
        };
        let go = registry.sub_registry_with_prefix("libp2p_autorelay");
        let opened = single(go, "reservations_opened", "Reservations that were granted", Counter::default());
        let closed = single(go, "reservations_closed", "Granted reservations that were lost", Counter::default());
        let requests = Family::new(go, "reservation_requests_outcome", "Requests for reservations by their end");
        let addresses = single(go, "relay_addresses_count", "Our addresses through relays", Gauge::default());
        let addresses_updated = single(go, "relay_addresses_updated", "How often these changed", Counter::default());
        let candidates = Family::<(Candidates,), Counter>::new(go, "candidates", "Relays known");
        candidates.at((Candidates::Added,)).inc_by(positions.len() as u64);
        let support = Family::new(go, "candidates_circuit_v2_support", "Relays that answered a first request");
        let own = registry.sub_registry_with_prefix("kaspath");
        Self {
            known: Mutex::new(positions.keys().map(|relay| (relay.clone(), Known::default())).collect()),
            opened,
            closed,
            requests,
            addresses,
            addresses_updated,
            candidates,
            support,
            held: series(own, "reservation_held", "Reservations held at a relay", labels(), Gauge::default),
            granted: series(own, "reservations_granted", "Reservations granted", labels(), Counter::default),
            lost: series(
                own,
                "reservations_lost",
                "Requests that failed and reservations that were lost",
                with_cause(),
                Counter::default,
            ),
            circuits: series(own, "relay_circuits", "Circuits through a relay", labels(), Gauge::default),
            sessions: series(own, "relay_sessions", "Kaspa sessions that a relay carries", labels(), Gauge::default),
            positions,
        }
    }

    /// How many relays the settings name.
    pub(crate) fn given(&self) -> usize {
        self.positions.len()
    }

    /// The index of a relay's series.
    pub(crate) fn position(&self, relay: &PeerIdentity) -> usize {
        self.positions.get(relay).copied().unwrap_or(self.positions.len())
    }

    /// How many positions there are, that of all others included.
    pub(crate) fn positions(&self) -> usize {
        self.positions.len() + 1
    }

    pub(crate) fn circuit_opened(&self, relay: &PeerIdentity) {
        self.circuits[self.position(relay)].inc();
    }

    pub(crate) fn circuit_closed(&self, relay: &PeerIdentity) {
        fall(&self.circuits[self.position(relay)]);
    }

    /// Takes how many sessions each relay carries now.
    pub(crate) fn set_sessions(&self, counts: &[i64]) {
        for (gauge, count) in self.sessions.iter().zip(counts) {
            gauge.set(*count);
        }
    }

    pub(crate) fn reservation(&self, relay: &PeerIdentity, state: &ReservationState) {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        let is_new = !known.contains_key(relay);
        if is_new && known.len() >= self.positions.len() + MAX_ADDED {
            return;
        }
        if is_new {
            self.candidates.at((Candidates::Added,)).inc();
        }
        let entry = known.entry(relay.clone()).or_default();
        let position = self.position(relay);
        match state {
            ReservationState::Requested => {}
            ReservationState::Confirmed => {
                self.opened.inc();
                self.granted[position].inc();
                self.requests.at((RequestType::New, Outcome::Success)).inc();
                if !std::mem::replace(&mut entry.has_answered, true) {
                    self.support.at((Support::Yes,)).inc();
                }
                if !std::mem::replace(&mut entry.is_held, true) {
                    self.changed(position, true);
                }
            }
            ReservationState::Renewed => {
                self.requests.at((RequestType::Refresh, Outcome::Success)).inc();
            }
            ReservationState::Lost { kind: loss, .. } => {
                let loss = *loss;
                let was_held = std::mem::take(&mut entry.is_held);
                self.lost[position * Cause::VALUES.len() + Cause::of(loss).index()].inc();
                if was_held {
                    self.closed.inc();
                    self.changed(position, false);
                }
                if loss == ReservationLoss::Unsupported && !std::mem::replace(&mut entry.has_answered, true) {
                    self.support.at((Support::No,)).inc();
                }
                match (was_held, Outcome::of(loss)) {
                    // The relay was removed here, or its connection was lost: no request failed.
                    (_, None) | (true, Some(Outcome::ConnectionFailed | Outcome::Other)) => {}
                    (true, Some(outcome)) => {
                        self.requests.at((RequestType::Refresh, outcome)).inc();
                    }
                    (false, Some(outcome)) => {
                        self.requests.at((RequestType::New, outcome)).inc();
                    }
                }
                if loss == ReservationLoss::Removed {
                    known.remove(relay);
                    self.candidates.at((Candidates::Removed,)).inc();
                }
            }
        }
    }

    fn changed(&self, position: usize, is_held: bool) {
        self.addresses_updated.inc();
        for gauge in [&self.held[position], &self.addresses] {
            if is_held {
                gauge.inc();
            } else {
                fall(gauge);
            }
        }
    }
}

impl Cause {
    fn of(loss: ReservationLoss) -> Self {
        match loss {
            ReservationLoss::Timeout => Self::Timeout,
            ReservationLoss::ConnectionLost => Self::ConnectionLost,
            ReservationLoss::Unreachable => Self::Unreachable,
            ReservationLoss::Unresolved => Self::Unresolved,
            ReservationLoss::Refused => Self::Refused,
            ReservationLoss::Limit => Self::Limit,
            ReservationLoss::Unsupported => Self::Unsupported,
            ReservationLoss::Ended => Self::Ended,
            ReservationLoss::Removed => Self::Removed,
            ReservationLoss::Other => Self::Other,
        }
    }
}

impl Outcome {
    /// How a request ended; `None` if the relay was removed here.
    fn of(loss: ReservationLoss) -> Option<Self> {
        Some(match loss {
            ReservationLoss::Removed => return None,
            ReservationLoss::Refused => Self::Refused,
            ReservationLoss::Limit => Self::Limit,
            ReservationLoss::Timeout
            | ReservationLoss::ConnectionLost
            | ReservationLoss::Unreachable
            | ReservationLoss::Unresolved => Self::ConnectionFailed,
            ReservationLoss::Unsupported | ReservationLoss::Ended | ReservationLoss::Other => Self::Other,
        })
    }
}
