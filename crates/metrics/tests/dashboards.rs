//! What go-libp2p's dashboards for relaysvc, holepunch and autorelay query, by our own list
//! of it, is answered.

mod support;

use std::{collections::BTreeMap, time::Duration};

use kaspath_domain::{AttemptOutcome, DialError, Host, RelayReason, Route, Transport, TransportAddress, wall_clock};
use kaspath_metrics::{Metrics, PoolReading, Role};
use kaspath_transport_libp2p::{CircuitEnd, NetworkEvent, RelayLoad, RelayQuotaUse, RelayService, ReservationState};
use support::{connected, direct, locator, lost, metrics, parse, peer, relay, relayed, reservation};

/// A query: the name, the labels that it filters on, the labels that it groups or names by, and
/// what it answers after the events.
type Query = (&'static str, &'static [(&'static str, &'static str)], &'static [&'static str], f64);

/// A pattern such as `quic|quic-v1` is satisfied by any of its parts.
const RELAYSVC: &[Query] = &[
    ("libp2p_relaysvc_status", &[], &[], 1.0),
    ("libp2p_relaysvc_reservations_total", &[("type", "opened")], &[], 3.0),
    ("libp2p_relaysvc_reservations_total", &[("type", "renewed")], &[], 1.0),
    ("libp2p_relaysvc_reservations_total", &[("type", "closed")], &[], 1.0),
    ("libp2p_relaysvc_reservation_request_response_status_total", &[], &["status"], 6.0),
    ("libp2p_relaysvc_reservation_rejections_total", &[], &["reason"], 2.0),
    ("libp2p_relaysvc_connections_total", &[("type", "opened")], &[], 2.0),
    ("libp2p_relaysvc_connections_total", &[("type", "closed")], &[], 1.0),
    ("libp2p_relaysvc_connection_request_response_status_total", &[], &["status"], 4.0),
    ("libp2p_relaysvc_connection_rejections_total", &[], &["reason"], 1.0),
    ("libp2p_relaysvc_data_transferred_bytes_total", &[], &[], 5_000.0),
    ("libp2p_relaysvc_connection_duration_seconds_sum", &[], &[], 90.0),
    ("libp2p_relaysvc_connection_duration_seconds_count", &[], &[], 1.0),
];

const HOLEPUNCH: &[Query] = &[
    // The initiator's first punch succeeded over QUIC, its second failed over both transports.
    (
        "libp2p_holepunch_address_outcomes_total",
        &[("side", "initiator"), ("transport", "tcp"), ("outcome", "success|failed")],
        &["outcome"],
        1.0,
    ),
    (
        "libp2p_holepunch_address_outcomes_total",
        &[("side", "initiator"), ("transport", "quic|quic-v1"), ("outcome", "success|failed")],
        &["outcome"],
        2.0,
    ),
    (
        "libp2p_holepunch_address_outcomes_total",
        &[("side", "receiver"), ("transport", "tcp"), ("outcome", "success|failed")],
        &["outcome"],
        1.0,
    ),
    (
        "libp2p_holepunch_address_outcomes_total",
        &[("side", "receiver"), ("transport", "quic|quic-v1"), ("outcome", "success|failed")],
        &["outcome"],
        0.0,
    ),
    ("libp2p_holepunch_outcomes_total", &[("side", "initiator")], &["outcome"], 2.0),
    ("libp2p_holepunch_outcomes_total", &[("side", "receiver")], &["outcome"], 2.0),
    ("libp2p_holepunch_direct_dials_total", &[], &["outcome"], 3.0),
];

const AUTORELAY: &[Query] = &[
    ("libp2p_autorelay_status", &[], &[], 1.0),
    ("libp2p_autorelay_reservations_opened_total", &[], &[], 2.0),
    ("libp2p_autorelay_reservations_closed_total", &[], &[], 1.0),
    ("libp2p_autorelay_desired_reservations", &[], &[], 2.0),
    ("libp2p_autorelay_reservation_requests_outcome_total", &[], &["request_type", "outcome"], 4.0),
    ("libp2p_autorelay_candidates_total", &[("type", "added")], &[], 3.0),
    ("libp2p_autorelay_candidates_total", &[("type", "removed")], &[], 0.0),
    ("libp2p_autorelay_candidates_circuit_v2_support_total", &[], &["support"], 2.0),
    ("libp2p_autorelay_relay_addresses_count", &[], &[], 1.0),
    ("libp2p_autorelay_relay_addresses_updated_total", &[], &[], 3.0),
    ("libp2p_autorelay_candidate_loop_state", &[], &[], 1.0),
    // As go-libp2p shows a time that is not set.
    ("libp2p_autorelay_scheduled_work_time", &[("work_type", "old candidate check")], &[], -62_135_596_800.0),
    ("libp2p_autorelay_scheduled_work_time", &[("work_type", "allowed peer source call")], &[], -62_135_596_800.0),
];

