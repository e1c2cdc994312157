//! A node behind a router that maps ports: by PCP, NAT-PMP and UPnP IGD in turn, with the real
//! miniupnpd. Both sites have symmetric NATs, so that nothing but a mapped port lets a peer in.

use std::{
    io::ErrorKind,
    net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream},
    path::{Path, PathBuf},
    time::Duration,
};

use anyhow::{Context, Result, bail, ensure};
use kaspath_domain::MapMethod;
use serde_json::{Value, json};
use tokio::time::{Instant, sleep};

use super::cast::{SESSION, START, is_direct_session, reserved, sites, start_relay, started, strings};
use crate::{
    cli::CommonArgs,
    evidence::Evidence,
    net::{Host, Lab, Miniupnpd, NatKind, WanRange, WireSpec, inside, need_miniupnpd},
    process::{Program, kaspath},
};

/// The node's port, TCP and UDP.
const PORT: u16 = 4011;
/// From the start of the program until both ports are mapped.
const MAPPED: Duration = Duration::from_millis(1500);
/// From the start of the router until both are mapped again.
const MAPPED_AGAIN: Duration = Duration::from_secs(5);
/// The same at a new address, which miniupnpd does not announce: a silent session shows it.
const NEW_ADDRESS: Duration = Duration::from_secs(15);
/// From SIGTERM until the router forwards nothing.
const REMOVED: Duration = Duration::from_millis(1500);
/// Until a program has given up looking for a router.
const UNAVAILABLE: Duration = Duration::from_secs(3);

struct Scene {
    lab: Lab,
    kaspath: PathBuf,
    relay: String,
    dir: tempfile::TempDir,
    evidence: Evidence,
}

pub(crate) async fn mapping(args: &CommonArgs) -> Result<()> {
    need_miniupnpd()?;
    let kaspath = kaspath(args.kaspath.as_ref())?;
    let dir = tempfile::tempdir()?;
    let mut rows = Vec::new();
    let mut path = PathBuf::new();
    for method in MapMethod::ALL {
        let mut specs = sites(NatKind::Symmetric, NatKind::Symmetric, WireSpec::from_args(args));
        specs[0].wan = WanRange::Mappable;
        let lab = Lab::build(specs)?;
        let (relay, addresses) = start_relay(&lab, &kaspath, &dir.path().join("relay").display().to_string()).await?;
        let evidence = Evidence::create(&args.evidence, &format!("mapping-{}", method.name()))?;
        path = evidence.dir().to_path_buf();
        let mut scene =
            Scene { lab, kaspath: kaspath.clone(), relay: addresses.tcp, dir: tempfile::tempdir_in(dir.path())?, evidence };
        let row = scene.play(method).await.with_context(|| format!("with {}", method.name()))?;
        println!("{}: {row}", method.name());
        scene.evidence.events("relay", &relay.stop().await?)?;
        scene.evidence.summary(&row)?;
        rows.push(row);
    }
    println!("evidence: {}", path.display());
    println!("{} passed, 0 failed", rows.len());
    Ok(())
}

impl Scene {
    async fn play(&mut self, method: MapMethod) -> Result<Value> {
        let silent = self.without_a_router().await?;
        let mut router = Miniupnpd::start(&self.lab.sites[0], method)?;
        ensure!(router.mappings()?.is_empty(), "a router that was just started maps ports: {:?}", router.mappings()?);
        ensure!(!reached(&self.lab)?, "the NAT lets a stranger in without a mapping");

        let begin = Instant::now();
        let mut server = self.server("server", &[])?;
        let id = started(&mut server).await?;
        let mapped = both_mapped(&mut server, method, self.lab.sites[0].wan_ip, MAPPED, begin).await?;
        ensure!(mapped.ports == [PORT, PORT], "the same ports are free outside, and others were mapped: {:?}", mapped.ports);
        let rules = router.mappings()?;
        let to_it = rules.iter().filter(|rule| rule.to.port() == PORT && rule.external == PORT).count();
        ensure!(to_it == 2, "the router does not forward both ports: {rules:?}");

        reserved(&mut server).await?;
        let begin = Instant::now();
        let mut client = self.client("client", &id)?;
        client.wait_for("a direct session", SESSION, is_direct_session).await?;
        let used = begin.elapsed();
        self.dialled_at(&client, &id, mapped.ports)?;

        // The router restarts, and somebody else has the port by then.
        router.power_off()?;
        self.lab.reboot_nat(0)?;
        let taken = self.lab.sites[0].occupy(PORT)?;
        sleep(Duration::from_secs(1)).await;
        server.drain();
        let begin = Instant::now();
        router.start_again()?;
        let remapped = both_mapped(&mut server, method, self.lab.sites[0].wan_ip, MAPPED_AGAIN, begin).await?;
        ensure!(!remapped.ports.contains(&PORT), "a port that is taken was mapped: {:?}", remapped.ports);
        // The first client's session may have lived on, if the router remembers its connection.
        let mut second = self.client("second", &id)?;
        second.wait_for("a direct session after the restart", SESSION, is_direct_session).await?;
        let direct_again = begin.elapsed();
        self.dialled_at(&second, &id, remapped.ports)?;
        drop(taken);

        self.lab.change_wan(0)?;
        server.drain();
        let moved = both_mapped(&mut server, method, self.lab.sites[0].wan_ip, NEW_ADDRESS, Instant::now()).await?;

        client.drain();
        ensure!(!client.has("session-ended"), "the session did not outlive the router's restart");
        server.terminate()?;
        let begin = Instant::now();
        while !router.mappings()?.is_empty() {
            ensure!(begin.elapsed() < REMOVED, "{REMOVED:?} after SIGTERM the router forwards {:?}", router.mappings()?);
            sleep(Duration::from_millis(20)).await;
        }
        let removed = begin.elapsed();
        self.evidence.events("server", &server.ended().await?)?;
        self.evidence.events("client", &client.stop().await?)?;
        self.evidence.events("second", &second.stop().await?)?;
        self.evidence.table("miniupnpd.log", &router.log()?)?;
        let ms = |time: Duration| u64::try_from(time.as_millis()).unwrap_or(u64::MAX);
        Ok(json!({
            "method": method.name(), "mapped_ms": ms(mapped.after), "direct_ms": ms(used), "remapped_ms": ms(remapped.after),
            "direct_again_ms": ms(direct_again), "new_address_ms": ms(moved.after), "removed_ms": ms(removed),
            "unavailable_ms": ms(silent),
        }))
    }

