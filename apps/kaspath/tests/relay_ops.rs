//! What a relay's owner does with a running relay: changes its settings, keeps it private,
//! and ends it in order.

mod support;

use std::{
    fs,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    process::Command,
};

use support::{DEADLINE, Running, signal};

/// A relay with a file of its own.
struct Relay {
    running: Running,
    file: PathBuf,
    address: String,
}

impl Relay {
    fn start(dir: &Path, file: &str) -> Self {
        let path = dir.join("kaspath.toml");
        fs::write(&path, file).unwrap();
        let args = ["relay", "--config", path.to_str().unwrap(), "-l", "/ip4/127.0.0.1/tcp/0", "--log-format", "json"];
        let running = Running::start(&args, &dir.join("relay"));
        let address = running.wait_event("started")["listening"][0].as_str().unwrap().to_owned();
        Self { running, file: path, address }
    }

    /// Writes the file and waits for what the relay says of it.
    fn reload(&self, file: &str, expected: &str) {
        fs::write(&self.file, file).unwrap();
        signal("HUP", self.running.pid());
        self.wait_text(expected);
    }

    fn wait_text(&self, expected: &str) {
        self.running.wait_for(expected, |event| event["text"].as_str().is_some_and(|text| text.contains(expected)));
    }

    /// The exit code of a probe, and what it printed.
    fn probe(&self, args: &[&str]) -> (i32, String) {
        let output = Command::new(env!("CARGO_BIN_EXE_kaspath")).args(["probe", &self.address]).args(args).output().unwrap();
        (output.status.code().unwrap(), String::from_utf8_lossy(&output.stdout).into_owned())
    }

    /// Two nodes that have a session over a circuit of it.
    fn pair(&self, dir: &Path) -> [Running; 2] {
        let common = ["-l", "/ip4/127.0.0.1/tcp/0", "-n", "simnet", "--log-format", "json"];
        let server = Running::start(&[&["server", "--relay", &self.address], &common[..]].concat(), &dir.join("server"));
        let id = server.wait_event("started")["peer"].as_str().unwrap().to_owned();
        server.wait_for("a reservation", |event| event["event"] == "reservation" && event["state"] == "confirmed");
        let remote = format!("{}/p2p-circuit/p2p/{id}", self.address);
        let args = ["client", "--remote", &remote, "--policy", "relay-only"];
        let client = Running::start(&[&args, &common[..]].concat(), &dir.join("client"));
        client.wait_event("peer-ready");
        [server, client]
    }
}

fn private_file(path: &Path, text: &str) -> String {
    fs::write(path, text).unwrap();
    fs::set_permissions(path, fs::Permissions::from_mode(0o600)).unwrap();
    path.to_str().unwrap().to_owned()
}

#[test]
fn sighup_changes_limits_and_access_of_a_running_relay_and_a_wrong_file_changes_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let relay = Relay::start(dir.path(), "");
    assert_eq!(relay.probe(&[]).0, 0);
    relay.reload("[relay-server]\nmax-circuits = 3\nquota = \"1TB\"\n", "max-circuits 3; max-circuits-per-peer 3; quota 1TB");
    relay.reload("[relay-server]\nmax-circuitz = 3\n", "did you mean `max-circuits`?");
    relay.reload("[relay-server]\naccess = \"allow\"\n", "allows nobody");
    assert_eq!(relay.probe(&[]).0, 0, "nothing has changed");
    let denied = "[relay-server]\naccess = \"deny\"\naccess-list = [\"127.0.0.0/8\"]\n";
    relay.reload(denied, "access deny, 1 entries");
    let (code, text) = relay.probe(&[]);
    assert!(code == 12 && text.contains("refused: "), "{text}");
    relay.reload("", "access everyone");
    assert_eq!(relay.probe(&[]).0, 0);
    relay.reload("", "nothing to apply");
    assert_eq!(relay.running.stop(), 0);
}

