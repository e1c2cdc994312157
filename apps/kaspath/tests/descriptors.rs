//! Open files: the program raises its own limit, and says what does not fit into it.

mod support;

use std::{path::Path, process::Command};

use support::{Running, kaspath};

/// The same program, started by a shell with these limits.
fn limited(ulimit: &str, args: &[&str], appdir: &Path) -> Command {
    let plain = kaspath(args, appdir);
    let mut command = Command::new("sh");
    command.arg("-c").arg(format!("ulimit {ulimit} && exec \"$0\" \"$@\"")).arg(plain.get_program()).args(plain.get_args());
    command
}

const LISTEN: [&str; 4] = ["--listen", "/ip4/127.0.0.1/tcp/0", "--log-format", "json"];

#[test]
fn the_limit_of_open_files_is_raised_as_far_as_it_may() {
    let dir = tempfile::tempdir().unwrap();
    let relay = Running::run(limited("-Sn 200", &[&["relay"], &LISTEN[..]].concat(), dir.path()));
    relay.wait_event("started");
    let limits = std::fs::read_to_string(format!("/proc/{}/limits", relay.pid())).unwrap();
    let line = limits.lines().find_map(|line| line.strip_prefix("Max open files")).unwrap();
    let numbers: Vec<u64> = line.split_whitespace().filter_map(|word| word.parse().ok()).collect();
    assert_eq!(numbers[0], numbers[1].min(1 << 20), "{line}");
}

#[test]
fn a_relay_with_fewer_open_files_than_its_defaults_need_says_so_and_works() {
    let dir = tempfile::tempdir().unwrap();
    let relay = Running::run(limited("-n 1024", &[&["relay"], &LISTEN[..]].concat(), dir.path()));
    let warning = relay.wait_event("warning");
    assert!(warning["text"].as_str().unwrap().contains("1024 open files"), "{warning}");
    relay.wait_event("started");
}

#[test]
fn limits_that_exceed_the_open_files_are_refused_with_the_key_and_the_cure() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("kaspath.toml");
    std::fs::write(&file, "[connections]\ninbound = 9000\n").unwrap();
    let args = ["relay", "--config", file.to_str().unwrap()];
    let output = limited("-n 4096", &args, dir.path()).output().unwrap();
    let error = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(2), "{error}");
    for word in ["[connections] inbound", "4096", "LimitNOFILE=", "ulimit -Hn"] {
        assert!(error.contains(word), "{word}: {error}");
    }
}
