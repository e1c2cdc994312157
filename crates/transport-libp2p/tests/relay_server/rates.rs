//! Bytes per second of real circuits.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use futures::{AsyncReadExt as _, AsyncWriteExt as _};
use kaspath_transport_libp2p::{ConnectionLimits, NetworkConfig, RelayServerConfig};
use libp2p::Stream;
use tokio::{task::JoinSet, time::Instant};

use crate::{
    stranger::{OK, RESERVE, Stranger},
    support::{Node, config, start},
};

/// As many circuits from one host as a test likes.
fn crowded() -> RelayServerConfig {
    RelayServerConfig {
        max_reservations_per_ip: 100,
        max_reservations_per_prefix: 100,
        max_circuits_per_ip: 100,
        max_circuits_per_prefix: 100,
        ..RelayServerConfig::default()
    }
}

/// A relay that lets all of them in from one host.
async fn relay(server: RelayServerConfig) -> Node {
    start(NetworkConfig { relay_server: Some(server), limits: ConnectionLimits::of_relay(), ..config() }).await
}

/// Sends into a circuit as fast as it goes; counts what comes out.
fn flood((mut near, mut far): (Stream, Stream), tasks: &mut JoinSet<()>) -> Arc<AtomicU64> {
    let received = Arc::new(AtomicU64::new(0));
    tasks.spawn(async move { while near.write_all(&[7; 16 * 1024]).await.is_ok() {} });
    let counted = received.clone();
    tasks.spawn(async move {
        let mut buffer = vec![0; 64 * 1024];
        while let Ok(read @ 1..) = far.read(&mut buffer).await {
            counted.fetch_add(read as u64, Ordering::Relaxed);
        }
    });
    received
}

/// Bytes per second of each, measured from the moment on at which all of them flow and
/// bursts are over.
async fn rates(flows: &[Arc<AtomicU64>], measured: Duration) -> Vec<f64> {
    let read = |flows: &[Arc<AtomicU64>]| -> Vec<u64> { flows.iter().map(|flow| flow.load(Ordering::Relaxed)).collect() };
    let begun = Instant::now();
    while begun.elapsed() < Duration::from_millis(1500) || read(flows).contains(&0) {
        tokio::time::sleep(Duration::from_millis(50)).await;
        assert!(begun.elapsed() < Duration::from_secs(30), "each circuit gets its turn: {:?}", read(flows));
    }
    let (from, begun) = (read(flows), Instant::now());
    tokio::time::sleep(measured).await;
    let (to, took) = (read(flows), begun.elapsed().as_secs_f64());
    to.iter().zip(&from).map(|(to, from)| (to - from) as f64 / took).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn twenty_greedy_circuits_keep_the_limits_of_a_peer_and_of_all_and_none_starves() {
    let (peer, all) = (250_000, 1_000_000);
    let relay = relay(RelayServerConfig { bytes_per_second_per_peer: peer, bytes_per_second: all, ..crowded() }).await;
    let (mut tasks, mut flows, mut peers) = (JoinSet::new(), Vec::new(), Vec::new());
    for _ in 0..20 {
        let (mut source, mut destination) = (Stranger::at(&relay).await, Stranger::at(&relay).await);
        assert_eq!(destination.ask(RESERVE).await, OK);
        flows.push(flood(source.circuit(&mut destination).await, &mut tasks));
        peers.push((source, destination));
    }
    let rates = rates(&flows, Duration::from_secs(4)).await;
    let sum: f64 = rates.iter().sum();
    // The machine may be too busy to use up what there is, but never faster.
    assert!((0.75..1.05).contains(&(sum / all as f64)), "{sum} of {all}: {rates:?}");
    let fair = sum / 20.0;
    assert!(rates.iter().all(|rate| *rate > 0.6 * fair && *rate < 1.4 * fair), "{rates:?}");
    let load = relay.relay_load().await.unwrap();
    assert!(load.waits > 0 && load.waited > Duration::from_secs(1) && load.circuits == 20, "{load:?}");

    // Without the limit of all, each has its own; without any, none waits.
    relay.set_relay_server(RelayServerConfig { bytes_per_second_per_peer: 50_000, ..crowded() }).await.unwrap();
    let each = self::rates(&flows, Duration::from_secs(4)).await;
    assert!(each.iter().all(|rate| (0.7..1.1).contains(&(rate / 50_000.0))), "{each:?}");
    relay.set_relay_server(crowded()).await.unwrap();
    let free: f64 = self::rates(&flows, Duration::from_secs(1)).await.iter().sum();
    assert!(free > 2.0 * all as f64, "{free}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn circuits_of_one_peer_share_what_it_has_both_ways_together() {
    let peer = 200_000;
    let relay = relay(RelayServerConfig { bytes_per_second_per_peer: peer, ..crowded() }).await;
    let (mut tasks, mut flows, mut peers) = (JoinSet::new(), Vec::new(), Vec::new());
    let mut busy = Stranger::at(&relay).await;
    assert_eq!(busy.ask(RESERVE).await, OK);
    for n in 0..4 {
        let mut other = Stranger::at(&relay).await;
        assert_eq!(other.ask(RESERVE).await, OK);
        // Two that it opened, and two that lead to it.
        let circuit = if n < 2 { busy.circuit(&mut other).await } else { other.circuit(&mut busy).await };
        flows.push(flood(circuit, &mut tasks));
        peers.push(other);
    }
    let sum: f64 = rates(&flows, Duration::from_secs(3)).await.iter().sum();
    assert!((0.75..1.05).contains(&(sum / peer as f64)), "{sum}");
}
