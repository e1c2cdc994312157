//! Our relay server, by go-libp2p's names, and what those lack.

use std::sync::atomic::{AtomicU64, Ordering};

use kaspath_transport_libp2p::{CircuitEnd, NetworkEvent, RelayLoad, RelayRefusals, RelayService};
use prometheus_client::{
    metrics::{counter::Counter, gauge::Gauge, histogram::Histogram},
    registry::Registry,
};

use crate::{
    buckets,
    families::{Each, Family, Label, label, reach, single, whole},
};

label!(ReservationType = "type" { Opened = "opened", Renewed = "renewed", Closed = "closed" });
label!(ConnectionType = "type" { Opened = "opened", Closed = "closed" });
label!(Status = "status" { Ok = "ok", Rejected = "rejected", Error = "error", Unknown = "unknown" });
label!(Rejection = "reason" {
    IpConstraint = "ip constraint violation",
    Limit = "resource limit exceeded",
    Permission = "permission denied",
    NoReservation = "no reservation",
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
    Quota = "quota",
    NotAllowed = "not-allowed",
    Evicted = "evicted",
});
label!(Reason = "limit" {
    MaxReservations = "max-reservations",
    MaxReservationsPerIp = "max-reservations-per-ip",
    MaxReservationsPerPrefix = "max-reservations-per-prefix",
    MaxCircuits = "max-circuits",
    MaxCircuitsPerPeer = "max-circuits-per-peer",
    MaxCircuitsPerIp = "max-circuits-per-ip",
    MaxCircuitsPerPrefix = "max-circuits-per-prefix",
    MaxCircuitsPerDestination = "max-circuits-per-destination",
    MaxCircuitsPerIpToDestination = "max-circuits-per-ip-to-destination",
    QuotaPerPeer = "quota-per-peer",
    QuotaPerPrefix = "quota-per-prefix",
    Quota = "quota",
    TooOften = "too-often",
    Draining = "draining",
    Pressure = "pressure",
    NoAddress = "no-address",
    Access = "access",
    Token = "token",
    ToItself = "to-itself",
    Relayed = "relayed",
    NoReservation = "no-reservation",
    DestinationFailed = "destination-failed",
    DestinationRefused = "destination-refused",
    SourceGone = "source-gone",
    Other = "other",
});
label!(Quota = "of" { Peers = "peers", Prefixes = "prefixes" });

/// The metrics of our relay server.
pub(crate) struct Service {
    status: Gauge,
    reservations: Family<(ReservationType,), Counter>,
    reservation_answers: Family<(Status,), Counter>,
    reservation_rejections: Family<(Rejection,), Counter>,
    connections: Family<(ConnectionType,), Counter>,
    connection_answers: Family<(Status,), Counter>,
    connection_rejections: Family<(Rejection,), Counter>,
    duration: Histogram,
    bytes: Counter,
    used: Family<(Resource,), Gauge>,
    limit: Family<(Resource,), Gauge>,
    denials: Family<(Request, Reason), Counter>,
    ended: Family<(End,), Counter>,
    waits: Counter,
    waited: Counter<f64, AtomicU64>,
    quota_used: Gauge,
    quota: Gauge,
    quotas_over: Family<(Quota,), Gauge>,
    is_draining: Gauge,
    is_under_pressure: Gauge,
}

impl Service {
    /// `is_open`: it takes requests from the start on.
    pub(crate) fn new(registry: &mut Registry, is_open: bool) -> Self {
        let go = registry.sub_registry_with_prefix("libp2p_relaysvc");
        let status = single(go, "status", "1 while the relay takes requests", Gauge::<i64>::default());
        status.set(is_open.into());
        let reservations = Family::new(go, "reservations", "Reservations here");
        let reservation_answers = Family::new(go, "reservation_request_response_status", "Answers to requests for reservations");
        let reservation_rejections = Family::new(go, "reservation_rejections", "Requests for reservations that were rejected");
        let connections = Family::new(go, "connections", "Circuits here");
        let connection_answers = Family::new(go, "connection_request_response_status", "Answers to requests for circuits");
        let connection_rejections = Family::new(go, "connection_rejections", "Requests for circuits that were rejected");
        let duration = single(go, "connection_duration_seconds", "How long circuits were open", buckets::lifetimes());
        let bytes = single(go, "data_transferred_bytes", "Bytes passed on, both directions together", Counter::default());
        let own = registry.sub_registry_with_prefix("kaspath_relay");
        Self {
            status,
            reservations,
            reservation_answers,
            reservation_rejections,
            connections,
            connection_answers,
            connection_rejections,
            duration,
            bytes,
            used: Family::new(own, "used", "How much of a resource is in use"),
            limit: Family::new(own, "limit", "How much of a resource there is"),
            denials: Family::new(own, "denials", "Refused requests, by what refused them"),
            ended: Family::new(own, "circuits_ended", "Circuits by why they ended"),
            waits: single(own, "waits", "How often a circuit waited for a rate", Counter::default()),
            waited: single(own, "waited_seconds", "How long circuits waited for a rate", Counter::default()),
            quota_used: single(own, "quota_used_bytes", "Bytes of all peers in the window of the quota", Gauge::default()),
            quota: single(own, "quota_limit_bytes", "How many there may be; 0 is unlimited", Gauge::default()),
            quotas_over: Family::new(own, "quotas_used_up", "Peers and prefixes whose own quota is used up"),
            is_draining: single(own, "draining", "1 if it takes nothing new, and ends soon", Gauge::default()),
            is_under_pressure: single(own, "under_pressure", "1 if it takes nothing new for want of memory", Gauge::default()),
        }
    }

