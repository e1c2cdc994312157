//! What a program prints: to whom, how much of it, and what becomes of the program
//! when nobody reads.

mod support;

use std::{
    fs,
    io::{BufRead, BufReader, PipeReader, PipeWriter, Read, Write, pipe},
    os::unix::fs::{MetadataExt, PermissionsExt},
    process::{Command, Stdio},
};

use support::{Running, ended, free_port, handles_sigterm, kaspath, signal, wait_until};

const STRANGER: &str = "12D3KooWDpJ7As7BWAwRMfu1VU2WCqNjvq387JEYKDBj4kx6nXTN";

/// A pipe that is full: whoever writes there waits. On Linux it holds 64 KiB.
fn full_pipe() -> (PipeReader, PipeWriter) {
    let (reader, mut writer) = pipe().unwrap();
    writer.write_all(&[0; 64 << 10]).unwrap();
    (reader, writer)
}

#[test]
fn a_program_whose_output_nobody_reads_still_ends_at_sigterm() {
    for streams in ["stdout", "both"] {
        let dir = tempfile::tempdir().unwrap();
        let (reader, writer) = full_pipe();
        let mut command = kaspath(&["relay", "-l", "/ip4/127.0.0.1/tcp/0"], dir.path());
        command.stdout(writer.try_clone().unwrap());
        let stderr = if streams == "both" { Stdio::from(writer) } else { Stdio::null() };
        let child = command.stderr(stderr).spawn().unwrap();
        wait_until("the relay's start", || handles_sigterm(child.id()));
        signal("TERM", child.id());
        assert_eq!(ended(child), 0, "{streams}");
        drop(reader);
    }
}

#[test]
fn a_reader_that_goes_away_ends_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let mut command = kaspath(&["relay", "-l", "/ip4/127.0.0.1/tcp/0", "--log-format", "json"], dir.path());
    let mut child = command.stdout(Stdio::piped()).spawn().unwrap();
    let mut first = String::new();
    BufReader::new(child.stdout.take().unwrap()).read_line(&mut first).unwrap();
    assert!(first.contains("started"), "{first}");
    // The reader has gone; each of these prints a line.
    for _ in 0..3 {
        signal("HUP", child.id());
    }
    assert!(child.try_wait().unwrap().is_none());
    signal("TERM", child.id());
    assert_eq!(ended(child), 0);
}

#[test]
fn an_answer_that_cannot_be_written_is_an_error_and_no_panic() {
    for args in [&["config", "example"][..], &["simulate", "--peers", "10", "--per-node", "10"]] {
        let full = fs::File::options().write(true).open("/dev/full").unwrap();
        let output = Command::new(env!("CARGO_BIN_EXE_kaspath")).args(args).stdout(full).output().unwrap();
        let text = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(1), "{text}");
        assert!(text.contains("standard output") && !text.contains("internal error"), "{text}");
    }
}

#[test]
fn a_second_program_on_one_folder_is_refused_and_a_relay_beside_a_node_is_not() {
    let dir = tempfile::tempdir().unwrap();
    let listen = ["-l", "/ip4/127.0.0.1/tcp/0", "--log-format", "json"];
    let server = Running::start(&[&["server"], &listen[..]].concat(), dir.path());
    server.wait_event("started");
    let second = kaspath(&[&["server"], &listen[..]].concat(), dir.path()).output().unwrap();
    let text = String::from_utf8_lossy(&second.stdout);
    assert_eq!(second.status.code(), Some(1), "{text}");
    assert!(text.contains(&format!("process {}", server.pid())) && text.contains("--appdir"), "{text}");
    let relay = Running::start(&[&["relay"], &listen[..]].concat(), dir.path());
    relay.wait_event("started");
    assert_eq!((relay.stop(), server.stop()), (0, 0));
    for entry in fs::read_dir(dir.path()).unwrap() {
        let entry = entry.unwrap();
        assert_eq!(entry.metadata().unwrap().permissions().mode() & 0o077, 0, "{:?}", entry.file_name());
    }
}

