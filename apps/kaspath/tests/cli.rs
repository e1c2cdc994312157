//! The program as its user meets it: relay, server and client as processes on
//! loopback, and what it says when something is wrong.

mod support;

use std::{
    path::Path,
    process::{Command, Output},
};

use support::{Running, kaspath, signal};

const STRANGER: &str = "12D3KooWDpJ7As7BWAwRMfu1VU2WCqNjvq387JEYKDBj4kx6nXTN";

fn output(args: &[&str], appdir: &Path) -> Output {
    kaspath(args, appdir).output().unwrap()
}

/// Exit code and standard error.
fn failure(args: &[&str], appdir: &Path) -> (i32, String) {
    let output = output(args, appdir);
    (output.status.code().unwrap_or(-1), String::from_utf8_lossy(&output.stderr).into_owned())
}

#[test]
fn relay_server_and_client_meet_as_processes_and_end_in_order() {
    let dir = tempfile::tempdir().unwrap();
    let json = ["--log-format", "json"];
    let relay_args = [&["relay", "-l", "/ip4/127.0.0.1/tcp/0"][..], &json].concat();
    let relay = Running::start(&relay_args, &dir.path().join("relay"));
    let relay_address = relay.wait_event("started")["listening"][0].as_str().unwrap().to_owned();

    let listen = ["-l", "/ip4/127.0.0.1/tcp/0", "-n", "simnet"];
    // Loopback candidates are not punched, for good reasons; so this pair stays on the relay.
    let server_args = [&["server", "--relay", &relay_address][..], &listen, &json].concat();
    let server = Running::start(&server_args, &dir.path().join("server"));
    let server_id = server.wait_event("started")["peer"].as_str().unwrap().to_owned();
    server.wait_for("a reservation", |event| event["event"] == "reservation" && event["state"] == "confirmed");

    let remote = format!("{relay_address}/p2p-circuit/p2p/{server_id}");
    let client_args = [&["client", "--remote", &remote, "--policy", "relay-only"][..], &listen, &json].concat();
    let client = Running::start(&client_args, &dir.path().join("client"));
    let ready = client.wait_event("peer-ready");
    assert!(ready["path"]["relayed"].is_object(), "{ready}");
    assert_eq!(server.wait_event("peer-ready")["direction"], "inbound");

    assert_eq!(client.stop(), 0);
    server.wait_event("peer-left");
    assert_eq!((server.stop(), relay.stop()), (0, 0));
}

#[test]
fn an_identity_is_made_once_and_kept_private() {
    use std::os::unix::fs::PermissionsExt;
    let dir = tempfile::tempdir().unwrap();
    let first = output(&["id"], dir.path());
    assert!(first.status.success());
    assert_eq!(output(&["id"], dir.path()).stdout, first.stdout);
    let mode = std::fs::metadata(dir.path().join("node.key")).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
}

#[test]
fn wrong_usage_exits_with_2_and_names_cause_and_cure() {
    let dir = tempfile::tempdir().unwrap();
    for (args, expected) in [
        (&["client"][..], "--remote"),
        (&["client", "--remote", "/ip4/1.2.3.4/tcp/x"], "port"),
        (&["server", "--relay", "/ip4/1.2.3/tcp/1"], "IPv4 address"),
        (&["server", "--network", "moonnet"], "testnet-10"),
        (&["server", "--policy", "fastest"], "balanced"),
        (&["server", "--config", "/nonexistent/kaspath.toml"], "/nonexistent/kaspath.toml"),
        (&["client", "--remote-peer-id", "abc", "--remote", "/ip4/1.2.3.4/tcp/1"], "peer id"),
    ] {
        let (code, text) = failure(args, dir.path());
        assert_eq!(code, 2, "{args:?}: {text}");
        assert!(text.contains(expected), "{args:?}: {text}");
    }
}

#[test]
fn a_remote_that_cannot_be_reached_exits_with_1_and_says_why() {
    let dir = tempfile::tempdir().unwrap();
    let once = ["client", "--once", "-l", "/ip4/127.0.0.1/tcp/0", "--remote"];
    for (remote, expected) in [
        (format!("/ip4/127.0.0.1/tcp/9/p2p/{STRANGER}"), "cannot be reached"),
        (format!("/ip4/127.0.0.1/tcp/9/p2p/{STRANGER}/p2p-circuit/p2p/{STRANGER}"), "relay"),
        ("127.0.0.1:9".to_owned(), "refused"),
    ] {
        let (code, text) = failure(&[&once[..], &[&remote]].concat(), dir.path());
        assert_eq!(code, 1, "{remote}: {text}");
        assert!(text.contains(expected), "{remote}: {text}");
    }
}

