//! A node that starts before its relay's name resolves, as at any boot.

use std::{fs, path::Path, time::Duration};

use anyhow::{Context, Result, bail};
use serde_json::{Value, json};
use tokio::{process::Command, time::Instant};

use super::cast::{reserved, sites, start_relay, started, strings};
use crate::{
    cli::CommonArgs,
    evidence::Evidence,
    net::{Host, Lab, NatKind, RELAY_IP, WireSpec},
    process::{Program, in_host, kaspath},
};

const NAME: &str = "relay.lab";
/// Time to report that the name does not resolve.
const REPORTED: Duration = Duration::from_secs(10);

pub(crate) async fn late_dns(args: &CommonArgs) -> Result<()> {
    let kaspath = kaspath(args.kaspath.as_ref())?;
    let nat = NatKind::PortRestricted;
    let lab = Lab::build(sites(nat, nat, WireSpec::default()))?;
    let dirs = tempfile::tempdir()?;
    let dir = |name: &str| dirs.path().join(name).display().to_string();
    let mut evidence = Evidence::create(&args.evidence, "late-dns")?;
    let (relay, addresses) = start_relay(&lab, &kaspath, &dir("relay")).await?;
    evidence.name(&addresses.peer, "<relay>");

    let names = Names::create(dirs.path())?;
    let by_name = format!("/dns/{NAME}/tcp/4001/p2p/{}", addresses.peer);
    let server_dir = dir("server");
    let server_args = ["server", "--appdir", &server_dir, "--relay", &by_name, "--network", "simnet", "--log-format", "json"];
    let command = names.in_host(&lab.sites[1].host);
    let mut server = Program::start_by("server", command, &kaspath, &with_program(&kaspath, &strings(&server_args)))?;
    let server_id = started(&mut server).await.context("a name that does not resolve yet must not end the program")?;
    evidence.name(&server_id, "<server>");
    let cause = |event: &Value| ["cause", "text"].iter().find_map(|field| event[*field].as_str()).unwrap_or_default().to_owned();
    let names_it = |event: &Value| cause(event).contains(NAME);
    let report = server.wait_for("a report that the relay's name does not resolve", REPORTED, names_it).await?;
    println!("{NAME} does not resolve yet; the server runs and reports: {}", cause(&report));

    names.add(RELAY_IP.to_string())?;
    let begin = Instant::now();
    reserved(&mut server).await.context("after the name resolves")?;
    let seconds = begin.elapsed().as_secs_f64();
    println!("{NAME} resolves: {seconds:.1} s later the server has its reservation");
    if seconds > 20.0 {
        bail!("that is too late for a node whose network has come up");
    }
    evidence.events("server", &server.stop().await?)?;
    evidence.events("relay", &relay.stop().await?)?;
    evidence.summary(&json!({ "seconds-to-reservation": seconds }))?;
    println!("evidence: {}", evidence.dir().display());
    println!("1 passed, 0 failed");
    Ok(())
}

/// What a host's resolver reads instead of the system's files.
struct Names {
    hosts: std::path::PathBuf,
    resolver: std::path::PathBuf,
}

impl Names {
    fn create(dir: &Path) -> Result<Self> {
        let names = Self { hosts: dir.join("hosts"), resolver: dir.join("resolv.conf") };
        fs::write(&names.hosts, "127.0.0.1 localhost\n")?;
        // Nobody listens there: the answer is an error, at once.
        fs::write(&names.resolver, "nameserver 127.0.0.1\noptions timeout:1 attempts:1\n")?;
        Ok(names)
    }

    /// From now on the name resolves. Written into the same file, for it is mounted.
    fn add(&self, ip: String) -> Result<()> {
        Ok(fs::write(&self.hosts, format!("127.0.0.1 localhost\n{ip} {NAME}\n"))?)
    }

    /// Runs the program that its arguments name, with these files mounted over the
    /// system's in a mount namespace of its own.
    fn in_host(&self, host: &Host) -> Command {
        let mut command = in_host(host, Path::new("unshare"));
        let script = "mount --bind \"$0\" /etc/hosts && mount --bind \"$1\" /etc/resolv.conf && shift && exec \"$@\"";
        command.args(["--mount", "sh", "-c", script]).arg(&self.hosts).arg(&self.resolver);
        command
    }
}

fn with_program(program: &Path, args: &[String]) -> Vec<String> {
    [&[program.display().to_string()], args].concat()
}