#[test]
fn the_id_is_that_of_the_program_that_ran_on_the_folder() {
    let dir = tempfile::tempdir().unwrap();
    let relay = Running::start(&["relay", "-l", "/ip4/127.0.0.1/tcp/0", "--log-format", "json"], dir.path());
    let peer = relay.wait_event("started")["peer"].as_str().unwrap().to_owned();
    assert_eq!(relay.stop(), 0);
    let id = |args: &[&str]| {
        let output = kaspath(&[&["id"], args].concat(), dir.path()).output().unwrap();
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        (text(&output.stdout), text(&output.stderr))
    };
    let (stdout, stderr) = id(&[]);
    assert_eq!(stdout.trim(), peer);
    assert!(stderr.contains("relay.key") && !dir.path().join("node.key").exists(), "{stderr}");
    let (node, made) = id(&["--node"]);
    assert!(node.trim() != peer && made.contains("made a new identity") && made.contains("node.key"), "{made}");
    let (both, _) = id(&[]);
    assert!(both.lines().count() == 2 && both.contains(&peer) && both.contains(node.trim()), "{both}");
    assert_eq!(id(&["--relay"]).0.trim(), peer);
}

#[test]
fn the_external_address_is_given_back_in_text_and_json() {
    let args = ["relay", "-l", "/ip4/127.0.0.1/tcp/0", "--external-address", "/ip4/203.0.113.7/tcp/4001"];
    let dir = tempfile::tempdir().unwrap();
    let json = Running::start(&[&args[..], &["--log-format", "json"]].concat(), dir.path());
    let started = json.wait_event("started");
    let expected = format!("/ip4/203.0.113.7/tcp/4001/p2p/{}", started["peer"].as_str().unwrap());
    assert_eq!(started["announced"][0], expected.as_str());
    assert_eq!(json.stop(), 0);
    let mut text = kaspath(&args, dir.path()).stdout(Stdio::piped()).spawn().unwrap();
    let lines = BufReader::new(text.stdout.take().unwrap()).lines().map_while(Result::ok);
    let wanted = format!("  info   reachable at {expected}");
    assert!(lines.take(3).any(|line| line.ends_with(&wanted)));
    signal("TERM", text.id());
    assert_eq!(ended(text), 0);
}

#[test]
fn redacted_output_names_no_host_whatever_goes_wrong() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("kaspath.toml");
    let write = |text: &str| fs::write(&file, text).unwrap();
    let config = file.to_str().unwrap();
    let said = |args: &[&str]| {
        let output = kaspath(args, dir.path()).output().unwrap();
        String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr)
    };
    let local = ["-l", "/ip4/127.0.0.1/tcp/0"];
    // A name under .invalid never resolves (RFC 2606).
    let by_name = format!("/dns4/home.secret.invalid/tcp/1/p2p/{STRANGER}");
    let once = ["client", "--once", "--remote", &by_name, local[0], local[1]];
    let plain = ["client", "--once", "--remote", "home.secret.invalid:16111", local[0], local[1]];
    write("redact = true\n");
    for args in [
        [&once[..], &["--redact"]].concat(),
        [&once[..], &["--config", config]].concat(),
        [&plain[..], &["--redact"]].concat(),
        vec!["gateway", "--redact", "--kaspad", "192.0.2.77:1"],
        vec!["server", "--redact", "--relay", "/ip4/192.0.2/tcp/1"],
        vec!["peers", "list", "--redact"],
        vec!["peers", "--redact", "show", STRANGER],
        vec!["peers", "--redact", "export"],
    ] {
        let text = said(&args);
        assert!(!text.contains("secret") && !text.contains("192.0.2"), "{args:?}: {text}");
        assert!(!text.is_empty(), "{args:?}");
    }
    write("redact = true\nlisten = [\"/ip4/192.0.2/tcp/1\"]\n");
    let text = said(&["server", "--config", config]);
    assert!(!text.contains("192.0.2") && text.contains("line 2"), "{text}");
}

