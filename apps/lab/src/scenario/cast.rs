//! A lab with a relay, a server that is found through it, and a client.

use std::{
    net::Ipv4Addr,
    path::{Path, PathBuf},
    time::Duration,
};

use anyhow::{Context, Result, bail};
use serde_json::Value;
use tempfile::TempDir;
use tokio::time::Instant;

use super::announced::{self, public_addresses};

use crate::{
    cli::CommonArgs,
    evidence::Evidence,
    net::{Host, Lab, NatKind, RELAY_IP, SiteSpec, WanRange, WireSpec},
    process::{Program, kaspath},
};

/// Time for a program to start and listen.
pub(super) const START: Duration = Duration::from_secs(10);
/// Time for a reservation or a session, lossy wires included.
pub(super) const SESSION: Duration = Duration::from_secs(40);
/// What a relay may move while two nodes that are connected directly exchange twenty
/// transactions or blocks, which have three times as many bytes: keepalives, and the nodes'
/// questions for peers.
pub(super) const CONTROL_BYTES: u64 = 12_000;

/// Flags that listen on every address of a host, at the usual port.
pub(super) const ANY: [&str; 4] = ["-l", "/ip4/0.0.0.0/tcp/4001", "-l", "/ip4/0.0.0.0/udp/4001/quic-v1"];

/// The players of one scenario. The client's site is the first, the server's the second.
pub(super) struct Cast {
    pub(super) lab: Lab,
    pub(super) relay: Program,
    pub(super) server: Program,
    pub(super) client: Option<Program>,
    pub(super) evidence: Evidence,
    kaspath: PathBuf,
    appdirs: TempDir,
    policy: &'static str,
    server_address: String,
}

impl WireSpec {
    pub(super) fn from_args(args: &CommonArgs) -> Self {
        Self {
            delay: Duration::from_millis(args.delay),
            jitter: Duration::from_millis(args.jitter),
            loss: args.loss / 100.0,
            rate: None,
        }
    }
}

pub(super) fn sites(client: NatKind, server: NatKind, wire: WireSpec) -> [SiteSpec; 2] {
    [client, server].map(|nat| SiteSpec { nat, wire, wan: WanRange::Documentation })
}

impl Cast {
    /// Builds the lab and starts the relay and the server, which has asked for
    /// its reservation when this returns.
    pub(super) async fn start(args: &CommonArgs, name: &str, specs: [SiteSpec; 2], policy: &'static str) -> Result<Self> {
        let kaspath = kaspath(args.kaspath.as_ref())?;
        let lab = Lab::build(specs)?;
        let appdirs = tempfile::tempdir()?;
        let mut evidence = Evidence::create(&args.evidence, name)?;
        let appdir = |name: &str| appdirs.path().join(name).display().to_string();

        let (relay, addresses) = start_relay(&lab, &kaspath, &appdir("relay")).await?;
        let relay_id = addresses.peer;
        evidence.name(&relay_id, "<relay>");

        let relay_address = if policy == "quic-only" { addresses.quic } else { addresses.tcp };
        let mut server_args = strings(&["server", "--appdir", &appdir("server"), "--relay", &relay_address]);
        server_args.extend(common(policy));
        let mut server = Program::start("server", &lab.sites[1].host, &kaspath, &server_args)?;
        let server_id = started(&mut server).await?;
        evidence.name(&server_id, "<server>");
        let server_address = format!("{relay_address}/p2p-circuit/p2p/{server_id}");
        Ok(Self { lab, relay, server, client: None, evidence, kaspath, appdirs, policy, server_address })
    }

    /// Waits for the server's reservation.
    pub(super) async fn reserved(&mut self) -> Result<()> {
        reserved(&mut self.server).await
    }

    /// Starts the client.
    pub(super) async fn start_client(&mut self) -> Result<()> {
        self.start_client_with(&[]).await
    }

    /// The same with more flags.
    pub(super) async fn start_client_with(&mut self, more: &[&str]) -> Result<()> {
        let appdir = self.client_dir().display().to_string();
        let mut args = strings(&["client", "--appdir", &appdir, "--remote", &self.server_address]);
        args.extend(common(self.policy));
        args.extend(strings(more));
        let mut client = Program::start("client", &self.lab.sites[0].host, &self.kaspath, &args)?;
        let id = started(&mut client).await?;
        self.evidence.name(&id, "<client>");
        self.client = Some(client);
        Ok(())
    }

    /// The folder of the client's files.
    pub(super) fn client_dir(&self) -> PathBuf {
        self.appdirs.path().join("client")
    }

    /// Ends the client in order and writes its events down.
    pub(super) async fn stop_client(&mut self) -> Result<()> {
        let client = self.client.take().context("the client has not been started")?;
        self.evidence.events("client", &client.stop().await?)
    }

    /// Where the relay is.
    pub(super) fn relay_address(&self) -> &str {
        self.server_address.split("/p2p-circuit").next().unwrap_or_default()
    }

    /// Where the server is found.
    pub(super) fn server_address(&self) -> &str {
        &self.server_address
    }

    pub(super) fn client(&mut self) -> Result<&mut Program> {
        self.client.as_mut().context("the client has not been started")
    }

    /// Waits until the relay announces its public addresses; it must announce nothing else.
    pub(super) async fn announced(&mut self) -> Result<()> {
        announced::expect(&mut self.relay, &public_addresses(RELAY_IP)).await
    }

    /// Waits until every circuit that the relay opened has ended.
    pub(super) async fn circuits_ended(&mut self) -> Result<()> {
        self.relay.drain();
        if open_circuits(&self.relay.events) == 0 {
            return Ok(());
        }
        let deadline = Instant::now() + SESSION;
        while self.relay.next(deadline).await?.is_some() {
            if open_circuits(&self.relay.events) == 0 {
                return Ok(());
            }
        }
        bail!("a circuit still stands on the relay after {SESSION:?}")
    }

