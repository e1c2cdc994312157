use clap::CommandFactory;

use super::*;

#[test]
fn the_flags_are_consistent() {
    Cli::command().debug_assert();
}

fn parse(args: &[&str]) -> Result<Cli, clap::Error> {
    Cli::try_parse_from([&["kaspath"], args].concat())
}

/// What every command that has files takes, before its own subcommand and after.
#[test]
fn common_flags_may_follow_anywhere_after_the_command() {
    let flags = ["--config", "c", "--appdir", "a", "--identity", "i"];
    let peer = "4kx6nXTN";
    for command in [
        &["relay"][..],
        &["server"],
        &["client"],
        &["gateway"],
        &["id"],
        &["status"],
        &["peers", "list"],
        &["peers", "show", peer],
        &["peers", "ban", peer],
        &["peers", "unban", peer],
        &["peers", "forget", peer],
        &["peers", "export"],
        &["peers", "import", "f"],
    ] {
        let others: &[&str] = match command[0] {
            "id" => &["--redact"],
            "peers" | "status" => &["--control-socket", "s", "--redact"],
            _ => &["--control-socket", "s", "--redact", "--log-format", "json", "-v"],
        };
        let flags = [&flags[..], others].concat();
        for at in 1..=command.len() {
            let args = [&command[..at], &flags, &command[at..]].concat();
            let parsed = parse(&args).unwrap_or_else(|error| panic!("{args:?}: {error}"));
            let (redact, parsed) = (parsed.redact, parsed.command);
            let folder = parsed.folder().unwrap();
            assert!(folder.config.is_some() && folder.appdir.is_some() && folder.identity.is_some(), "{args:?}");
            assert_eq!(
                (redact, parsed.control().is_some_and(|control| control.control_socket.is_some())),
                (true, command[0] != "id"),
                "{args:?}"
            );
        }
    }
}

#[test]
fn commands_without_files_take_no_flag_for_them() {
    for command in [&["simulate"][..], &["config", "example"], &["config", "check", "f"]] {
        assert!(parse(command).unwrap().command.folder().is_none());
        for flag in [&["--appdir", "a"][..], &["--config", "c"], &["--identity", "i"], &["--control-socket", "s"], &["-v"]] {
            assert!(parse(&[command, flag].concat()).is_err(), "{command:?} {flag:?}");
            assert!(parse(&[&["exec"], flag, &["--", "kaspad"]].concat()).is_err(), "exec {flag:?}");
        }
    }
}

#[test]
fn a_peer_is_named_in_full_or_by_its_end() {
    for name in ["4kx6nXTN", "12D3KooWDpJ7As7BWAwRMfu1VU2WCqNjvq387JEYKDBj4kx6nXTN"] {
        assert!(parse(&["peers", "ban", name]).is_ok(), "{name}");
    }
    let error = parse(&["peers", "ban", "nXTN"]).unwrap_err().to_string();
    assert!(error.contains("last 8 characters"), "{error}");
}
