//! Floods of QUIC packets: forged Initials and garbage do not shut honest peers out.

mod support;

use std::{
    collections::HashMap,
    net::{Ipv4Addr, SocketAddr, UdpSocket},
    sync::Arc,
    time::Duration,
};

use kaspath_domain::{Route, Transport};
use libp2p::identity::Keypair;
use quinn::crypto::rustls::QuicClientConfig;
use rand::{Rng, SeedableRng, rngs::StdRng};
use support::{DEADLINE, address_over, config, dial, start};
use tokio::{
    task::JoinHandle,
    time::{interval, timeout},
};

/// More than any pool of pending connections of a node holds.
const INITIALS: usize = 600;
/// Every Initial comes again after three seconds, before a handshake that nobody
/// answers is given up.
const PER_SECOND: u32 = 200;

/// Whole first packets of QUIC handshakes, each with connection ids and keys of its own.
async fn initials(count: usize) -> Vec<Vec<u8>> {
    let sink = tokio::net::UdpSocket::bind("127.0.0.1:0").await.unwrap();
    let tls = libp2p_tls::make_client_config(&Keypair::generate_ed25519(), None).unwrap();
    let client = quinn::ClientConfig::new(Arc::new(QuicClientConfig::try_from(tls).unwrap()));
    let endpoint = quinn::Endpoint::client("127.0.0.1:0".parse().unwrap()).unwrap();
    // By destination connection id, for a lost one would be sent again.
    let mut initials = HashMap::new();
    let mut connecting = Vec::new();
    while initials.len() < count {
        connecting.push(endpoint.connect_with(client.clone(), sink.local_addr().unwrap(), "flood").unwrap());
        let mut packet = [0; 2048];
        let size = timeout(DEADLINE, sink.recv(&mut packet)).await.expect("an Initial").unwrap();
        let id_end = 6 + usize::from(packet[5]);
        initials.entry(packet[6..id_end].to_vec()).or_insert_with(|| packet[..size].to_vec());
    }
    initials.into_values().collect()
}

/// Sends the packets over and over, each from an address and a port of its own.
fn flood(packets: Vec<Vec<u8>>, to: SocketAddr) -> JoinHandle<()> {
    let sources: Vec<_> =
        (0..packets.len() as u32).map(|n| UdpSocket::bind((Ipv4Addr::from(0x7f64_0000 + n * 257 + 1), 0)).unwrap()).collect();
    tokio::spawn(async move {
        let mut pace = interval(Duration::from_secs(1) / PER_SECOND);
        // All at once first, so that whatever can be full is full.
        for (source, packet) in sources.iter().zip(&packets) {
            source.send_to(packet, to).unwrap();
        }
        loop {
            for (source, packet) in sources.iter().zip(&packets) {
                pace.tick().await;
                source.send_to(packet, to).unwrap();
            }
        }
    })
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn forged_initials_keep_no_honest_peer_out_over_quic_or_tcp() {
    let target = start(config()).await;
    let quic = address_over(&target, Transport::Quic);
    let port = quic.port;
    let packets = initials(INITIALS).await;
    let flood = flood(packets, SocketAddr::from((Ipv4Addr::LOCALHOST, port)));
    for _ in 0..3 {
        for transport in [Transport::Quic, Transport::Tcp] {
            let honest = start(config()).await;
            let route = Route::Direct(address_over(&target, transport));
            dial(&honest, &target, route).await.unwrap_or_else(|error| panic!("over {transport:?}: {error}"));
        }
    }
    assert!(!flood.is_finished());
    flood.abort();
}

#[tokio::test]
async fn garbage_and_broken_initials_leave_the_listener_working() {
    let target = start(config()).await;
    let to = SocketAddr::from((Ipv4Addr::LOCALHOST, address_over(&target, Transport::Quic).port));
    let socket = tokio::net::UdpSocket::bind("127.0.0.1:0").await.unwrap();
    let mut random = StdRng::seed_from_u64(7);
    for mut packet in initials(50).await {
        for _ in 0..20 {
            // A few bytes changed in the header or anywhere, or the end cut off.
            let within = if random.gen_bool(0.5) { 40 } else { packet.len() };
            let at = random.gen_range(0..within);
            packet[at] = random.r#gen();
            let end = if random.gen_bool(0.2) { random.gen_range(1..packet.len()) } else { packet.len() };
            socket.send_to(&packet[..end], to).await.unwrap();
        }
        let mut garbage = [0; 1300];
        random.fill(&mut garbage[..]);
        socket.send_to(&garbage, to).await.unwrap();
    }
    let honest = start(config()).await;
    dial(&honest, &target, Route::Direct(address_over(&target, Transport::Quic))).await.unwrap();
}