    /// Waits until so many more transactions are gossiped; fails if they do not come.
    pub(super) async fn await_gossip(&mut self, transactions: u64) -> Result<()> {
        let (begin, deadline) = (self.gossip(), Instant::now() + SESSION);
        while self.gossip() - begin < transactions {
            let client = self.client.as_mut().context("the client has not been started")?;
            let arrived = tokio::select! {
                event = self.server.next(deadline) => event?,
                event = client.next(deadline) => event?,
            };
            if arrived.is_none() {
                bail!("{} of {transactions} transactions were gossiped within {SESSION:?}", self.gossip() - begin);
            }
        }
        Ok(())
    }

    /// Gossip received by both so far, in transactions.
    pub(super) fn gossip(&mut self) -> u64 {
        self.server.drain();
        let mut total = self.server.transactions;
        if let Some(client) = &mut self.client {
            client.drain();
            total += client.transactions;
        }
        total
    }

    /// Ends the programs in order and writes their events down.
    pub(super) async fn finish(self, summary: Value) -> Result<PathBuf> {
        let Self { relay, server, client, evidence, lab, .. } = self;
        if let Some(client) = client {
            evidence.events("client", &client.stop().await?)?;
        }
        evidence.events("server", &server.stop().await?)?;
        evidence.events("relay", &relay.stop().await?)?;
        evidence.summary(&summary)?;
        drop(lab);
        Ok(evidence.dir().to_path_buf())
    }
}

/// A relay's peer id, and its addresses with it.
pub(super) struct RelayAddresses {
    pub(super) peer: String,
    pub(super) tcp: String,
    pub(super) quic: String,
}

/// Starts a relay as the README says: on the wildcard.
pub(super) async fn start_relay(lab: &Lab, kaspath: &Path, appdir: &str) -> Result<(Program, RelayAddresses)> {
    start_relay_at(&lab.relay, RELAY_IP, kaspath, appdir).await
}

/// The same on another host.
pub(super) async fn start_relay_at(host: &Host, ip: Ipv4Addr, kaspath: &Path, appdir: &str) -> Result<(Program, RelayAddresses)> {
    start_relay_with(host, ip, kaspath, appdir, "0").await
}

/// The same, with a time for its circuits to move when it ends.
pub(super) async fn start_relay_with(
    host: &Host,
    ip: Ipv4Addr,
    kaspath: &Path,
    appdir: &str,
    drain: &str,
) -> Result<(Program, RelayAddresses)> {
    let mut args = strings(&["relay", "--appdir", appdir, "--log-format", "json", "--drain-timeout", drain]);
    args.extend(strings(&ANY));
    let mut relay = Program::start("relay", host, kaspath, &args)?;
    let peer = started(&mut relay).await?;
    let [tcp, quic] = public_addresses(ip).map(|address| format!("{address}/p2p/{peer}"));
    Ok((relay, RelayAddresses { peer, tcp, quic }))
}

/// Waits for a program's reservation.
pub(super) async fn reserved(program: &mut Program) -> Result<()> {
    let confirmed = |event: &Value| event["event"] == "reservation" && event["state"] == "confirmed";
    program.wait_for("a confirmed reservation", SESSION, confirmed).await.map(drop)
}

/// Waits until a session over the relay is ready.
pub(super) async fn ready_over_relay(program: &mut Program) -> Result<()> {
    let relayed = |event: &Value| event["event"] == "peer-ready" && relay_reason(event).is_some();
    program.wait_for("Ready over the relay", SESSION, relayed).await.map(drop)
}

fn common(policy: &str) -> Vec<String> {
    strings(&["--network", "simnet", "--policy", policy, "--log-format", "json", "--test-traffic", "100"])
}

pub(super) fn strings(args: &[&str]) -> Vec<String> {
    args.iter().map(|arg| (*arg).to_owned()).collect()
}

/// Waits for a program's first event; its peer id.
pub(super) async fn started(program: &mut Program) -> Result<String> {
    let event = program.wait_event("started", START).await?;
    Ok(event["peer"].as_str().context("no peer id")?.to_owned())
}

/// Circuits that a relay's events have opened and not ended.
fn open_circuits(events: &[Value]) -> usize {
    let count = |name: &str| events.iter().filter(|event| event["event"] == name).count();
    count("relay-circuit-opened").saturating_sub(count("relay-circuit-closed"))
}

/// Whether an event's path is direct over that transport.
pub(super) fn is_direct(event: &Value, transport: &str) -> bool {
    event["path"]["direct"]["transport"] == transport
}

/// Whether an event shows a session on a direct path: one that begins there, or moves there.
pub(super) fn is_direct_session(event: &Value) -> bool {
    let is_session = ["peer-ready", "gateway-opened", "session-moved"].iter().any(|name| event["event"] == *name);
    is_session && event["path"]["direct"].is_object()
}

/// The reason in an event's relayed path, if it is one.
pub(super) fn relay_reason(event: &Value) -> Option<&Value> {
    event["path"]["relayed"].get("reason")
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_circuit_stands_until_its_end_is_reported() {
        let [opened, closed] = ["relay-circuit-opened", "relay-circuit-closed"].map(|name| json!({ "event": name }));
        assert_eq!(open_circuits(&[]), 0);
        assert_eq!(open_circuits(&[opened.clone(), opened.clone(), closed.clone()]), 1);
        assert_eq!(open_circuits(&[opened, closed]), 0);
    }
}