fn check(metrics: &Metrics, queries: &[Query]) {
    let all = parse(&metrics.encode());
    for (name, filters, by, expected) in queries {
        let passes = |labels: &BTreeMap<String, String>| {
            filters
                .iter()
                .all(|(key, pattern)| labels.get(*key).is_some_and(|value| pattern.split('|').any(|part| part == value)))
        };
        let found: Vec<_> = all.iter().filter(|((other, labels), _)| other == name && passes(labels)).collect();
        assert!(!found.is_empty(), "{name} {filters:?} is not answered");
        assert!(found.iter().all(|((_, labels), _)| by.iter().all(|label| labels.contains_key(*label))), "{name} has no {by:?}");
        let sum: f64 = found.iter().map(|(_, value)| **value).sum();
        assert_eq!(sum, *expected, "{name} {filters:?}: {found:?}");
    }
}

fn observe(metrics: &Metrics, events: &[NetworkEvent]) {
    let observer = metrics.network_observer();
    events.iter().for_each(|event| observer.observe(event));
}

#[test]
fn the_dashboard_of_the_relay_service_is_answered() {
    let metrics = metrics(Role::Relay);
    let opened = || NetworkEvent::RelayCircuitOpened { source: peer(1), destination: peer(2) };
    let accepted = |n, renewed| NetworkEvent::RelayReservationAccepted { peer: peer(n), renewed };
    observe(
        &metrics,
        &[
            accepted(1, false),
            accepted(2, false),
            accepted(3, false),
            accepted(1, true),
            NetworkEvent::RelayReservationEnded { peer: peer(3) },
            opened(),
            opened(),
            NetworkEvent::RelayCircuitClosed {
                source: peer(1),
                destination: peer(2),
                from_source: 2_000,
                from_destination: 3_000,
                duration: Duration::from_secs(90),
                reason: CircuitEnd::Idle,
            },
        ],
    );
    metrics.relay_load(&RelayLoad {
        reservations: 2,
        circuits: 1,
        max_circuits: 256,
        bytes: 5_000,
        refused_reservations: [("max-reservations-per-ip", 1), ("no-address", 1)].into(),
        refused_circuits: [("no-reservation", 1), ("destination-failed", 1)].into(),
        quota: RelayQuotaUse { used: 900, quota: 1_000, peers_over: 3, ..RelayQuotaUse::default() },
        service: RelayService::Open,
        ..RelayLoad::default()
    });
    check(&metrics, RELAYSVC);
    let value = |name, labels: &[_]| support::value(&metrics, name, labels);
    let rejected = [("reason", "ip constraint violation")];
    assert_eq!(value("libp2p_relaysvc_reservation_rejections_total", &rejected), 1.0);
    assert_eq!(value("libp2p_relaysvc_connection_rejections_total", &[("reason", "no reservation")]), 1.0);
    assert_eq!(value("libp2p_relaysvc_connection_request_response_status_total", &[("status", "error")]), 1.0);
    let denial = [("request", "reservation"), ("limit", "max-reservations-per-ip")];
    assert_eq!(value("kaspath_relay_denials_total", &denial), 1.0);
    assert_eq!(value("kaspath_relay_quota_used_bytes", &[]) / value("kaspath_relay_quota_limit_bytes", &[]), 0.9);
    assert_eq!(value("kaspath_relay_quotas_used_up", &[("of", "peers")]), 3.0);
    assert_eq!(value("kaspath_relay_used", &[("resource", "reservations")]), 2.0);
    assert_eq!(value("kaspath_relay_limit", &[("resource", "circuits")]), 256.0);
    assert_eq!(value("kaspath_relay_circuits_ended_total", &[("reason", "idle")]), 1.0);
    let draining = RelayLoad { is_draining: true, max_circuits: 300, service: RelayService::Open, ..RelayLoad::default() };
    metrics.relay_load(&draining);
    assert_eq!(value("kaspath_relay_limit", &[("resource", "circuits")]), 300.0, "its owner may change it");
    assert_eq!(value("libp2p_relaysvc_status", &[]), 0.0);
    assert_eq!(value("libp2p_relaysvc_data_transferred_bytes_total", &[]), 5_000.0, "a counter never falls");
}

