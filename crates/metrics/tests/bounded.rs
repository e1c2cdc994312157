//! Whatever remotes choose, the series are the same.

mod support;

use std::{collections::BTreeSet, time::Duration};

use kaspath_domain::{Direction, Observer, RelayReason, Transport};
use kaspath_gateway::{GatewayEvent, RefusalReason};
use kaspath_kaspa_adaptor::{CloseReason, HandshakeOutcome, KaspaEvent};
use kaspath_metrics::{Metrics, MetricsConfig, Role};
use kaspath_session::{MoveKind, SessionEnd, SessionEvent, SessionStats};
use kaspath_transport_libp2p::{CircuitEnd, NetworkEvent, RelayLoad, ReservationState};
use support::{Series, connected, direct, locator, lost, metrics, parse, peer, relayed, reservation};

/// How many strangers there are.
const PEERS: u32 = 100_000;
/// A text as a hostile peer words it.
const TEXT: &str = "\"} 1\nkaspath_forged{peer=\"x\"} 9 \u{1b}[2J";

fn series(metrics: &Metrics) -> BTreeSet<Series> {
    parse(&metrics.encode()).into_keys().collect()
}

fn text(n: u32) -> String {
    format!("{TEXT}{n}")
}

fn network(observer: &dyn Observer<NetworkEvent>, n: u32) {
    let (who, reason) = (peer(n), RelayReason::ExchangeFailed { attempts: n, cause: text(n) });
    let on_relay = relayed(peer(n + 7), reason.clone());
    let remote = format!("/ip4/203.0.113.{}/tcp/{}", n % 256, n % 60_000 + 1);
    let status = if n.is_multiple_of(2) { text(n) } else { "ResourceLimitExceeded".to_owned() };
    let end = if n.is_multiple_of(2) { CircuitEnd::Failed } else { CircuitEnd::Evicted };
    for event in [
        connected(who.clone(), on_relay.clone(), &remote),
        connected(who.clone(), direct(Transport::Tcp), &remote),
        reservation(who.clone(), ReservationState::Confirmed),
        reservation(who.clone(), lost(&text(n))),
        NetworkEvent::Listening { address: locator(&remote) },
        NetworkEvent::PunchStarted { peer: who.clone(), attempt: n },
        NetworkEvent::PunchDialing {
            peer: who.clone(),
            rtt: n.is_multiple_of(2).then(|| Duration::from_nanos(n.into())),
            ours: vec![locator(&remote), locator("/ip6/2001:db8::1/udp/1/quic-v1"), locator("/dns4/a.test/tcp/1")],
            theirs: vec![locator(&remote); 8],
        },
        NetworkEvent::PunchFailed { peer: who.clone(), attempts: n, reason, retry_in: None },
        NetworkEvent::PunchSucceeded {
            peer: who.clone(),
            transport: Transport::Quic,
            elapsed: Duration::from_secs(u64::from(n) * u64::from(n)),
            attempts: n,
        },
        NetworkEvent::StreamsRefused { total: n.into() },
        NetworkEvent::RelayReservationAccepted { peer: who.clone(), renewed: n.is_multiple_of(3) },
        NetworkEvent::RelayReservationDenied { peer: who.clone(), status: status.clone(), cause: text(n) },
        NetworkEvent::RelayReservationEnded { peer: who.clone() },
        NetworkEvent::RelayCircuitOpened { source: who.clone(), destination: peer(n + 1) },
        NetworkEvent::RelayCircuitDenied { source: who.clone(), destination: peer(n + 1), status, cause: text(n) },
        NetworkEvent::RelayCircuitClosed {
            source: who.clone(),
            destination: peer(n + 1),
            from_source: u64::MAX,
            from_destination: u64::MAX,
            duration: Duration::MAX,
            reason: end,
        },
        NetworkEvent::Disconnected { peer: who.clone(), path: direct(Transport::Quic), cause: Some(text(n)) },
        NetworkEvent::Disconnected { peer: who, path: on_relay, cause: Some(text(n)) },
    ] {
        observer.observe(&event);
    }
}

fn sessions(observer: &dyn Observer<SessionEvent>, n: u32) {
    let (who, path) = (peer(n), relayed(peer(n), RelayReason::PunchFailed { attempts: n }));
    let rtt = Some(Duration::from_nanos(u64::from(n % 3)));
    let kind = if n.is_multiple_of(2) { MoveKind::Planned } else { MoveKind::Failover };
    for event in [
        SessionEvent::Began { peer: who.clone(), path: path.clone(), after: Duration::MAX, rtt },
        SessionEvent::Stalled { peer: who.clone() },
        SessionEvent::Moved {
            peer: who.clone(),
            kind,
            from: path.clone(),
            to: path,
            stall: Duration::from_millis(u64::from(n % 2)),
            replayed: u64::MAX,
        },
        SessionEvent::Recovered { peer: who.clone(), stall: Duration::MAX },
        SessionEvent::Ended { peer: who, end: SessionEnd::Reset, path: None, stats: SessionStats::default() },
    ] {
        observer.observe(&event);
    }
}

