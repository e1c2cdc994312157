//! What the metrics cost: `cargo run --release -p kaspath-metrics --example cost`.
//!
//! Times of one scrape of a node with 1,000 peers, and of the observation of one event.

use std::{
    hint::black_box,
    time::{Duration, Instant},
};

use kaspath_domain::{Direction, Path, PeerIdentity, RelayReason, Transport};
use kaspath_metrics::{Metrics, MetricsConfig, Role};
use kaspath_session::{MoveKind, SessionEvent};
use kaspath_transport_libp2p::{NetworkEvent, ReservationState};

const PEERS: u32 = 1_000;
const SCRAPES: usize = 300;
const EVENTS: u32 = 200_000;

fn peer(n: u32) -> PeerIdentity {
    let [a, b, c, d] = n.to_be_bytes();
    PeerIdentity::from_bytes(&[0, 4, a, b, c, d]).expect("an identity")
}

fn path(n: u32) -> Path {
    match n % 3 {
        0 => Path::Direct { transport: Transport::Tcp },
        1 => Path::Direct { transport: Transport::Quic },
        _ => Path::Relayed {
            relay: peer(1_000_000 + n % 5),
            reason: RelayReason::SymmetricNat { attempts: n, ours: true, theirs: false },
        },
    }
}

/// The time of one call, without that of making its parameter.
fn each<E>(name: &str, make: impl Fn(u32) -> E, observe: impl Fn(&E)) {
    let events: Vec<E> = (0..EVENTS).map(make).collect();
    let begin = Instant::now();
    events.iter().for_each(|event| observe(black_box(event)));
    let nanoseconds = begin.elapsed().as_nanos() / u128::from(EVENTS);
    println!("{name:<42} {nanoseconds:>6} ns an event");
}

fn main() {
    let relays = (0..5).map(|n| peer(1_000_000 + n)).collect();
    let config = MetricsConfig { role: Role::Node, version: "0", relays, wanted_reservations: 2, serves: false };
    let metrics = Metrics::new(config);
    let paths: Vec<Path> = (0..PEERS).map(path).collect();
    metrics.read_sessions(move |each| paths.iter().for_each(&mut *each));
    let network = metrics.network_observer();
    let remote: kaspath_domain::PeerLocator = "/ip4/203.0.113.1/udp/4001/quic-v1".parse().expect("an address");
    let connected =
        |n| NetworkEvent::Connected { peer: peer(n), direction: Direction::Inbound, path: path(n), remote: remote.clone() };
    (0..PEERS).for_each(|n| network.observe(&connected(n)));

    let mut times: Vec<Duration> = (0..SCRAPES)
        .map(|_| {
            let begin = Instant::now();
            black_box(metrics.encode());
            begin.elapsed()
        })
        .collect();
    times.sort_unstable();
    let text = metrics.encode();
    let series = text.lines().filter(|line| !line.starts_with('#')).count();
    println!("a scrape of a node with {PEERS} peers: {series} lines, {} bytes", text.len());
    println!("  median {:?}, 99 % {:?}, longest {:?}", times[SCRAPES / 2], times[SCRAPES * 99 / 100], times[SCRAPES - 1]);

    each("connected", connected, |event| network.observe(event));
    each("candidate observed (ignored)", |n| NetworkEvent::StreamsRefused { total: n.into() }, |event| network.observe(event));
    each(
        "reservation renewed",
        |n| NetworkEvent::Reservation { relay: peer(1_000_000 + n % 5), state: ReservationState::Renewed },
        |event| network.observe(event),
    );
    each("punch started", |n| NetworkEvent::PunchStarted { peer: peer(n), attempt: 1 }, |event| network.observe(event));
    each(
        "punch failed",
        |n| NetworkEvent::PunchFailed { peer: peer(n), attempts: 1, reason: RelayReason::PunchLimited, retry_in: None },
        |event| network.observe(event),
    );
    let sessions = metrics.session_observer();
    each(
        "session began",
        |n| SessionEvent::Began { peer: peer(n), path: path(n), after: Duration::from_millis(n.into()), rtt: None },
        |event| sessions.observe(event),
    );
    each(
        "session moved",
        |n| SessionEvent::Moved {
            peer: peer(n),
            kind: MoveKind::Failover,
            from: path(n),
            to: path(n + 1),
            stall: Duration::from_millis(n.into()),
            replayed: 1,
        },
        |event| sessions.observe(event),
    );
}