#[test]
fn a_relay_without_peer_id_is_refused_with_the_cure() {
    let dir = tempfile::tempdir().unwrap();
    let (code, text) = failure(&["server", "-l", "/ip4/127.0.0.1/tcp/0", "--relay", "/ip4/127.0.0.1/tcp/9"], dir.path());
    assert_eq!(code, 2);
    assert!(text.contains("append /p2p/"), "{text}");
}

#[test]
fn redacted_output_names_no_address() {
    let dir = tempfile::tempdir().unwrap();
    let remote = format!("/ip4/192.0.2.7/tcp/9/p2p/{STRANGER}");
    // 192.0.2.0/24 is for documentation and routed nowhere; the policy leaves nothing to dial at all.
    let args = ["client", "--once", "--redact", "--policy", "relay-only", "-l", "/ip4/127.0.0.1/tcp/0", "--remote", &remote];
    let output = output(&args, dir.path());
    let text = String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
    assert!(!text.contains("192.0.2.7"), "{text}");
    assert!(text.contains("relay-only"), "{text}");
}

#[test]
fn a_configuration_is_checked_and_the_example_is_valid() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("kaspath.toml");
    let path = file.to_str().unwrap();
    let kaspath = |args: &[&str]| Command::new(env!("CARGO_BIN_EXE_kaspath")).args(args).output().unwrap();
    let example = kaspath(&["config", "example"]);
    assert!(example.status.success() && !example.stdout.is_empty());
    std::fs::write(&file, example.stdout).unwrap();
    assert_eq!(kaspath(&["config", "check", path]).status.code(), Some(0));
    std::fs::write(&file, "[inbound]\nper-adress = 3\n").unwrap();
    let wrong = kaspath(&["config", "check", path]);
    let text = String::from_utf8_lossy(&wrong.stderr);
    assert_eq!(wrong.status.code(), Some(2));
    assert!(text.contains("per-adress") && text.contains("did you mean `per-address`?") && text.contains("line 2"), "{text}");
}

#[test]
fn a_changed_file_is_applied_at_sighup_and_a_wrong_one_is_not() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("kaspath.toml");
    let write = |text: &str| std::fs::write(&file, text).unwrap();
    write("policy = \"relay-only\"\n");
    let args = ["server", "--config", file.to_str().unwrap(), "-l", "/ip4/127.0.0.1/tcp/0", "--log-format", "json"];
    let server = Running::start(&args, dir.path());
    server.wait_event("started");
    let reload = |text: &str, expected: &str| {
        write(text);
        signal("HUP", server.pid());
        server.wait_for(expected, |event| event["text"].as_str().is_some_and(|text| text.contains(expected)));
    };
    reload("policy = \"balanced\"\n", "the policy is balanced now");
    reload("polici = \"balanced\"\n", "did you mean `policy`?");
    reload("policy = \"balanced\"\nnetwork = \"simnet\"\n", "only a restart applies it: network");
    assert_eq!(server.stop(), 0);
}

#[test]
fn peers_are_remembered_listed_banned_and_carried_over() {
    let dir = tempfile::tempdir().unwrap();
    let remote = format!("/ip4/127.0.0.1/tcp/9/p2p/{STRANGER}");
    let once = ["client", "--once", "-l", "/ip4/127.0.0.1/tcp/0", "--remote", &remote];
    assert_eq!(output(&once, dir.path()).status.code(), Some(1));
    let peers = |args: &[&str], dir: &Path| {
        let output = output(&[&["peers"], args].concat(), dir);
        (output.status.code(), String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr))
    };
    let (code, list) = peers(&["list"], dir.path());
    assert_eq!(code, Some(0), "{list}");
    assert!(list.contains(STRANGER) && list.contains(&format!("configured {remote}")), "{list}");

    assert_eq!(peers(&["ban", STRANGER, "--for", "2h"], dir.path()).0, Some(0));
    let (_, banned) = failure(&once, dir.path());
    assert!(banned.contains("the peer is banned"), "{banned}");
    let export = output(&["peers", "export"], dir.path()).stdout;

    let other = tempfile::tempdir().unwrap();
    assert!(peers(&["list"], other.path()).1.contains("there is no peer book"));
    let file = other.path().join("export.json");
    std::fs::write(&file, export).unwrap();
    assert_eq!(peers(&["import", file.to_str().unwrap()], other.path()), (Some(0), "1 peers taken over\n".into()));
    assert!(peers(&["show", STRANGER], other.path()).1.contains("manual_ban"));
    assert_eq!(peers(&["unban", STRANGER], other.path()).0, Some(0));
    assert!(peers(&["unban", STRANGER], other.path()).1.contains("is not banned"));
    assert_eq!(peers(&["forget", STRANGER], other.path()).0, Some(0));
    assert!(peers(&["show", STRANGER], other.path()).1.contains("not in the book"));
}