    pub(crate) fn observe(&self, event: &NetworkEvent) {
        match event {
            NetworkEvent::RelayReservationAccepted { renewed, .. } => {
                let kind = if *renewed { ReservationType::Renewed } else { ReservationType::Opened };
                self.reservations.at((kind,)).inc();
                self.reservation_answers.at((Status::Ok,)).inc();
            }
            NetworkEvent::RelayReservationEnded { .. } => {
                self.reservations.at((ReservationType::Closed,)).inc();
            }
            NetworkEvent::RelayCircuitOpened { .. } => {
                self.connections.at((ConnectionType::Opened,)).inc();
                self.connection_answers.at((Status::Ok,)).inc();
            }
            NetworkEvent::RelayCircuitClosed { duration, reason, .. } => {
                self.connections.at((ConnectionType::Closed,)).inc();
                self.duration.observe(duration.as_secs_f64());
                self.ended.at((End::of(*reason),)).inc();
            }
            _ => {}
        }
    }

    /// Takes what the relay says of itself. Of refusals its events tell only some.
    pub(crate) fn load(&self, load: &RelayLoad) {
        let is_open = load.service == RelayService::Open;
        self.status.set((is_open && !load.is_draining && !load.is_under_pressure).into());
        for (resource, used, limit) in [
            (Resource::Reservations, load.reservations, load.max_reservations),
            (Resource::Circuits, load.circuits, load.max_circuits),
        ] {
            self.used.at((resource,)).set(whole(used as u64));
            self.limit.at((resource,)).set(whole(limit as u64));
        }
        reach(&self.bytes, load.bytes);
        reach(&self.waits, load.waits);
        // Only a scrape writes it, and scrapes take turns.
        self.waited.inner().store(load.waited.as_secs_f64().to_bits(), Ordering::Relaxed);
        self.quota_used.set(whole(load.quota.used));
        self.quota.set(whole(load.quota.quota));
        self.quotas_over.at((Quota::Peers,)).set(whole(load.quota.peers_over as u64));
        self.quotas_over.at((Quota::Prefixes,)).set(whole(load.quota.prefixes_over as u64));
        self.is_draining.set(load.is_draining.into());
        self.is_under_pressure.set(load.is_under_pressure.into());
        self.refused(Request::Reservation, &load.refused_reservations);
        self.refused(Request::Circuit, &load.refused_circuits);
    }

    fn refused(&self, request: Request, refused: &RelayRefusals) {
        let (answers, rejections) = match request {
            Request::Reservation => (&self.reservation_answers, &self.reservation_rejections),
            Request::Circuit => (&self.connection_answers, &self.connection_rejections),
        };
        let mut by_reason = [0; Reason::VALUES.len()];
        let (mut by_status, mut by_rejection) = ([0; Status::VALUES.len()], [0; Rejection::VALUES.len()]);
        for (reason, count) in refused {
            let reason = Reason::of(reason);
            let (status, rejection) = reason.answer();
            by_reason[reason.index()] += count;
            by_status[status.index()] += count;
            if let Some(rejection) = rejection {
                by_rejection[rejection.index()] += count;
            }
        }
        for reason in Reason::ALL {
            reach(self.denials.at((request, *reason)), by_reason[reason.index()]);
        }
        for status in [Status::Rejected, Status::Error, Status::Unknown] {
            reach(answers.at((status,)), by_status[status.index()]);
        }
        for rejection in Rejection::ALL {
            reach(rejections.at((*rejection,)), by_rejection[rejection.index()]);
        }
    }
}

impl Reason {
    /// By the relay's own name for it.
    fn of(name: &str) -> Self {
        Self::ALL.iter().zip(Self::VALUES).find(|(_, value)| **value == name).map_or(Self::Other, |(reason, _)| *reason)
    }

    /// What go-libp2p calls the answer that the peer gets.
    fn answer(self) -> (Status, Option<Rejection>) {
        match self {
            Self::NoAddress => (Status::Rejected, Some(Rejection::IpConstraint)),
            Self::NoReservation => (Status::Rejected, Some(Rejection::NoReservation)),
            Self::Access | Self::Token | Self::ToItself | Self::Relayed => (Status::Rejected, Some(Rejection::Permission)),
            Self::DestinationFailed | Self::SourceGone => (Status::Error, None),
            // The destination chose the status.
            Self::DestinationRefused | Self::Other => (Status::Unknown, None),
            Self::MaxReservations
            | Self::MaxReservationsPerIp
            | Self::MaxReservationsPerPrefix
            | Self::MaxCircuits
            | Self::MaxCircuitsPerPeer
            | Self::MaxCircuitsPerIp
            | Self::MaxCircuitsPerPrefix
            | Self::MaxCircuitsPerDestination
            | Self::MaxCircuitsPerIpToDestination
            | Self::QuotaPerPeer
            | Self::QuotaPerPrefix
            | Self::Quota
            | Self::TooOften
            | Self::Draining
            | Self::Pressure => (Status::Rejected, Some(Rejection::Limit)),
        }
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
            CircuitEnd::Quota => Self::Quota,
            CircuitEnd::NotAllowed => Self::NotAllowed,
            CircuitEnd::Evicted => Self::Evicted,
        }
    }
}
