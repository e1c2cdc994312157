//! Gauges are what there is, after every sequence of events.

mod support;

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex},
    time::Duration,
};

use kaspath_domain::{Path, RelayReason, Transport};
use kaspath_metrics::{Metrics, Role};
use kaspath_session::{MoveKind, SessionEnd, SessionEvent, SessionStats};
use kaspath_transport_libp2p::{NetworkEvent, ReservationState};
use proptest::prelude::*;
use support::{connected, direct, lost, metrics, parse, peer, relay, relayed, reservation, value};

/// The gauges of a name that are not zero, by one label.
fn gauges(metrics: &Metrics, name: &str, label: &str) -> BTreeMap<String, f64> {
    let all = parse(&metrics.encode()).into_iter().filter(|((other, _), value)| other == name && *value != 0.0);
    all.map(|((_, labels), value)| (labels[label].clone(), value)).collect()
}

fn counted(of: impl Iterator<Item = String>) -> BTreeMap<String, f64> {
    let mut counts = BTreeMap::new();
    of.for_each(|key| *counts.entry(key).or_default() += 1.0);
    counts
}

/// Paths of each kind, with relays of the settings and others.
fn path(n: u8) -> Path {
    match n % 6 {
        0 => direct(Transport::Tcp),
        1 => direct(Transport::Quic),
        2 => relayed(relay(1), RelayReason::PunchPending),
        3 => relayed(relay(3), RelayReason::Policy),
        4 => relayed(relay(3), RelayReason::SymmetricNat { attempts: n.into(), ours: true, theirs: false }),
        _ => relayed(peer(9), RelayReason::ExchangeFailed { attempts: 1, cause: n.to_string() }),
    }
}

fn path_label(path: &Path) -> String {
    match path {
        Path::Direct { transport: Transport::Tcp } => "direct-tcp",
        Path::Direct { transport: Transport::Quic } => "direct-quic",
        Path::Relayed { .. } => "relay",
    }
    .to_owned()
}

fn reason_label(path: &Path) -> String {
    match path {
        Path::Direct { .. } => "none",
        Path::Relayed { reason: RelayReason::PunchPending, .. } => "punch-pending",
        Path::Relayed { reason: RelayReason::Policy, .. } => "policy",
        Path::Relayed { reason: RelayReason::SymmetricNat { .. }, .. } => "symmetric-nat",
        Path::Relayed { .. } => "exchange-failed",
    }
    .to_owned()
}

fn relay_label(path: &Path) -> Option<String> {
    let Path::Relayed { relay: at, .. } = path else { return None };
    let known = (1..=3).find(|n| *at == relay(*n));
    Some(known.map_or_else(|| "other".to_owned(), |n| n.to_string()))
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// Connections that come and go, whose relays' reasons change while they are up.
    #[test]
    fn connections_are_those_that_there_are(steps in prop::collection::vec((any::<bool>(), any::<u8>(), any::<u8>()), 0..200)) {
        let metrics = metrics(Role::Node);
        let observer = metrics.network_observer();
        let mut open: Vec<Path> = Vec::new();
        for (comes, what, which) in steps {
            if comes || open.is_empty() {
                open.push(path(what));
                observer.observe(&connected(peer(what.into()), path(what), "/ip4/203.0.113.1/tcp/1"));
            } else {
                let mut gone = open.swap_remove(usize::from(which) % open.len());
                if let Path::Relayed { reason, .. } = &mut gone {
                    *reason = RelayReason::SharedLan { attempts: 2 };
                }
                observer.observe(&NetworkEvent::Disconnected { peer: peer(1), path: gone, cause: None });
            }
        }
        prop_assert_eq!(gauges(&metrics, "kaspath_connections", "path"), counted(open.iter().map(path_label)));
        prop_assert_eq!(gauges(&metrics, "kaspath_relay_circuits", "relay"), counted(open.iter().filter_map(relay_label)));
    }

    /// Reservations in every order, late and repeated reports included.
    #[test]
    fn reservations_held_are_those_that_were_granted_and_not_lost(steps in prop::collection::vec((0..5u32, 0..4u8), 0..200)) {
        let metrics = metrics(Role::Node);
        let observer = metrics.network_observer();
        let mut held = BTreeMap::new();
        for (n, what) in steps {
            let at = if n < 3 { relay(n + 1) } else { peer(n) };
            let state = match what {
                0 => ReservationState::Requested,
                1 => ReservationState::Confirmed,
                2 => ReservationState::Renewed,
                _ => lost("no answer within 20s"),
            };
            match state {
                ReservationState::Confirmed => drop(held.insert(n, ())),
                ReservationState::Lost { .. } => drop(held.remove(&n)),
                _ => {}
            }
            observer.observe(&reservation(at, state));
        }
        let expected = counted(held.keys().map(|n| if *n < 3 { (n + 1).to_string() } else { "other".to_owned() }));
        prop_assert_eq!(gauges(&metrics, "kaspath_reservation_held", "relay"), expected);
        prop_assert_eq!(value(&metrics, "libp2p_autorelay_relay_addresses_count", &[]), held.len() as f64);
    }

    /// Sessions are read where they are: what they are at the scrape is what is told.
    #[test]
    fn sessions_are_those_that_there_are_at_the_scrape(scrapes in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..50), 1..5)) {
        let metrics = metrics(Role::Gateway);
        let now: Arc<Mutex<Vec<Path>>> = Arc::default();
        let source = now.clone();
        metrics.read_sessions(move |each| source.lock().unwrap().iter().for_each(each));
        for paths in scrapes {
            let paths: Vec<Path> = paths.into_iter().map(path).collect();
            *now.lock().unwrap() = paths.clone();
            let all = parse(&metrics.encode());
            for path in &paths {
                let labels = [("path".to_owned(), path_label(path)), ("reason".to_owned(), reason_label(path))].into();
                let same = paths.iter().filter(|other| (path_label(other), reason_label(other)) == (path_label(path), reason_label(path)));
                prop_assert_eq!(all[&("kaspath_sessions".to_owned(), labels)], same.count() as f64);
            }
            let sum: f64 = all.iter().filter(|((name, _), _)| name == "kaspath_sessions").map(|(_, value)| value).sum();
            prop_assert_eq!(sum, paths.len() as f64);
            prop_assert_eq!(gauges(&metrics, "kaspath_relay_sessions", "relay"), counted(paths.iter().filter_map(relay_label)));
        }
    }
}

