//! A node whose relays are listed in a file.

mod support;

use std::fs;

use support::{Running, kaspath, signal};

const NODE: [&str; 6] = ["-l", "/ip4/127.0.0.1/tcp/0", "-n", "simnet", "--log-format", "json"];

fn relay(dir: &std::path::Path) -> (Running, String) {
    let relay = Running::start(&["relay", "-l", "/ip4/127.0.0.1/tcp/0", "--log-format", "json"], dir);
    let address = relay.wait_event("started")["listening"][0].as_str().unwrap().to_owned();
    (relay, address)
}

#[test]
fn a_listed_relay_is_used_and_the_list_is_read_again_at_sighup() {
    let root = tempfile::tempdir().unwrap();
    let (first, first_address) = relay(&root.path().join("first"));
    let (second, second_address) = relay(&root.path().join("second"));
    let list = root.path().join("relays");
    fs::write(&list, "no relay\n").unwrap();
    let node_dir = root.path().join("node");
    let node = Running::start(&[&["server", "--relay-list", list.to_str().unwrap()], &NODE[..]].concat(), &node_dir);
    let failed = node.wait_event("relay-list-failed");
    assert!(failed["cause"].as_str().unwrap().contains("line 1"), "{failed}");

    fs::write(&list, format!("# ours\n{first_address}\n")).unwrap();
    let read = node.wait_event("relay-list-read");
    assert_eq!((&read["relays"], &read["level"], &read["subsystem"]), (&1.into(), &"info".into(), &"transport".into()));
    let is_confirmed = |address: &str| {
        let relay = address.rsplit('/').next().unwrap().to_owned();
        move |event: &serde_json::Value| event["state"] == "confirmed" && event["relay"] == relay.as_str()
    };
    let is_ready = |event: &serde_json::Value| event["event"] == "ready";
    node.wait_for_both("a reservation at the first relay, and readiness", is_confirmed(&first_address), is_ready);

    fs::write(&list, second_address.as_str()).unwrap();
    signal("HUP", node.pid());
    node.wait_for("a reservation at the second relay", is_confirmed(&second_address));
    let released = node.wait_for("the first one given back", |event| event["change"] == "released");
    assert_eq!((&released["event"], &released["cause"]), (&"relay-pool".into(), &"withdrawn".into()));
    let status = kaspath(&["status"], &node_dir).output().unwrap();
    let status = String::from_utf8(status.stdout).unwrap();
    assert!(status.contains("1 of 3 held") && status.contains(&second_address), "{status}");
    // Nobody else is there, and that is said.
    assert!(status.contains("search     no other server or client of simnet is found"), "{status}");
    assert_eq!([node, first, second].map(Running::stop), [0, 0, 0]);
}
