//! `kaspath gateway` without a kaspad and with one.

mod support;

use std::net::TcpListener;

use kaspath_domain::PeerTarget;
use kaspath_kaspa_adaptor::KaspaNetwork;
use kaspath_node::{
    NodeBuilder,
    transport::{LEGACY_STREAM_PROTOCOL, NetworkConfig, NodeKey},
};
use support::{DEADLINE, Running};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    time::timeout,
};

#[test]
fn a_gateway_without_kaspad_says_so_and_what_to_do_until_it_answers() {
    let dir = tempfile::tempdir().unwrap();
    let address = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let kaspad = address.to_string();
    let args = [
        "gateway",
        "--log-format",
        "json",
        "-l",
        "/ip4/127.0.0.1/tcp/0",
        "--kaspad",
        &kaspad,
        "--kaspad-rpc",
        "off",
        "-n",
        "simnet",
    ];
    let running = Running::start(&args, dir.path());
    let missing = running.wait_event("kaspad-unreachable");
    assert_eq!(missing["address"], kaspad);
    let _kaspad = TcpListener::bind(address).unwrap();
    running.wait_event("kaspad-reachable");
    assert_eq!(running.stop(), 0);
}

#[test]
fn the_gateway_of_every_network_starts_with_the_protocol_of_its_network() {
    for network in KaspaNetwork::ALL {
        let dir = tempfile::tempdir().unwrap();
        let name = network.to_string();
        let flags = ["-l", "/ip4/127.0.0.1/tcp/0", "--kaspad-rpc", "off", "--log-format", "json"];
        let running = Running::start(&[&["gateway", "-n", &name], &flags[..]].concat(), dir.path());
        running.wait_event("started");
        assert_eq!(running.stop(), 0);
    }
}

/// Dials the gateway that is started with these flags, or this file, as a peer that speaks
/// only `/kaspad/transport/1.0.0`. Whether its bytes came to kaspad's port and the answer
/// back.
async fn reaches_kaspad_without_kaspaths_protocols(flags: &[&str], file: &str) -> bool {
    let dir = tempfile::tempdir().unwrap();
    let kaspad = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let config = dir.path().join("kaspath.toml");
    std::fs::write(&config, file).unwrap();
    let (port, config) = (kaspad.local_addr().unwrap().to_string(), config.to_str().unwrap().to_owned());
    let common = ["gateway", "-n", "simnet", "-l", "/ip4/127.0.0.1/tcp/0", "--kaspad-rpc", "off", "--log-format", "json"];
    let gateway = Running::start(&[&common[..], &["--kaspad", &port, "--config", &config], flags].concat(), dir.path());
    let address = gateway.wait_event("started")["listening"][0].as_str().unwrap().parse().unwrap();

    let network = NetworkConfig { protocols: vec![LEGACY_STREAM_PROTOCOL.to_owned()], ..NetworkConfig::default() };
    let peer = NodeBuilder::new(NodeKey::generate()).network(network).start().await.unwrap();
    let reached = async {
        let mut stream = peer.connector().connect(&PeerTarget::at(address)).await.ok()?;
        stream.write_all(b"version").await.ok()?;
        let mut bytes = [0; 7];
        let mut accepted = loop {
            // The gateway also looks whether kaspad is there, and says nothing then.
            let (mut accepted, _) = tokio::select! {
                accepted = kaspad.accept() => accepted.unwrap(),
                refused = stream.read_u8() => panic!("the stream ended before kaspad answered: {refused:?}"),
            };
            if accepted.read_exact(&mut bytes).await.is_ok() {
                break accepted;
            }
        };
        assert_eq!(&bytes, b"version");
        accepted.write_all(b"verack").await.unwrap();
        let mut answer = [0; 6];
        stream.read_exact(&mut answer).await.unwrap();
        assert_eq!(&answer, b"verack");
        Some(())
    };
    let reached = timeout(DEADLINE, reached).await.expect("an answer in time").is_some();
    peer.shutdown().await;
    assert_eq!(gateway.stop(), 0);
    reached
}

#[tokio::test(flavor = "multi_thread")]
async fn a_peer_without_kaspaths_protocols_reaches_kaspad_only_if_the_settings_say_so() {
    assert!(!reaches_kaspad_without_kaspaths_protocols(&[], "").await, "refused by default");
    assert!(reaches_kaspad_without_kaspaths_protocols(&["--accept-kaspad-transport"], "").await);
    assert!(reaches_kaspad_without_kaspaths_protocols(&[], "accept-kaspad-transport = true\n").await);
}
