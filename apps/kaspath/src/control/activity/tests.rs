use kaspath_control::{MAX_ANSWER, MAX_SHOWN, PeerStatus};
use kaspath_domain::{Direction, Path, RelayReason, Transport};
use kaspath_gateway::{GatewayEvent, RefusalReason};
use kaspath_kaspa_adaptor::KaspaEvent;
use kaspath_session::MoveKind;
use kaspath_transport_libp2p::CircuitEnd;

use super::*;

const RELAY: &str = "12D3KooWDpJ7As7BWAwRMfu1VU2WCqNjvq387JEYKDBj4kx6nXTN";
const DIRECT: Path = Path::Direct { transport: Transport::Tcp };

fn at(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

fn peer(n: u16) -> PeerIdentity {
    PeerIdentity::from_bytes(&[&[0x12, 32][..], &n.to_be_bytes(), &[0; 30]].concat()).unwrap()
}

fn of_node() -> Facts {
    let relay = format!("/ip4/203.0.113.1/tcp/4001/p2p/{RELAY}").parse().unwrap();
    Facts::new(&NetworkConfig { relays: vec![relay], ..NetworkConfig::default() })
}

fn of_relay() -> Facts {
    Facts::new(&NetworkConfig::default())
}

fn status(facts: &Facts, now: Duration) -> Status {
    facts.status(&peer(0), now)
}

/// The status of the one relay.
fn relay(facts: &Facts, now: Duration) -> (String, Option<f64>, Option<f64>) {
    let relay = status(facts, now).relays.shown.remove(0);
    (relay.state, relay.age, relay.retry_in)
}

fn reservation(facts: &mut Facts, state: ReservationState, now: Duration) {
    facts.network(&NetworkEvent::Reservation { relay: RELAY.parse().unwrap(), state }, now);
}

#[test]
fn a_configured_relay_is_shown_from_the_start_with_its_state() {
    let mut facts = of_node();
    assert_eq!(relay(&facts, at(0)), ("unknown".into(), None, None));
    reservation(&mut facts, ReservationState::Requested, at(1));
    reservation(&mut facts, ReservationState::Confirmed, at(2));
    reservation(&mut facts, ReservationState::Renewed, at(50));
    assert_eq!(relay(&facts, at(60)), ("confirmed".into(), Some(58.0), None));
    let lost = ReservationState::lost(&"gone\x1b[2J".repeat(100), Some(at(5)));
    reservation(&mut facts, lost, at(61));
    assert_eq!(relay(&facts, at(63)), ("lost".into(), Some(2.0), Some(3.0)));
    let cause = status(&facts, at(63)).relays.shown.remove(0).cause.unwrap();
    assert!(cause.len() <= MAX_CAUSE && !cause.chars().any(char::is_control), "{cause}");
    reservation(&mut facts, ReservationState::Renewed, at(64));
    assert_eq!(relay(&facts, at(65)), ("confirmed".into(), Some(1.0), None), "it was lost before");
    facts.network(&NetworkEvent::Reservation { relay: peer(9), state: ReservationState::Confirmed }, at(64));
    assert_eq!(status(&facts, at(64)).relays.total, 1, "of others there is nothing to show");
}

/// Its owner may change by SIGHUP how long it may last.
#[test]
fn a_reservation_is_shown_until_it_ends_however_long_that_is() {
    let mut facts = of_relay();
    facts.network(&NetworkEvent::RelayReservationAccepted { peer: peer(1), renewed: false }, at(0));
    let shown = |facts: &Facts| status(facts, at(1_000_000)).reservations.total;
    assert_eq!(shown(&facts), 1);
    facts.network(&NetworkEvent::RelayReservationEnded { peer: peer(1) }, at(1_000_000));
    assert_eq!(shown(&facts), 0);
}

#[test]
fn circuits_between_two_peers_are_one_line_and_their_bytes_are_counted() {
    let mut facts = of_relay();
    let pair = || (peer(1), peer(2));
    for now in [1, 2] {
        let (source, destination) = pair();
        facts.network(&NetworkEvent::RelayCircuitOpened { source, destination }, at(now));
    }
    let closed = || {
        let (source, destination) = pair();
        let (duration, reason) = (at(1), CircuitEnd::Closed);
        NetworkEvent::RelayCircuitClosed { source, destination, from_source: 10, from_destination: 5, duration, reason }
    };
    facts.network(&closed(), at(3));
    let circuits = status(&facts, at(4)).circuits;
    assert_eq!((circuits.total, circuits.shown[0].count, circuits.shown[0].age), (1, 1, 2.0));
    facts.network(&closed(), at(5));
    facts.network(&closed(), at(6));
    let status = status(&facts, at(7));
    assert_eq!(status.circuits.total, 0);
    assert_eq!((status.counters["relay-circuit-opened"], status.counters["circuit-bytes"]), (2, 45));
}

#[test]
fn what_is_remembered_and_what_is_shown_is_bounded() {
    let mut facts = of_relay();
    for n in 0..=u16::MAX {
        let (source, destination) = (peer(n), peer(n ^ 1));
        if n < 300 {
            facts.network(&NetworkEvent::RelayCircuitOpened { source, destination }, at(1));
        }
        facts.reservations.insert(peer(n), at(1));
        if facts.reservations.len() >= MAX_SERVED {
            break;
        }
    }
    facts.network(&NetworkEvent::RelayReservationAccepted { peer: peer(u16::MAX), renewed: false }, at(2));
    let status = status(&facts, at(3));
    assert_eq!((status.reservations.total, status.reservations.shown.len()), (MAX_SERVED, MAX_SHOWN));
    assert_eq!((status.circuits.total, status.circuits.shown.len()), (300, MAX_SHOWN));
    let answer = kaspath_control::Answer::Status(Box::new(status));
    assert!(kaspath_control::line(&answer, kaspath_control::MAX_ANSWER / 4).is_ok(), "sessions need room too");
}

/// What strangers choose is as long as it can be.
#[test]
fn the_largest_status_fits_into_an_answer() {
    let relays = (0..64).map(|n| format!("/dns/{}.example/udp/4001/quic-v1/p2p/{}", "r".repeat(60), peer(n)).parse().unwrap());
    let mut facts = Facts::new(&NetworkConfig { relays: relays.collect(), ..NetworkConfig::default() });
    let reason = RelayReason::ExchangeFailed { attempts: u32::MAX, cause: "\"".repeat(200) };
    let relayed = Path::Relayed { relay: peer(1), reason: reason.clone() };
    for n in 0..100 {
        let failed = NetworkEvent::PunchFailed { peer: peer(n), attempts: 1, reason: reason.clone(), retry_in: Some(at(1)) };
        facts.network(&failed, at(1));
        let moved = SessionEvent::Moved {
            peer: peer(n),
            kind: MoveKind::Failover,
            from: relayed.clone(),
            to: relayed.clone(),
            stall: at(1),
            replayed: 0,
        };
        facts.recent.session(&moved, at(1));
        let state = ReservationState::lost(&"\"".repeat(1000), Some(at(1)));
        facts.network(&NetworkEvent::Reservation { relay: peer(n), state }, at(1));
    }
    let session = PeerStatus {
        peer: Some(peer(1)),
        address: Some("127.64.0.1:16111".parse().unwrap()),
        direction: Direction::Outbound,
        reason: relay_reason(&relayed),
        path: relayed,
        user_agent: Some("\"".repeat(128)),
        age: 1.0 / 3.0,
        received: u64::MAX,
        sent: u64::MAX,
    };
    let status = Status { peers: Listed::of(vec![session; 4096]), ..status(&facts, at(2)) };
    let (peers, relays) = (status.peers.shown.len(), status.relays.shown.len());
    assert_eq!((peers, relays, status.punches.len(), status.moves.len()), (MAX_SHOWN, 64, 32, 32));
    let length = kaspath_control::line(&kaspath_control::Answer::Status(Box::new(status)), MAX_ANSWER).unwrap().len();
    assert!(length < MAX_ANSWER / 4 * 3, "{length}: reservations and circuits need room too");
}

#[test]
fn events_are_counted_by_the_names_that_logs_have() {
    let mut facts = of_node();
    for _ in 0..3 {
        let remote = "/ip4/192.0.2.1/tcp/1".parse().unwrap();
        facts.network(&NetworkEvent::Connected { peer: peer(1), direction: Direction::Inbound, path: DIRECT, remote }, at(1));
    }
    facts.count(&KaspaEvent::BlockReceived { hash: String::new(), peer: None });
    facts.count(&GatewayEvent::GatewayRefused { peer: peer(1), reason: RefusalReason::NoSlot, cause: "full".into(), omitted: 2 });
    let counters = status(&facts, at(2)).counters;
    assert_eq!((counters["connected"], counters["block-received"], counters["gateway-refused"]), (3, 1, 1));
}

#[test]
fn a_relay_of_the_pool_is_shown_while_it_is_used_and_one_of_the_settings_always() {
    let mut facts = of_node();
    facts.pooled(&peer(9), PoolChange::Used);
    facts.network(&NetworkEvent::Reservation { relay: peer(9), state: ReservationState::Confirmed }, at(1));
    let shown = |facts: &Facts| status(facts, at(2)).relays.shown.into_iter().map(|relay| relay.state).collect::<Vec<_>>();
    assert_eq!(shown(&facts).len(), 2);
    assert!(shown(&facts).contains(&"confirmed".to_owned()));
    for relay in [peer(9), RELAY.parse().unwrap()] {
        facts.pooled(&relay, PoolChange::Released);
    }
    assert_eq!(shown(&facts), ["unknown"]);
}