#[test]
fn a_private_relay_serves_those_who_give_its_token() {
    let dir = tempfile::tempdir().unwrap();
    let tokens = private_file(&dir.path().join("tokens"), "the-old-secret\n");
    let relay = Relay::start(dir.path(), &format!("[relay-server]\ntoken-file = {tokens:?}\n"));
    let (code, text) = relay.probe(&[]);
    assert!(code == 12 && text.contains("token"), "{text}");
    assert_eq!(relay.probe(&["--token", "another"]).0, 12);
    assert_eq!(relay.probe(&["--token-file", &tokens]).0, 0);

    let id = relay.address.rsplit_once('/').unwrap().1;
    let given = private_file(&dir.path().join("given"), &format!("{id} the-old-secret\n"));
    let args =
        ["server", "--relay", &relay.address, "--relay-token-file", &given, "-l", "/ip4/127.0.0.1/tcp/0", "--log-format", "json"];
    let server = Running::start(&args, &dir.path().join("server"));
    server.wait_for("a reservation", |event| event["event"] == "reservation" && event["state"] == "confirmed");

    // Another token: who gives the old one loses its reservation, and gets it again with the new one.
    private_file(Path::new(&tokens), "the-new-secret\n");
    signal("HUP", relay.running.pid());
    relay.wait_text("the tokens, 1 of them");
    server.wait_for("its loss", |event| event["event"] == "reservation" && event["state"] == "lost");
    private_file(Path::new(&given), &format!("{id} the-new-secret\n"));
    signal("HUP", server.pid());
    server.wait_for("a reservation", |event| event["event"] == "reservation" && event["state"] == "confirmed");
    assert_eq!((server.stop(), relay.running.stop()), (0, 0));
}

#[test]
fn a_token_that_others_can_read_is_refused_and_never_shown() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("tokens");
    fs::write(&path, "a-secret\n").unwrap();
    let output = support::kaspath(&["relay", "--token-file", path.to_str().unwrap()], dir.path()).output().unwrap();
    let text = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(2));
    assert!(text.contains("chmod 600") && !text.contains("a-secret"), "{text}");
}

#[test]
fn sigterm_drains_until_the_last_circuit_is_gone() {
    let dir = tempfile::tempdir().unwrap();
    let relay = Relay::start(dir.path(), "[relay-server]\ndrain-timeout = \"100s\"\n");
    let [server, client] = relay.pair(dir.path());
    signal("TERM", relay.running.pid());
    let started = relay.running.wait_event("drain-started");
    assert_eq!((&started["circuits"], &started["allowed"]), (&1.into(), &100.0.into()), "{started}");
    let (code, text) = relay.probe(&[]);
    assert!(code == 11 && text.contains("draining: "), "{text}");
    assert_eq!((client.stop(), server.stop()), (0, 0));
    assert_eq!(relay.running.wait_event("drain-ended")["circuits"], 0);
    assert_eq!(relay.running.ended(), 0);
}

#[test]
fn a_drain_ends_at_its_time_and_at_once_by_a_second_signal() {
    let dir = tempfile::tempdir().unwrap();
    let relay = Relay::start(dir.path(), "[relay-server]\ndrain-timeout = \"2s\"\n");
    let nodes = relay.pair(dir.path());
    signal("TERM", relay.running.pid());
    assert_eq!(relay.running.wait_event("drain-ended")["circuits"], 1);
    assert_eq!(relay.running.ended(), 0);
    drop(nodes);

    let relay = Relay::start(dir.path(), &format!("[relay-server]\ndrain-timeout = {}\n", 10 * DEADLINE.as_secs()));
    let nodes = relay.pair(dir.path());
    signal("TERM", relay.running.pid());
    relay.running.wait_event("drain-started");
    signal("TERM", relay.running.pid());
    assert_eq!(relay.running.ended(), 130);
    drop(nodes);
}

#[test]
fn beyond_its_memory_a_relay_takes_nothing_new_until_there_is_room() {
    let dir = tempfile::tempdir().unwrap();
    let relay = Relay::start(dir.path(), "[relay-server]\nmax-memory = \"1MiB\"\n");
    relay.wait_text("max-memory is 1MiB: nothing new is taken");
    assert_ne!(relay.probe(&["--timeout", "3s"]).0, 0);
    relay.reload("[relay-server]\nmax-memory = \"8GiB\"\n", "are taken again");
    assert_eq!(relay.probe(&[]).0, 0);
    assert_eq!(relay.running.stop(), 0);
}