fn kaspa(observer: &dyn Observer<KaspaEvent>, n: u32) {
    let (who, address) = (Some(peer(n)), ([127, 0, 0, 1], 1).into());
    let reason = if n.is_multiple_of(2) { CloseReason::Rejected(text(n)) } else { CloseReason::Transport(text(n)) };
    for event in [
        KaspaEvent::HandshakeFailed { peer: who.clone(), address, outcome: HandshakeOutcome::Rejected, cause: text(n) },
        KaspaEvent::PeerReady {
            peer: who.clone(),
            address,
            direction: Direction::Inbound,
            path: direct(Transport::Tcp),
            user_agent: text(n),
            kaspa_id: text(n),
            protocol_version: n,
        },
        KaspaEvent::PingAnswered { peer: who.clone(), address, rtt: Duration::MAX },
        KaspaEvent::PeerLeft { peer: who, address, reason, after: Duration::MAX, received: u64::MAX, sent: u64::MAX },
        KaspaEvent::TransactionReceived { id: text(n), peer: None },
    ] {
        observer.observe(&event);
    }
}

fn gateway(observer: &dyn Observer<GatewayEvent>, n: u32) {
    let cause = text(n);
    for event in [
        GatewayEvent::GatewayRefused { peer: peer(n), reason: RefusalReason::TooOften, cause: cause.clone(), omitted: n.into() },
        GatewayEvent::KaspadUp { version: cause.clone(), network: cause.clone() },
        GatewayEvent::KaspadDown { cause: cause.clone() },
        GatewayEvent::KaspadOnOtherNetwork { network: cause.clone(), expected: cause.clone() },
        GatewayEvent::SeenTwice { id: cause, addresses: vec![[127, 0, 0, 1].into(); 8] },
        GatewayEvent::KaspadStatus { synced: true, blocks: u64::MAX, peers: 1, tunnelled: usize::MAX },
    ] {
        observer.observe(&event);
    }
}

#[test]
fn a_hundred_thousand_hostile_peers_make_no_series() {
    for role in [Role::Relay, Role::Node, Role::Gateway] {
        let metrics = metrics(role);
        let before = series(&metrics);
        let observers =
            (metrics.network_observer(), metrics.session_observer(), metrics.kaspa_observer(), metrics.gateway_observer());
        for n in 0..PEERS {
            network(observers.0.as_ref(), n);
            sessions(observers.1.as_ref(), n);
            kaspa(observers.2.as_ref(), n);
            gateway(observers.3.as_ref(), n);
        }
        metrics.read_sessions(|each| (0..1000).for_each(|n| each(&relayed(peer(n), RelayReason::SharedLan { attempts: n }))));
        let refused = [("a reason of the future", 3), ("token", u64::MAX)].into();
        metrics.relay_load(&RelayLoad { bytes: u64::MAX, refused_circuits: refused, ..RelayLoad::default() });
        let text = metrics.encode();
        let after: BTreeSet<Series> = parse(&text).into_keys().collect();
        assert_eq!(before, after, "{role:?}");
        assert!(before.len() < 800, "{} series", before.len());
        assert!(!text.contains("forged") && !text.contains('\u{1b}'), "{role:?}");
    }
}

#[test]
fn what_a_program_does_not_run_has_no_series() {
    let metrics =
        |role| Metrics::new(MetricsConfig { role, version: "1", relays: Vec::new(), wanted_reservations: 0, serves: false });
    let names = |role| series(&metrics(role)).into_iter().map(|(name, _)| name).collect::<BTreeSet<String>>();
    let (relay, node, gateway) = (names(Role::Relay), names(Role::Node), names(Role::Gateway));
    let has = |names: &BTreeSet<String>, prefix: &str| names.iter().any(|name| name.starts_with(prefix));
    assert_eq!([&relay, &node, &gateway].map(|names| has(names, "libp2p_relaysvc")), [true, false, false]);
    assert_eq!([&relay, &node, &gateway].map(|names| has(names, "libp2p_holepunch")), [false, true, true]);
    assert_eq!([&relay, &node, &gateway].map(|names| has(names, "libp2p_autorelay")), [false, true, true]);
    assert_eq!([&relay, &node, &gateway].map(|names| has(names, "kaspath_session")), [false, true, true]);
    assert_eq!([&relay, &node, &gateway].map(|names| has(names, "kaspath_kaspa_")), [false, true, false]);
    assert_eq!([&relay, &node, &gateway].map(|names| has(names, "kaspath_kaspad_")), [false, false, true]);
    assert_eq!([&relay, &node, &gateway].map(|names| has(names, "kaspath_connections")), [true, true, true]);
}