#[test]
fn kaspads_own_lines_are_redacted_too() {
    let dir = tempfile::tempdir().unwrap();
    let program = dir.path().join("kaspad");
    let script = "#!/bin/sh\necho 'P2P Connected to outgoing peer 192.0.2.77:16111'\necho 'trouble with 192.0.2.78' >&2\n";
    fs::write(&program, format!("{script}while :; do sleep 0.05; done\n")).unwrap();
    fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).unwrap();
    let listen = format!("--listen=127.0.0.1:{}", free_port());
    let args = ["run", "--redact", "-l", "/ip4/127.0.0.1/tcp/0", "--", program.to_str().unwrap(), "--simnet", &listen];
    let (mut reader, writer) = pipe().unwrap();
    let mut command = kaspath(&args, dir.path());
    let child = command.stdout(writer.try_clone().unwrap()).stderr(writer).spawn().unwrap();
    // Its copies of the writing end would keep the pipe open.
    drop(command);
    let mut seen = String::new();
    let mut lines = BufReader::new(&mut reader).lines().map_while(Result::ok);
    while !(seen.contains("outgoing peer") && seen.contains("trouble with")) {
        seen.push_str(&lines.next().expect("kaspad's lines"));
        seen.push('\n');
    }
    signal("TERM", child.id());
    assert_eq!(ended(child), 0);
    reader.read_to_string(&mut seen).unwrap();
    assert!(!seen.contains("192.0.2"), "{seen}");
}

#[test]
fn each_line_of_a_program_has_its_time_with_a_zone_and_its_level() {
    let dir = tempfile::tempdir().unwrap();
    let mut command = kaspath(&["relay", "-l", "/ip4/127.0.0.1/tcp/0"], dir.path());
    let mut relay = command.env("TZ", "UTC-2").stdout(Stdio::piped()).spawn().unwrap();
    let mut lines = BufReader::new(relay.stdout.take().unwrap()).lines().map_while(Result::ok);
    let mut seen: Vec<String> = lines.by_ref().take_while(|line| !line.contains("  ready after ")).collect();
    signal("TERM", relay.id());
    seen.extend(lines);
    assert_eq!(ended(relay), 0);
    assert!(seen.iter().any(|line| line.contains("stopping, by SIGTERM")), "{seen:?}");
    assert!(seen.last().unwrap().contains("  info   stopped in order, after "), "{seen:?}");
    for line in seen {
        let (time, rest) = line.split_once("  ").unwrap();
        assert!(time.len() == 29 && time.as_bytes()[10] == b'T' && time.ends_with("+02:00"), "{line}");
        assert!(rest.starts_with("info   ") || rest.starts_with("warn   "), "{line}");
    }
}

#[test]
fn the_journal_gets_priorities_instead_of_times() {
    let dir = tempfile::tempdir().unwrap();
    let file = fs::File::create(dir.path().join("journal")).unwrap();
    let metadata = file.metadata().unwrap();
    let mut command = kaspath(&["relay", "-l", "/ip4/127.0.0.1/tcp/0"], dir.path());
    command.env("JOURNAL_STREAM", format!("{}:{}", metadata.dev(), metadata.ino()));
    let relay = command.stdout(file).spawn().unwrap();
    let read = || fs::read_to_string(dir.path().join("journal")).unwrap();
    wait_until("its start", || read().contains("ready"));
    signal("TERM", relay.id());
    assert_eq!(ended(relay), 0);
    let text = read();
    assert!(text.starts_with("<6>info   relay 12D3KooW") && text.lines().all(|line| line.starts_with('<')), "{text}");
}

#[test]
fn an_error_of_the_start_is_an_event_and_the_last_one() {
    let dir = tempfile::tempdir().unwrap();
    let taken = free_port();
    let _taken = std::net::TcpListener::bind(("127.0.0.1", taken)).unwrap();
    let in_use = format!("/ip4/127.0.0.1/tcp/{taken}");
    let json = ["--log-format", "json"];
    for (args, code, cause) in [
        (&["relay", "-l", in_use.as_str()][..], 1, "in use"),
        (&["server", "--nonsense"], 2, "--nonsense"),
        (&["server", "--config", "/nonexistent/file"], 2, "/nonexistent/file"),
        (&["server", "--log-level", "sessoin=debug"], 2, "transport, session"),
        (&["client", "--once", "--remote", &format!("/ip4/127.0.0.1/tcp/9/p2p/{STRANGER}")], 1, "refused"),
    ] {
        let output = kaspath(&[args, &json].concat(), dir.path()).output().unwrap();
        let stdout = String::from_utf8(output.stdout).unwrap();
        let event: serde_json::Value = serde_json::from_str(stdout.lines().last().unwrap_or_default()).unwrap();
        assert_eq!((output.status.code(), &event["event"]), (Some(code), &"failed".into()), "{stdout}");
        assert_eq!((&event["code"], &event["level"]), (&code.into(), &"error".into()));
        let told = event["cause"].as_str().unwrap();
        assert!(told.contains(cause) && told.matches(cause).count() == 1, "{told}");
        assert!(!event["causes"].as_array().unwrap().is_empty() && output.stderr.is_empty(), "{event}");
    }
    let mut by_variable = kaspath(&["relay", "-l", &in_use], dir.path());
    let output = by_variable.env("KASPATH_LOG", "loud").output().unwrap();
    let text = String::from_utf8(output.stderr).unwrap();
    assert!(output.status.code() == Some(2) && text.contains("KASPATH_LOG") && text.contains("debug"), "{text}");
}