    /// Where nothing answers it says so, and with `--no-port-mapping` it asks nothing.
    async fn without_a_router(&self) -> Result<Duration> {
        let site = &self.lab.sites[0];
        site.count_requests()?;
        let mut off = self.server("off", &["--no-port-mapping"])?;
        started(&mut off).await?;
        reserved(&mut off).await?;
        off.stop().await?;
        ensure!(site.requests()? == 0, "with --no-port-mapping the router was asked {} times", site.requests()?);
        let begin = Instant::now();
        let mut alone = self.server("alone", &[])?;
        alone.wait_event("port-mapping-unavailable", UNAVAILABLE).await?;
        let after = begin.elapsed();
        ensure!(site.requests()? > 0, "the router was not asked");
        alone.stop().await?;
        Ok(after)
    }

    fn server(&self, name: &'static str, more: &[&str]) -> Result<Program> {
        let dir = self.dir.path().join(name).display().to_string();
        let (tcp, quic) = (format!("/ip4/0.0.0.0/tcp/{PORT}"), format!("/ip4/0.0.0.0/udp/{PORT}/quic-v1"));
        let mut args = strings(&["server", "--appdir", &dir, "--relay", &self.relay, "-l", &tcp, "-l", &quic]);
        args.extend(strings(more));
        self.program(name, &self.lab.sites[0].host, args)
    }

    fn client(&self, name: &'static str, server: &str) -> Result<Program> {
        let dir = self.dir.path().join(name).display().to_string();
        let remote = format!("{}/p2p-circuit/p2p/{server}", self.relay);
        self.program(name, &self.lab.sites[1].host, strings(&["client", "--appdir", &dir, "--remote", &remote]))
    }

    fn program(&self, name: &'static str, host: &Host, mut args: Vec<String>) -> Result<Program> {
        args.extend(strings(&[
            "--network",
            "simnet",
            "--log-format",
            "json",
            "--test-traffic",
            "100",
            "--log-level",
            "debug,libraries=warn",
        ]));
        let log = self.evidence.dir().join(format!("{name}.log"));
        Program::start_logged(name, host, Path::new(&self.kaspath), &args, &log)
    }

    /// Whether the client's direct connection goes to a mapped port of the server's router.
    fn dialled_at(&self, client: &Program, server: &str, [tcp, udp]: [u16; 2]) -> Result<()> {
        let ip = self.lab.sites[0].wan_ip;
        let places = [format!("/ip4/{ip}/tcp/{tcp}/"), format!("/ip4/{ip}/udp/{udp}/")];
        let is_there = |event: &Value| {
            let remote = event["remote"].as_str().unwrap_or_default();
            event["event"] == "connected" && event["peer"] == server && places.iter().any(|place| remote.starts_with(place))
        };
        ensure!(client.events.iter().any(is_there), "no connection of the client goes to {places:?}");
        Ok(())
    }
}

/// Ports outside, and how long it took until the last was mapped.
struct BothMapped {
    ports: [u16; 2],
    after: Duration,
}

/// Waits until both ports are mapped at that address by that method, in time since `begin`.
async fn both_mapped(
    server: &mut Program,
    method: MapMethod,
    ip: Ipv4Addr,
    within: Duration,
    begin: Instant,
) -> Result<BothMapped> {
    let mut ports = [0; 2];
    while ports.contains(&0) {
        let left = (START + within).saturating_sub(begin.elapsed());
        let event = server.wait_event("port-mapped", left).await?;
        let external: SocketAddr = event["external"].as_str().unwrap_or_default().parse().context("no address")?;
        if external.ip() == ip {
            ensure!(event["by"] == method.name(), "mapped by another method: {event}");
            ports[usize::from(event["protocol"] == "udp")] = external.port();
        }
    }
    let after = begin.elapsed();
    ensure!(after < within, "mapped after {after:?} only; {within:?} are allowed");
    Ok(BothMapped { ports, after })
}

/// Whether a stranger's TCP connection to the site's port gets to its host.
fn reached(lab: &Lab) -> Result<bool> {
    let (site, ip) = (&lab.sites[0].host, lab.sites[0].wan_ip);
    let listener = inside(&site.namespace, || Ok(TcpListener::bind((Ipv4Addr::UNSPECIFIED, PORT))?))?;
    let tried = inside(&lab.relay.namespace, move || {
        Ok(TcpStream::connect_timeout(&SocketAddr::from((ip, PORT)), Duration::from_secs(1)))
    })?;
    drop(listener);
    match tried {
        Ok(_) => Ok(true),
        Err(error) if error.kind() == ErrorKind::TimedOut => Ok(false),
        Err(error) => bail!("a stranger's connection ends otherwise than by silence: {error}"),
    }
}
