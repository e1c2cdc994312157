//! Our relay server, by go-libp2p's names, and what those lack.

use kaspath_transport_libp2p::{CircuitEnd, NetworkEvent};
use prometheus_client::{
    metrics::{counter::Counter, gauge::Gauge, histogram::Histogram},
    registry::Registry,
};

use crate::{
    RelayServerLimits, buckets,
    families::{Family, fall, label, single},
};

label!(ReservationType = "type" { Opened = "opened", Renewed = "renewed", Closed = "closed" });
label!(ConnectionType = "type" { Opened = "opened", Closed = "closed" });
label!(Status = "status" { Ok = "ok", Rejected = "rejected", Error = "error", Unknown = "unknown" });
label!(Rejection = "reason" {
    IpConstraint = "ip constraint violation",
    Limit = "resource limit exceeded",
    Permission = "permission denied",
    NoReservation = "no reservation",
    Malformed = "malformed message",
    Unknown = "unknown",
});
label!(Resource = "resource" { Reservations = "reservations", Circuits = "circuits" });
label!(Request = "request" { Reservation = "reservation", Circuit = "circuit" });
label!(End = "reason" {
    Closed = "closed",
    Failed = "failed",
    ConnectionLost = "connection-lost",
    Idle = "idle",
    Lifetime = "lifetime",
    ByteLimit = "byte-limit",
    Evicted = "evicted",
});
label!(Limit = "limit" {
    MaxReservations = "max-reservations",
    MaxReservationsPerIp = "max-reservations-per-ip",
    MaxReservationsPerPrefix = "max-reservations-per-prefix",
    MaxCircuits = "max-circuits",
    MaxCircuitsPerPeer = "max-circuits-per-peer",
    MaxCircuitsPerIp = "max-circuits-per-ip",
    MaxCircuitsPerPrefix = "max-circuits-per-prefix",
    MaxCircuitsPerDestination = "max-circuits-per-destination",
    MaxCircuitsPerIpToDestination = "max-circuits-per-ip-to-destination",
    TooOften = "too-often",
    Other = "other",
});

/// The metrics of our relay server.
pub(crate) struct Service {
    reservations: Family<(ReservationType,), Counter>,
    reservation_answers: Family<(Status,), Counter>,
    reservation_rejections: Family<(Rejection,), Counter>,
    connections: Family<(ConnectionType,), Counter>,
    connection_answers: Family<(Status,), Counter>,
    connection_rejections: Family<(Rejection,), Counter>,
    duration: Histogram,
    bytes: Counter,
    used: Family<(Resource,), Gauge>,
    denials: Family<(Request, Limit), Counter>,
    ended: Family<(End,), Counter>,
}

impl Service {
    pub(crate) fn new(registry: &mut Registry, limits: &RelayServerLimits) -> Self {
        let go = registry.sub_registry_with_prefix("libp2p_relaysvc");
        single(go, "status", "1 while the relay serves", Gauge::<i64>::default()).set(1);
        let reservations = Family::new(go, "reservations", "Reservations here");
        let reservation_answers = Family::new(go, "reservation_request_response_status", "Answers to requests for reservations");
        let reservation_rejections = Family::new(go, "reservation_rejections", "Requests for reservations that were rejected");
        let connections = Family::new(go, "connections", "Circuits here");
        let connection_answers = Family::new(go, "connection_request_response_status", "Answers to requests for circuits");
        let connection_rejections = Family::new(go, "connection_rejections", "Requests for circuits that were rejected");
        let duration = single(go, "connection_duration_seconds", "How long circuits were open", buckets::lifetimes());
        let bytes = single(go, "data_transferred_bytes", "Bytes passed on, both directions together", Counter::default());
        let own = registry.sub_registry_with_prefix("kaspath_relay");
        let limit = Family::<(Resource,), Gauge>::new(own, "limit", "How much of a resource there is");
        limit.at((Resource::Reservations,)).set(whole(limits.reservations));
        limit.at((Resource::Circuits,)).set(whole(limits.circuits));
        Self {
            reservations,
            reservation_answers,
            reservation_rejections,
            connections,
            connection_answers,
            connection_rejections,
            duration,
            bytes,
            used: Family::new(own, "used", "How much of a resource is in use"),
            denials: Family::new(own, "denials", "Refused requests, by the setting that refused them"),
            ended: Family::new(own, "circuits_ended", "Circuits by why they ended"),
        }
    }