#[test]
fn a_node_that_may_serve_has_the_series_of_a_relay_and_is_none_until_it_serves() {
    let metrics = metrics(Role::Node);
    let status = || support::value(&metrics, "libp2p_relaysvc_status", &[]);
    assert_eq!(status(), 0.0);
    let load = |service| RelayLoad { reservations: 3, max_reservations: 32, service, ..RelayLoad::default() };
    for (service, expected) in [(RelayService::Shut, 0.0), (RelayService::Open, 1.0), (RelayService::Draining, 0.0)] {
        metrics.relay_load(&load(service));
        assert_eq!(status(), expected, "{service:?}");
    }
    let reservations = [("resource", "reservations")];
    let [used, limit] = ["kaspath_relay_used", "kaspath_relay_limit"].map(|name| support::value(&metrics, name, &reservations));
    assert_eq!([used, limit], [3.0, 32.0]);
}

#[test]
fn the_dashboard_of_hole_punches_is_answered() {
    let metrics = metrics(Role::Node);
    let both = ["/ip4/203.0.113.1/tcp/4001", "/ip4/203.0.113.1/udp/4001/quic-v1"];
    let dialing = |n, rtt, ours: &[&str], theirs: &[&str]| NetworkEvent::PunchDialing {
        peer: peer(n),
        rtt,
        ours: ours.iter().map(|text| locator(text)).collect(),
        theirs: theirs.iter().map(|text| locator(text)).collect(),
    };
    let failed = |n, attempts, reason| NetworkEvent::PunchFailed { peer: peer(n), attempts, reason, retry_in: None };
    let succeeded = |n, transport, elapsed| NetworkEvent::PunchSucceeded { peer: peer(n), transport, elapsed, attempts: 1 };
    let rtt = Some(Duration::from_millis(50));
    observe(
        &metrics,
        &[
            // As the initiator: direct over QUIC, and then with another peer nothing came through.
            NetworkEvent::PunchStarted { peer: peer(1), attempt: 1 },
            dialing(1, rtt, &both, &both),
            connected(peer(1), direct(Transport::Quic), both[1]),
            succeeded(1, Transport::Quic, Duration::from_millis(200)),
            NetworkEvent::PunchStarted { peer: peer(2), attempt: 2 },
            dialing(2, rtt, &both, &both),
            failed(2, 2, RelayReason::PunchFailed { attempts: 2 }),
            // As the receiver: direct over TCP; the peer offered no QUIC. Then an exchange that broke.
            dialing(3, None, &both, &both[..1]),
            connected(peer(3), direct(Transport::Tcp), both[0]),
            succeeded(3, Transport::Tcp, Duration::from_millis(300)),
            failed(4, 1, RelayReason::ExchangeFailed { attempts: 1, cause: "reset".to_owned() }),
            // No punch: a limit of our own, and a direct connection that came about otherwise.
            failed(5, 1, RelayReason::PunchLimited),
            succeeded(6, Transport::Tcp, Duration::from_millis(1)),
        ],
    );
    let attempt = |result| AttemptOutcome {
        peer: Some(peer(7)),
        route: Route::Direct(TransportAddress { transport: Transport::Tcp, host: Host::Dns("a.test".to_owned()), port: 1 }),
        result,
        elapsed: Duration::ZERO,
    };
    let timeout = DialError::Timeout { after: Duration::from_secs(1), doing: "dialling" };
    let dials = metrics.attempt_observer();
    dials.observe(&attempt(Ok(direct(Transport::Tcp))));
    dials.observe(&attempt(Err(DialError::Overtaken)));
    dials.observe(&attempt(Err(timeout.clone())));
    dials.observe(&attempt(Err(timeout)));
    check(&metrics, HOLEPUNCH);
    let value = |name, labels: &[_]| support::value(&metrics, name, labels);
    let address = |side, num_attempts, transport, outcome| {
        let labels =
            [("side", side), ("num_attempts", num_attempts), ("ipv", "ip4"), ("transport", transport), ("outcome", outcome)];
        value("libp2p_holepunch_address_outcomes_total", &labels)
    };
    assert_eq!(address("initiator", "1", "quic-v1", "success"), 1.0);
    assert_eq!(address("initiator", "1", "tcp", "cancelled"), 1.0);
    assert_eq!(address("initiator", "2", "tcp", "failed"), 1.0);
    assert_eq!(address("receiver", "1", "tcp", "success"), 1.0);
    assert_eq!(address("receiver", "1", "quic-v1", "no_suitable_address"), 1.0);
    assert_eq!(value("libp2p_holepunch_direct_dials_total", &[("outcome", "failed")]), 2.0);
    for (outcome, expected) in [("success", 2.0), ("not-needed", 1.0), ("punch-limited", 1.0), ("exchange-failed", 1.0)] {
        assert_eq!(value("kaspath_punches_total", &[("outcome", outcome)]), expected, "{outcome}");
    }
    assert_eq!(value("kaspath_punches_started_total", &[]), 2.0);
    assert_eq!(value("kaspath_time_to_direct_seconds_sum", &[("transport", "quic")]), 0.2);
    assert_eq!(value("kaspath_time_to_direct_rtts_sum", &[("transport", "quic")]), 4.0);
    assert_eq!(value("kaspath_time_to_direct_rtts_count", &[("transport", "tcp")]), 0.0, "the receiver measures none");
}

