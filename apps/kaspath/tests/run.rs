//! `kaspath run` with a stand-in for kaspad that writes down what it is told. The
//! real one is in the lab.

mod support;

use std::{
    fs,
    net::TcpListener,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    time::Instant,
};

use support::{DEADLINE, Running, free_port, kaspath, signal};

/// Appends its arguments to a file beside it, ends in order when it is told to,
/// and fails at once with `--fail`.
const STAND_IN: &str = r#"#!/bin/sh
trap 'echo told >>"$0.log"; exit 0' TERM INT
echo "started $*" >>"$0.log"
case "$*" in *--fail*) exit 3 ;; esac
while :; do sleep 0.05 & wait $!; done
"#;

struct Kaspad {
    program: PathBuf,
    listen: String,
}

impl Kaspad {
    fn in_dir(dir: &Path) -> Self {
        let program = dir.join("kaspad");
        fs::write(&program, STAND_IN).unwrap();
        fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).unwrap();
        Self { program, listen: format!("--listen=127.0.0.1:{}", free_port()) }
    }

    fn run(&self, dir: &Path) -> Running {
        self.run_with(dir, &["--simnet", &self.listen])
    }

    fn run_with(&self, dir: &Path, flags: &[&str]) -> Running {
        let kaspad = self.program.to_str().unwrap();
        let ours = ["run", "--log-format", "json", "-l", "/ip4/127.0.0.1/tcp/0", "--", kaspad];
        Running::start(&[&ours[..], flags].concat(), dir)
    }

    fn log(&self) -> String {
        fs::read_to_string(self.program.with_extension("log")).unwrap_or_default()
    }

    /// Waits for its log to tell.
    fn wait(&self, what: &str, told: impl Fn(&str) -> bool) {
        let end = Instant::now() + DEADLINE;
        while !told(&self.log()) {
            assert!(Instant::now() < end, "{what} did not come: {}", self.log());
            std::thread::yield_now();
        }
    }
}

#[test]
fn kaspad_gets_its_flags_and_ends_with_the_program() {
    let dir = tempfile::tempdir().unwrap();
    let kaspad = Kaspad::in_dir(dir.path());
    let running = kaspad.run(dir.path());
    running.wait_event("kaspad-started");
    kaspad.wait("its start", |log| log.contains("started"));
    assert_eq!(kaspad.log().trim(), format!("started --simnet {} --rpclisten-json=127.0.0.1:18510", kaspad.listen));
    assert_eq!(running.stop(), 0);
    assert!(kaspad.log().ends_with("told\n"), "{}", kaspad.log());
}

/// kaspad's own default is to listen everywhere and to ask the router for a port.
#[test]
fn a_kaspad_that_its_owner_lets_listen_everywhere_still_does() {
    let dir = tempfile::tempdir().unwrap();
    let kaspad = Kaspad::in_dir(dir.path());
    let running = kaspad.run_with(dir.path(), &["--devnet", "--utxoindex"]);
    let started = running.wait_event("kaspad-started");
    assert_eq!(started["args"], serde_json::json!(["--devnet", "--utxoindex", "--rpclisten-json=127.0.0.1:18610"]));
    assert_eq!(running.stop(), 0);
}

#[test]
fn a_kaspad_that_is_killed_is_started_again() {
    let dir = tempfile::tempdir().unwrap();
    let kaspad = Kaspad::in_dir(dir.path());
    let running = kaspad.run(dir.path());
    let pid = running.wait_event("kaspad-started")["pid"].as_u64().unwrap();
    kaspad.wait("the first start", |log| log.matches("started").count() == 1);
    signal("KILL", u32::try_from(pid).unwrap());
    let again = running.wait_event("kaspad-started")["pid"].as_u64().unwrap();
    assert_ne!(pid, again);
    kaspad.wait("the second start", |log| log.matches("started").count() == 2);
    assert_eq!(running.stop(), 0);
}

#[test]
fn kaspad_does_not_outlive_a_program_that_is_killed() {
    let dir = tempfile::tempdir().unwrap();
    let kaspad = Kaspad::in_dir(dir.path());
    let running = kaspad.run(dir.path());
    running.wait_event("kaspad-started");
    kaspad.wait("its start", |log| log.contains("started"));
    signal("KILL", running.pid());
    kaspad.wait("its end", |log| log.ends_with("told\n"));
}

/// Whatever its owner's peers: kaspad needs no flag for them.
#[test]
fn a_remote_changes_nothing_of_kaspads_flags() {
    let dir = tempfile::tempdir().unwrap();
    let kaspad = Kaspad::in_dir(dir.path());
    let remote = "/ip4/127.0.0.1/tcp/9/p2p/12D3KooWDpJ7As7BWAwRMfu1VU2WCqNjvq387JEYKDBj4kx6nXTN";
    let program = kaspad.program.to_str().unwrap();
    let ours = ["run", "--log-format", "json", "-l", "/ip4/127.0.0.1/tcp/0", "--remote", remote, "--", program];
    let running = Running::start(&[&ours[..], &["--simnet", &kaspad.listen]].concat(), dir.path());
    let started = running.wait_event("kaspad-started");
    assert_eq!(started["args"], serde_json::json!(["--simnet", kaspad.listen, "--rpclisten-json=127.0.0.1:18510"]));
    assert_eq!(running.stop(), 0);
}

#[test]
fn what_cannot_work_ends_at_once_and_says_why() {
    let dir = tempfile::tempdir().unwrap();
    let kaspad = Kaspad::in_dir(dir.path());
    let program = kaspad.program.to_str().unwrap();
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let on_taken = format!("--listen={}", taken.local_addr().unwrap());
    for (command, code, expected) in [
        (vec![program, "--simnet", &kaspad.listen, "--fail"], 1, "kaspad ended at once"),
        (vec!["/nonexistent/kaspad", "--simnet", &kaspad.listen], 1, "cargo install kaspad"),
        (vec!["no-such-kaspad", "--simnet", &kaspad.listen], 1, "neither on the PATH"),
        (vec![program, "--simnet", &on_taken], 1, "listens at"),
        (vec![program, "--simnet", "--listen=[::]"], 2, "use 0.0.0.0 or 127.0.0.1"),
        (vec![program, "--simnet", "--testnet"], 2, "keep one of"),
    ] {
        let args = [&["run", "-l", "/ip4/127.0.0.1/tcp/0", "--"], &command[..]].concat();
        let output = kaspath(&args, dir.path()).output().unwrap();
        let text = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(code), "{command:?}: {text}");
        assert!(text.contains(expected), "{command:?}: {text}");
        let printed = String::from_utf8_lossy(&output.stdout);
        let is_missing = command[0] != program;
        assert!(!(is_missing && printed.contains("started")), "{command:?}: {printed}");
    }
}
