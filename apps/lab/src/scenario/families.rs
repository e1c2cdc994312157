//! Peers of both families, and peers in one LAN, each pair over one relay.

use std::{net::Ipv4Addr, path::PathBuf};

use anyhow::{Context, Result, bail};
use serde_json::{Value, json};
use tempfile::TempDir;

use super::cast::{SESSION, START, is_direct_session, ready_over_relay, reserved, started, strings};
use crate::{
    cli::CommonArgs,
    evidence::Evidence,
    net::{Home, Host, NatKind, WireSpec, World},
    process::{Program, kaspath},
};

const RELAY: Ipv4Addr = Ipv4Addr::new(203, 0, 113, 1);

/// The relay's address for a host.
#[derive(Clone, Copy)]
enum Family {
    V4,
    V6,
}

/// A server and a client, and what is to come of them.
struct Case<'a> {
    name: &'static str,
    server: (&'a Host, Family),
    client: (&'a Host, Family),
    flags: &'static [&'static str],
    expected: Expected,
}

enum Expected {
    /// The session ends up at an address that begins like this.
    Direct(&'static str),
    /// It stays on the relay, for that reason.
    Relayed(&'static str),
}

struct Stage {
    kaspath: PathBuf,
    dirs: TempDir,
    evidence: Evidence,
    /// By family.
    relay: [String; 2],
}

pub(crate) async fn families(args: &CommonArgs) -> Result<()> {
    let kaspath = kaspath(args.kaspath.as_ref())?;
    let wire = WireSpec::from_args(args);
    let mut world = World::new()?;
    let nat = NatKind::PortRestricted;
    let (relay_host, relay_v6) = world.public(RELAY)?;
    let (lan, v4): (Home, Home) = (world.home(nat, wire, 2)?, world.home(nat, wire, 1)?);
    let (v6, other_v6): (Home, Home) = (world.only_v6(wire)?, world.only_v6(wire)?);
    let dirs = tempfile::tempdir()?;
    let mut evidence = Evidence::create(&args.evidence, "families")?;

    let dir = dirs.path().join("relay").display().to_string();
    let relay_args = ["relay", "--appdir", &dir, "--log-format", "json", "--drain-timeout", "0"];
    let mut relay = Program::start("relay", &relay_host, &kaspath, &strings(&relay_args))?;
    let id = started(&mut relay).await?;
    evidence.name(&id, "<relay>");
    let at = [format!("/ip4/{RELAY}/tcp/4001/p2p/{id}"), format!("/ip6/{relay_v6}/tcp/4001/p2p/{id}")];
    let mut stage = Stage { kaspath, dirs, evidence, relay: at };
    lan.hosts[1].without_v6()?;
    let near = [(&lan.hosts[0], Family::V4), (&lan.hosts[1], Family::V4)];
    let cases = [
        Case { name: "lan", server: near[0], client: near[1], flags: &[], expected: Expected::Direct("/ip4/192.168.") },
        Case {
            name: "no-lan",
            server: near[0],
            client: near[1],
            flags: &["--no-lan"],
            expected: Expected::Relayed("shared-nat"),
        },
        Case {
            name: "two-firewalls",
            server: (&v6.hosts[0], Family::V6),
            client: (&other_v6.hosts[0], Family::V6),
            flags: &[],
            expected: Expected::Direct("/ip6/3fff:"),
        },
        Case {
            name: "no-common-family",
            server: (&v6.hosts[0], Family::V6),
            client: (&v4.hosts[0], Family::V4),
            flags: &[],
            expected: Expected::Relayed("no-common-family"),
        },
    ];
    let mut results = Vec::new();
    for case in cases {
        let path = stage.play(&case).await.with_context(|| format!("the case {}", case.name))?;
        println!("{}: {path}", case.name);
        results.push(json!({ "case": case.name, "path": path }));
    }
    stage.evidence.events("relay", &relay.stop().await?)?;
    stage.evidence.summary(&json!({ "cases": results }))?;
    println!("evidence: {}", stage.evidence.dir().display());
    println!("{} passed, 0 failed", results.len());
    drop(world);
    Ok(())
}

impl Stage {
    async fn start(&self, role: &'static str, case: &Case<'_>, (host, family): (&Host, Family), to: &[&str]) -> Result<Program> {
        let dir = self.dirs.path().join(format!("{}-{role}", case.name)).display().to_string();
        let relay = &self.relay[family as usize];
        let common = ["--network", "simnet", "--log-format", "json", "--test-traffic", "100", "--relay", relay];
        let args = [&[role, "--appdir", &dir], &common[..], case.flags, to].concat();
        let mut program = Program::start(role, host, &self.kaspath, &strings(&args))?;
        started(&mut program).await.with_context(|| format!("the {role} within {START:?}"))?;
        Ok(program)
    }

    async fn play(&mut self, case: &Case<'_>) -> Result<String> {
        let mut server = self.start("server", case, case.server, &[]).await?;
        reserved(&mut server).await.context("the server's")?;
        let id = server.events.iter().find_map(|event| event["peer"].as_str()).context("no peer id")?.to_owned();
        let remote = format!("{}/p2p-circuit/p2p/{id}", self.relay[case.client.1 as usize]);
        let mut client = self.start("client", case, case.client, &["--remote", &remote]).await?;
        let path = match case.expected {
            Expected::Direct(prefix) => {
                client.wait_for("a session on a direct path", SESSION, is_direct_session).await?;
                let is_to_server =
                    |event: &&Value| event["event"] == "connected" && event["peer"] == id && event["path"]["direct"].is_object();
                let remotes = client.events.iter().filter(is_to_server).filter_map(|event| event["remote"].as_str());
                let remotes: Vec<&str> = remotes.collect();
                if !remotes.iter().all(|remote| remote.starts_with(prefix)) || remotes.is_empty() {
                    bail!("it is direct at {remotes:?} and not at {prefix}");
                }
                remotes[0].split("/p2p/").next().unwrap_or_default().to_owned()
            }
            Expected::Relayed(reason) => {
                let failed = |event: &Value| event["event"] == "punch-failed" && names(&event["reason"], reason);
                server.wait_for("a punch that fails for that reason", SESSION, failed).await?;
                ready_over_relay(&mut client).await?;
                if client.events.iter().any(is_direct_session) {
                    bail!("it is direct");
                }
                format!("relayed: {reason}")
            }
        };
        self.evidence.events(&format!("{}-client", case.name), &client.stop().await?)?;
        self.evidence.events(&format!("{}-server", case.name), &server.stop().await?)?;
        Ok(path)
    }
}

/// Whether a reason as it is printed is that one.
fn names(printed: &Value, reason: &str) -> bool {
    printed == reason || printed.get(reason).is_some()
}