#[test]
fn the_dashboard_of_autorelay_is_answered() {
    let metrics = metrics(Role::Gateway);
    observe(
        &metrics,
        &[
            reservation(relay(1), ReservationState::Requested),
            reservation(relay(1), ReservationState::Confirmed),
            reservation(relay(1), ReservationState::Renewed),
            reservation(relay(2), ReservationState::Requested),
            reservation(relay(2), lost("Failed to get Reservation.: Remote reported resource limit exceeded.")),
            reservation(relay(3), ReservationState::Confirmed),
            reservation(relay(1), lost("the relay closed the connection")),
        ],
    );
    check(&metrics, AUTORELAY);
    let value = |name, labels: &[_]| support::value(&metrics, name, labels);
    for (request_type, outcome, expected) in [
        ("new", "success", 2.0),
        ("refresh", "success", 1.0),
        ("new", "resource limit exceeded", 1.0),
        ("refresh", "err other", 0.0),
    ] {
        let labels = [("request_type", request_type), ("outcome", outcome)];
        assert_eq!(value("libp2p_autorelay_reservation_requests_outcome_total", &labels), expected, "{labels:?}");
    }
    for (relay, held) in [("1", 0.0), ("2", 0.0), ("3", 1.0), ("other", 0.0)] {
        assert_eq!(value("kaspath_reservation_held", &[("relay", relay)]), held, "{relay}");
    }
    assert_eq!(value("kaspath_reservations_lost_total", &[("relay", "1"), ("cause", "connection-lost")]), 1.0);
    assert_eq!(value("kaspath_reservations_lost_total", &[("relay", "2"), ("cause", "limit")]), 1.0);
    // A relay that is added while the program runs, and removed again.
    let gone = ReservationState::lost("the relay was removed", None);
    observe(&metrics, &[reservation(peer(5), ReservationState::Confirmed)]);
    assert_eq!(value("kaspath_reservation_held", &[("relay", "other")]), 1.0);
    observe(&metrics, &[reservation(peer(5), gone)]);
    assert_eq!(value("kaspath_reservation_held", &[("relay", "other")]), 0.0);
    assert_eq!(value("libp2p_autorelay_candidates_total", &[("type", "removed")]), 1.0);
    observe(&metrics, &[connected(peer(8), relayed(relay(2), RelayReason::PunchPending), "/ip4/203.0.113.1/tcp/1")]);
    assert_eq!(value("kaspath_relay_circuits", &[("relay", "2")]), 1.0);
}

#[test]
fn the_relay_pool_is_read_at_each_scrape() {
    let metrics = metrics(Role::Node);
    let value = |name, labels: &[_]| support::value(&metrics, name, labels);
    let loop_state = || value("libp2p_autorelay_candidate_loop_state", &[]);
    let full = PoolReading {
        wanted: 2,
        held: 2,
        back_off: 3,
        known: 4,
        next_read: Some(Duration::from_secs(300)),
        next_review: Some(Duration::ZERO),
        ..PoolReading::default()
    };
    let before = wall_clock().since_epoch().as_secs_f64();
    metrics.relay_pool(&full);
    for (state, count) in [("held", 2.0), ("asked", 0.0), ("draining", 0.0), ("back-off", 3.0), ("known", 4.0)] {
        assert_eq!(value("kaspath_relay_pool", &[("state", state)]), count, "{state}");
    }
    let due = |work| value("libp2p_autorelay_scheduled_work_time", &[("work_type", work)]) - before;
    assert!((-1.0..60.0).contains(&due("old candidate check")), "{}", due("old candidate check"));
    assert!((299.0..360.0).contains(&due("allowed peer source call")), "{}", due("allowed peer source call"));
    assert!(due("clear backoff") < 0.0);
    assert_eq!((loop_state(), value("libp2p_autorelay_desired_reservations", &[])), (2.0, 2.0));
    for (reading, expected) in [
        (PoolReading { held: 1, ..full }, 0.0),
        (PoolReading { held: 1, next_read: None, ..full }, 1.0),
        (PoolReading { held: 0, next_read: Some(Duration::ZERO), ..full }, 1.0),
        (PoolReading { wanted: 0, ..full }, 3.0),
    ] {
        metrics.relay_pool(&reading);
        assert_eq!(loop_state(), expected, "{reading:?}");
    }
}
