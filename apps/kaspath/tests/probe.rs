//! `kaspath probe` against relays as processes, healthy ones and others.

mod support;

use std::{cell::Cell, net::TcpListener, path::Path, process::Command};

use serde_json::Value;
use support::{Running, free_port, kaspath};

const STRANGER: &str = "12D3KooWDpJ7As7BWAwRMfu1VU2WCqNjvq387JEYKDBj4kx6nXTN";

/// A relay on loopback over TCP and QUIC at one port, and its address over TCP.
struct Relay {
    running: Running,
    address: String,
}

impl Relay {
    fn start(args: &[&str], appdir: &Path) -> Self {
        let port = free_port();
        let [tcp, quic] = [format!("/ip4/127.0.0.1/tcp/{port}"), format!("/ip4/127.0.0.1/udp/{port}/quic-v1")];
        let running = Running::start(&[&["relay", "-l", &tcp, "-l", &quic, "--log-format", "json"], args].concat(), appdir);
        let peer = running.wait_event("started")["peer"].as_str().unwrap().to_owned();
        Self { running, address: format!("{tcp}/p2p/{peer}") }
    }

    fn probe(&self, args: &[&str]) -> (i32, Value) {
        probe(&[&[self.address.as_str()], args].concat())
    }
}

/// Exit code and JSON of a probe.
fn probe(args: &[&str]) -> (i32, Value) {
    let output = Command::new(env!("CARGO_BIN_EXE_kaspath")).args(["probe", "--json"]).args(args).output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let found: Value =
        serde_json::from_str(&text).unwrap_or_else(|_| panic!("{text}{}", String::from_utf8_lossy(&output.stderr)));
    assert_eq!(found["code"].as_i64(), output.status.code().map(i64::from), "{found:#}");
    (output.status.code().unwrap(), found)
}

/// The steps, with a `!` at one that failed.
fn steps(found: &Value) -> String {
    let step = |step: &Value| step["step"].as_str().unwrap().to_owned() + if step["ok"] == true { "" } else { "!" };
    found["steps"].as_array().unwrap().iter().map(step).collect::<Vec<_>>().join(" ")
}

#[test]
fn a_healthy_relay_passes_every_step_and_is_left_as_it_was() {
    let dir = tempfile::tempdir().unwrap();
    let relay = Relay::start(&["--max-circuit-duration", "12h", "--max-circuit-bytes", "1GiB"], dir.path());
    let (code, found) = relay.probe(&[]);
    assert_eq!((code, steps(&found).as_str()), (0, "connect connect identify reserve circuit echo"), "{found:#}");
    assert_eq!((&found["verdict"], &found["circuit_bytes"]), (&"healthy".into(), &(1u64 << 30).into()), "{found:#}");
    assert_eq!(found["circuit_duration"], 12.0 * 3600.0);
    assert!(found["observed"][0].as_str().unwrap().starts_with("/ip4/127.0.0.1/tcp/"), "{found:#}");
    // In whichever order both connections end.
    let (bytes, ended) = (Cell::new(None), Cell::new(false));
    relay.running.wait_for("the end of circuit and reservation", |event| {
        match event["event"].as_str() {
            Some("relay-circuit-closed") => bytes.set(event["from_source"].as_u64()),
            Some("relay-reservation-ended") => ended.set(true),
            _ => {}
        }
        bytes.get().is_some() && ended.get()
    });
    assert!((4096..20_000).contains(&bytes.get().unwrap()), "{bytes:?}");
    assert_eq!(relay.running.stop(), 0);
}

#[test]
fn with_all_transports_one_peer_comes_over_each() {
    let dir = tempfile::tempdir().unwrap();
    let relay = Relay::start(&[], dir.path());
    let (code, found) = relay.probe(&["--all"]);
    assert_eq!((code, steps(&found).as_str()), (0, "connect connect identify reserve circuit echo"), "{found:#}");
    let observed: Vec<&str> = found["observed"].as_array().unwrap().iter().map(|address| address.as_str().unwrap()).collect();
    assert!(observed[0].contains("/tcp/") && observed[1].contains("/quic-v1"), "{observed:?}");
    // By a name, which is looked up once.
    let (code, found) = probe(&[&relay.address.replace("/ip4/127.0.0.1", "/dns4/localhost")]);
    assert_eq!((code, steps(&found).as_str()), (0, "resolve connect connect identify reserve circuit echo"), "{found:#}");
}

