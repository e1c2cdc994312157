//! The peer book as its user meets it: peers that are reached again by their ids, and
//! what a gateway takes over from earlier versions.

mod support;

use std::{fs, net::TcpListener, path::Path};

use serde_json::Value;
use support::{Running, kaspath};

const STRANGER: &str = "12D3KooWDpJ7As7BWAwRMfu1VU2WCqNjvq387JEYKDBj4kx6nXTN";
/// Banned by kaspad, at 127.80.1.2, in the fixtures.
const BANNED: &str = "12D3KooWEyoppNCUx8Yx66oV9fJnriXwCcXwDDUA2kj6vnc6iDEp";
/// At 127.113.60.148 in the fixture of the gateway's table, and not in the book's.
const AT_GATEWAY: &str = "12D3KooWB4BkqVSso9hWyJowML8LtARFdorcywYYk7Hh5crARjCE";
const CRATES: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../crates");
const NODE: [&str; 6] = ["-l", "/ip4/127.0.0.1/tcp/0", "-n", "simnet", "--log-format", "json"];

fn show(peer: &str, appdir: &Path) -> Value {
    let output = kaspath(&["peers", "show", peer], appdir).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).unwrap()
}

#[test]
fn a_peer_that_was_reached_by_its_address_is_reached_again_by_its_id_alone() {
    let dir = tempfile::tempdir().unwrap();
    let (of_server, of_client) = (dir.path().join("server"), dir.path().join("client"));
    let server = Running::start(&[&["server"][..], &NODE].concat(), &of_server);
    let started = server.wait_event("started");
    let (id, address) = (started["peer"].as_str().unwrap(), started["listening"][0].as_str().unwrap());
    let reach = |remote: &str| {
        let client = Running::start(&[&["client", "--remote", remote][..], &NODE].concat(), &of_client);
        assert_eq!(client.wait_event("peer-ready")["peer"], id);
        assert_eq!(server.wait_event("peer-ready")["direction"], "inbound");
        assert_eq!(client.stop(), 0);
        server.wait_event("peer-left");
    };
    reach(address);
    let record = show(id, &of_client);
    assert_eq!(record["addresses"][0]["locator"], address);
    assert!(
        record["addresses"][0]["last_worked"]["secs"].is_u64() && record["kaspa_ids"].as_array().unwrap().len() == 1,
        "{record}"
    );
    reach(id);
    assert_eq!(show(id, &of_client)["successes"], 2);
    assert_eq!(server.stop(), 0);
    let client_id = String::from_utf8(kaspath(&["id"], &of_client).output().unwrap().stdout).unwrap();
    let record = show(client_id.trim(), &of_server);
    assert_eq!(record["addresses"][0]["source"], "inbound", "{record}");
}

#[test]
fn a_peer_behind_a_relay_is_reached_again_by_its_id_alone() {
    let dir = tempfile::tempdir().unwrap();
    let relay = Running::start(&["relay", "-l", "/ip4/127.0.0.1/tcp/0", "--log-format", "json"], &dir.path().join("relay"));
    let via = relay.wait_event("started")["listening"][0].as_str().unwrap().to_owned();
    let server = Running::start(&[&["server", "--relay", &via][..], &NODE].concat(), &dir.path().join("server"));
    let id = server.wait_event("started")["peer"].as_str().unwrap().to_owned();
    server.wait_for("a reservation", |event| event["event"] == "reservation" && event["state"] == "confirmed");
    for remote in [&format!("{via}/p2p-circuit/p2p/{id}"), &id] {
        let args = [&["client", "--policy", "relay-only", "--remote", remote][..], &NODE].concat();
        let client = Running::start(&args, &dir.path().join("client"));
        let ready = client.wait_event("peer-ready");
        assert!(ready["path"]["relayed"].is_object(), "{ready}");
        // The server's own handshake may end a moment later.
        server.wait_event("peer-ready");
        assert_eq!(client.stop(), 0);
        server.wait_event("peer-left");
    }
    assert_eq!((server.stop(), relay.stop()), (0, 0));
}

#[test]
fn an_id_that_is_not_known_is_refused_with_the_cure() {
    let dir = tempfile::tempdir().unwrap();
    let output = kaspath(&[&["client", "--remote", STRANGER][..], &NODE].concat(), dir.path()).output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    assert_eq!(output.status.code(), Some(1), "{text}");
    assert!(text.contains(STRANGER) && text.contains("give its whole address once"), "{text}");
}

#[test]
fn a_gateway_takes_over_the_book_and_the_table_of_the_last_version() {
    let dir = tempfile::tempdir().unwrap();
    fs::copy(format!("{CRATES}/peer-store/tests/fixtures/peers-v1.redb"), dir.path().join("peers.redb")).unwrap();
    let table = dir.path().join("gateway-addresses.json");
    let fixture = format!("{CRATES}/gateway/src/table/fixtures/gateway-addresses-1.json");
    fs::copy(&fixture, &table).unwrap();
    let kaspad = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().to_string();
    let remote = format!("/ip4/127.0.0.1/tcp/9/p2p/{AT_GATEWAY}");
    let args = ["gateway", "--kaspad", &kaspad, "--kaspad-rpc", "off", "--remote", &remote];
    for _ in 0..2 {
        let gateway = Running::start(&[&args[..], &NODE].concat(), dir.path());
        let refused = gateway.wait_event("gateway-refused");
        assert!(refused["cause"].as_str().unwrap().contains("cannot be reached from 127.113.60.148"), "{refused}");
        assert_eq!(gateway.stop(), 0);
    }
    assert!(!table.exists());
    assert_eq!(fs::read(dir.path().join("gateway-addresses.json.taken-over")).unwrap(), fs::read(fixture).unwrap());
    let banned = show(BANNED, dir.path());
    assert_eq!(banned["loopback"], "127.80.1.2");
    assert_eq!((&banned["kaspad_ban"]["secs"], &banned["manual_ban"]), (&Value::from(1_790_086_800_u64), &Value::Null));
    assert_eq!(show(STRANGER, dir.path())["manual_ban"]["secs"], 1_790_007_300_u64);
}

#[test]
fn a_gateway_refuses_a_table_that_it_cannot_read_and_leaves_it_alone() {
    let dir = tempfile::tempdir().unwrap();
    let table = dir.path().join("gateway-addresses.json");
    fs::write(&table, "garbage").unwrap();
    let output = kaspath(&[&["gateway", "--kaspad-rpc", "off"][..], &NODE].concat(), dir.path()).output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    assert_eq!(output.status.code(), Some(1), "{text}");
    assert!(text.contains("move the file away"), "{text}");
    assert_eq!(fs::read_to_string(table).unwrap(), "garbage");
}