#[test]
fn a_server_is_ready_with_its_reservation_and_orderly_ends_are_told_as_such() {
    let dir = tempfile::tempdir().unwrap();
    let json = ["-l", "/ip4/127.0.0.1/tcp/0", "--log-format", "json"];
    let start = |args: &[&str], name: &str| Running::start(&[args, &json].concat(), &dir.path().join(name));
    let relay = start(&["relay"], "relay");
    let started = relay.wait_event("started");
    relay.wait_event("ready");
    let at = started["listening"][0].as_str().unwrap();
    let server = start(&["server", "-n", "simnet", "--relay", at], "server");
    let peer = server.wait_event("started")["peer"].as_str().unwrap().to_owned();
    let (is_confirmed, is_ready) =
        (|event: &serde_json::Value| event["state"] == "confirmed", |event: &serde_json::Value| event["event"] == "ready");
    let [_, ready] = server.wait_for_both("its reservation, and readiness", is_confirmed, is_ready);
    assert!(ready["after"].as_f64().unwrap() > 0.0);
    let client = start(&["client", "-n", "simnet", "--remote", &format!("{at}/p2p-circuit/p2p/{peer}")], "client");
    client.wait_event("ready");
    server.wait_event("peer-ready");
    client.wait_event("peer-ready");
    assert_eq!(client.stop(), 0);
    let left = server.wait_event("peer-left");
    assert_eq!(left["reason"], "peer-closed", "{left}");
    // The circuit's connection, and the relay's with the client.
    for side in [&server, &relay] {
        let gone = side.wait_event("disconnected");
        assert!(gone["cause"].is_null(), "{gone}");
    }
    assert_eq!((server.stop(), relay.stop()), (0, 0));
}

#[test]
fn a_gateway_without_kaspad_and_relay_says_what_is_missing_and_why() {
    let dir = tempfile::tempdir().unwrap();
    let kaspad = format!("127.0.0.1:{}", free_port());
    let relay = format!("/ip4/127.0.0.1/tcp/9/p2p/{STRANGER}");
    let json = ["-l", "/ip4/127.0.0.1/tcp/0", "--log-format", "json"];
    let args = [&["gateway", "--kaspad", &kaspad, "--kaspad-rpc", "off", "--relay", &relay], &json[..]].concat();
    let gateway = Running::start(&args, dir.path());
    let event = gateway.wait_event("not-ready");
    let parts: Vec<&str> = event["missing"].as_array().unwrap().iter().map(|part| part["part"].as_str().unwrap()).collect();
    assert_eq!(parts, ["address", "kaspad"]);
    let text = event["text"].as_str().unwrap();
    assert!(text.contains("refused") && text.contains(&kaspad) && !text.contains(": :"), "{text}");
    assert_eq!(gateway.stop(), 0);
}

#[test]
fn a_level_hides_what_is_less_important_in_its_subsystem_alone() {
    let dir = tempfile::tempdir().unwrap();
    let args = ["relay", "-l", "/ip4/127.0.0.1/tcp/0", "--log-format", "json", "--log-level", "off,program=info"];
    let relay = Running::start(&args, dir.path());
    relay.wait_event("ready");
    let at = |name: &str, levels: &str| {
        let json = ["-l", "/ip4/127.0.0.1/tcp/0", "--log-format", "json", "--log-level", levels];
        let remote = format!("/ip4/127.0.0.1/tcp/9/p2p/{STRANGER}");
        let output = kaspath(&[&["client", "--once", "--remote", &remote], &json[..]].concat(), &dir.path().join(name)).output();
        String::from_utf8(output.unwrap().stdout).unwrap()
    };
    let quiet = at("quiet", "error");
    assert!(quiet.lines().count() == 1 && quiet.contains("\"failed\""), "{quiet}");
    assert!(at("usual", "transport=off").contains("\"started\""));
    assert_eq!(relay.stop(), 0);
}