#[test]
fn a_relay_without_room_is_full_whatever_it_lacks_room_for() {
    let dir = tempfile::tempdir().unwrap();
    let relay = Relay::start(&["--max-reservations", "1", "--max-circuits", "1"], &dir.path().join("relay"));
    let common = ["-l", "/ip4/127.0.0.1/tcp/0", "-n", "simnet", "--log-format", "json"];
    let server = Running::start(&[&["server", "--relay", &relay.address], &common[..]].concat(), &dir.path().join("server"));
    server.wait_for("a reservation", |event| event["event"] == "reservation" && event["state"] == "confirmed");
    let (code, found) = relay.probe(&[]);
    assert_eq!((code, steps(&found).as_str()), (10, "connect connect identify reserve!"), "{found:#}");
    assert!(found["verdict"] == "full" && found["text"].as_str().unwrap().contains("reservation"), "{found:#}");
    drop(relay);

    let relay = Relay::start(&["--max-circuits", "1"], &dir.path().join("relay"));
    let other = Running::start(&[&["server", "--relay", &relay.address], &common[..]].concat(), &dir.path().join("other"));
    let other_id = other.wait_event("started")["peer"].as_str().unwrap().to_owned();
    other.wait_for("a reservation", |event| event["event"] == "reservation" && event["state"] == "confirmed");
    let remote = format!("{}/p2p-circuit/p2p/{other_id}", relay.address);
    let args = ["client", "--remote", &remote, "--policy", "relay-only"];
    let client = Running::start(&[&args, &common[..]].concat(), &dir.path().join("client"));
    client.wait_event("peer-ready");
    let (code, found) = relay.probe(&[]);
    assert_eq!((code, steps(&found).as_str()), (10, "connect connect identify reserve circuit!"), "{found:#}");
    assert!(found["text"].as_str().unwrap().contains("circuit"), "{found:#}");
}

#[test]
fn what_cannot_be_connected_is_dead_and_a_wrong_peer_id_is_named() {
    let dir = tempfile::tempdir().unwrap();
    let (code, found) = probe(&[&format!("/ip4/127.0.0.1/tcp/{}/p2p/{STRANGER}", free_port())]);
    assert_eq!((code, steps(&found).as_str(), &found["verdict"]), (13, "connect!", &"dead".into()), "{found:#}");
    assert!(found["text"].as_str().unwrap().contains("refused"), "{found:#}");

    // A port that is open and says nothing.
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = format!("/ip4/127.0.0.1/tcp/{}/p2p/{STRANGER}", silent.local_addr().unwrap().port());
    let (code, found) = probe(&[&address, "--timeout", "900ms"]);
    assert_eq!((code, steps(&found).as_str()), (13, "connect!"), "{found:#}");
    assert!(found["seconds"].as_f64().unwrap() < 5.0, "{found:#}");

    let relay = Relay::start(&[], dir.path());
    let (address, peer) = relay.address.rsplit_once('/').unwrap();
    for args in [&[][..], &["--all"]] {
        let (code, found) = probe(&[&[format!("{address}/{STRANGER}").as_str()], args].concat());
        let text = found["text"].as_str().unwrap();
        assert_eq!(code, 13, "{found:#}");
        assert!(text.contains("another peer answers") && text.contains(peer) && text.contains(STRANGER), "{text}");
    }
}

#[test]
fn a_peer_that_is_no_relay_is_faulty() {
    let dir = tempfile::tempdir().unwrap();
    let args = ["server", "-l", "/ip4/127.0.0.1/tcp/0", "--log-format", "json"];
    let server = Running::start(&args, dir.path());
    let address = server.wait_event("started")["listening"][0].as_str().unwrap().to_owned();
    let (code, found) = probe(&[&address]);
    assert_eq!((code, &found["verdict"]), (14, &"faulty".into()), "{found:#}");
    assert!(found["text"].as_str().unwrap().contains("no relay"), "{found:#}");
}

#[test]
fn the_text_has_a_line_for_each_step_then_the_verdict_and_hides_addresses_if_asked() {
    let dir = tempfile::tempdir().unwrap();
    let relay = Relay::start(&[], dir.path());
    let output = Command::new(env!("CARGO_BIN_EXE_kaspath")).args(["probe", &relay.address]).output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success() && text.lines().count() == 7, "{text}");
    assert!(text.lines().last().unwrap().starts_with("healthy: "), "{text}");
    let unreachable = format!("/ip4/192.0.2.7/tcp/9/p2p/{STRANGER}");
    let args = ["probe", "--redact", "--timeout", "600ms", &unreachable];
    let output = Command::new(env!("CARGO_BIN_EXE_kaspath")).args(args).output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert_eq!(output.status.code(), Some(13));
    assert!(!text.contains("192.0.2.7") && text.contains("dead: "), "{text}");
}

#[test]
fn an_identity_of_the_probe_is_used_and_a_wrong_flag_exits_with_2() {
    let dir = tempfile::tempdir().unwrap();
    let relay = Relay::start(&[], &dir.path().join("relay"));
    let id = kaspath(&["id", "--node"], dir.path()).output().unwrap();
    let id = String::from_utf8_lossy(&id.stdout).trim().to_owned();
    let key = dir.path().join("node.key");
    assert_eq!(relay.probe(&["--identity", key.to_str().unwrap()]).0, 0);
    relay
        .running
        .wait_for("its reservation", |event| event["event"] == "relay-reservation-accepted" && event["peer"] == id.as_str());
    let output = Command::new(env!("CARGO_BIN_EXE_kaspath")).args(["probe", "/ip4/127.0.0.1/tcp/9"]).output().unwrap();
    assert_eq!(output.status.code(), Some(2));
    assert!(String::from_utf8_lossy(&output.stderr).contains("append /p2p/"), "{output:?}");
}