    pub(crate) fn observe(&self, event: &NetworkEvent) {
        match event {
            NetworkEvent::RelayReservationAccepted { renewed, .. } => {
                self.reservation_answers.at((Status::Ok,)).inc();
                if *renewed {
                    self.reservations.at((ReservationType::Renewed,)).inc();
                } else {
                    self.reservations.at((ReservationType::Opened,)).inc();
                    self.used.at((Resource::Reservations,)).inc();
                }
            }
            NetworkEvent::RelayReservationEnded { .. } => {
                self.reservations.at((ReservationType::Closed,)).inc();
                fall(self.used.at((Resource::Reservations,)));
            }
            NetworkEvent::RelayReservationDenied { status, cause, .. } => {
                let (status, rejection) = answer(status);
                self.reservation_answers.at((status,)).inc();
                if status == Status::Rejected {
                    self.reservation_rejections.at((rejection,)).inc();
                }
                self.denials.at((Request::Reservation, Limit::of(cause))).inc();
            }
            NetworkEvent::RelayCircuitOpened { .. } => {
                self.connection_answers.at((Status::Ok,)).inc();
                self.connections.at((ConnectionType::Opened,)).inc();
                self.used.at((Resource::Circuits,)).inc();
            }
            NetworkEvent::RelayCircuitDenied { status, cause, .. } => {
                let (status, rejection) = answer(status);
                self.connection_answers.at((status,)).inc();
                if status == Status::Rejected {
                    self.connection_rejections.at((rejection,)).inc();
                }
                self.denials.at((Request::Circuit, Limit::of(cause))).inc();
            }
            NetworkEvent::RelayCircuitClosed { from_source, from_destination, duration, reason, .. } => {
                self.connections.at((ConnectionType::Closed,)).inc();
                self.duration.observe(duration.as_secs_f64());
                self.bytes.inc_by(from_source.saturating_add(*from_destination));
                self.ended.at((End::of(*reason),)).inc();
                fall(self.used.at((Resource::Circuits,)));
            }
            _ => {}
        }
    }
}

/// A number of things as a gauge has it.
fn whole(number: usize) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

/// A status of circuit relay v2 in go-libp2p's words.
fn answer(status: &str) -> (Status, Rejection) {
    match status {
        "Ok" => (Status::Ok, Rejection::Unknown),
        "ReservationRefused" => (Status::Rejected, Rejection::IpConstraint),
        "ResourceLimitExceeded" => (Status::Rejected, Rejection::Limit),
        "PermissionDenied" => (Status::Rejected, Rejection::Permission),
        "NoReservation" => (Status::Rejected, Rejection::NoReservation),
        "MalformedMessage" => (Status::Rejected, Rejection::Malformed),
        "ConnectionFailed" | "UnexpectedMessage" => (Status::Error, Rejection::Unknown),
        _ => (Status::Unknown, Rejection::Unknown),
    }
}

impl Limit {
    /// The setting that a cause names.
    fn of(cause: &str) -> Self {
        let named = |word: &str| match word {
            "max-reservations" => Some(Self::MaxReservations),
            "max-reservations-per-ip" => Some(Self::MaxReservationsPerIp),
            "max-reservations-per-prefix" => Some(Self::MaxReservationsPerPrefix),
            "max-circuits" => Some(Self::MaxCircuits),
            "max-circuits-per-peer" => Some(Self::MaxCircuitsPerPeer),
            "max-circuits-per-ip" => Some(Self::MaxCircuitsPerIp),
            "max-circuits-per-prefix" => Some(Self::MaxCircuitsPerPrefix),
            "max-circuits-per-destination" => Some(Self::MaxCircuitsPerDestination),
            "max-circuits-per-ip-to-destination" => Some(Self::MaxCircuitsPerIpToDestination),
            "often" => Some(Self::TooOften),
            _ => None,
        };
        cause.split_ascii_whitespace().find_map(named).unwrap_or(Self::Other)
    }
}

impl End {
    fn of(end: CircuitEnd) -> Self {
        match end {
            CircuitEnd::Closed => Self::Closed,
            CircuitEnd::Failed => Self::Failed,
            CircuitEnd::ConnectionLost => Self::ConnectionLost,
            CircuitEnd::Idle => Self::Idle,
            CircuitEnd::Lifetime => Self::Lifetime,
            CircuitEnd::ByteLimit => Self::ByteLimit,
            CircuitEnd::Evicted => Self::Evicted,
        }
    }
}