#[test]
fn stalls_moves_and_times_are_told_by_kind() {
    let metrics = metrics(Role::Node);
    let observer = metrics.session_observer();
    let (who, millis) = (peer(1), Duration::from_millis);
    let from = || relayed(relay(1), RelayReason::PunchPending);
    let moved = |kind, to, stall, replayed| SessionEvent::Moved { peer: who.clone(), kind, from: from(), to, stall, replayed };
    for event in [
        SessionEvent::Began { peer: who.clone(), path: from(), after: millis(400), rtt: Some(millis(100)) },
        moved(MoveKind::Planned, direct(Transport::Tcp), Duration::ZERO, 96),
        SessionEvent::Stalled { peer: who.clone() },
        moved(MoveKind::Failover, relayed(relay(2), RelayReason::PunchPending), millis(1500), 4000),
        SessionEvent::Stalled { peer: who.clone() },
        SessionEvent::Recovered { peer: who.clone(), stall: millis(250) },
        SessionEvent::Ended { peer: who.clone(), end: SessionEnd::NoPath, path: None, stats: SessionStats::default() },
    ] {
        observer.observe(&event);
    }
    let is = |name, labels: &[_], expected: f64| assert_eq!(value(&metrics, name, labels), expected, "{name} {labels:?}");
    is("kaspath_session_time_to_usable_seconds_sum", &[("path", "relay")], 0.4);
    is("kaspath_session_time_to_usable_rtts_sum", &[("path", "relay")], 4.0);
    is("kaspath_session_time_to_usable_seconds_count", &[("path", "direct-tcp")], 0.0);
    is("kaspath_session_moves_total", &[("kind", "planned"), ("to", "direct-tcp")], 1.0);
    is("kaspath_session_moves_total", &[("kind", "failover"), ("to", "relay")], 1.0);
    is("kaspath_session_moves_total", &[("kind", "failover"), ("to", "direct-tcp")], 0.0);
    is("kaspath_session_stalls_total", &[], 2.0);
    is("kaspath_session_stall_seconds_sum", &[("end", "moved")], 1.5);
    is("kaspath_session_stall_seconds_bucket", &[("end", "moved"), ("le", "1.0")], 0.0);
    is("kaspath_session_stall_seconds_bucket", &[("end", "moved"), ("le", "2.0")], 1.0);
    is("kaspath_session_stall_seconds_sum", &[("end", "recovered")], 0.25);
    is("kaspath_session_replayed_bytes_total", &[], 4096.0);
    is("kaspath_sessions_ended_total", &[("reason", "no-path")], 1.0);
    is("kaspath_sessions_began_total", &[("path", "relay")], 1.0);
}
