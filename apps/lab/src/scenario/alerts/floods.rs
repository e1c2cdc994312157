//! A relay that is flooded, with connections and with requests.

use std::{
    net::Ipv4Addr,
    time::{Duration, Instant},
};

use anyhow::Result;
use tokio::time::sleep;

use super::{
    common::Common,
    trial::{Row, Trial},
    unit::Unit,
};
use crate::{
    cli::{AttackKind, TargetKind, Victim},
    evidence::Evidence,
    net::Host,
    process::Program,
    scenario::cast::strings,
};

const RELAY: &str = "flooded-relay";
/// The usual port: attackers know no other.
const PORT: u16 = 4001;
const WEB: u16 = 9_140;
const START: Duration = Duration::from_secs(30);
/// Of each kind, what a limit must refuse.
const CONNECTIONS_A_SECOND: u64 = 100;
const REQUESTS_A_SECOND: u64 = 20;
/// How long connections for requests are held.
const HELD: Duration = Duration::from_secs(4);
/// More than any trial takes.
const SECONDS: u64 = 200;

pub(super) async fn run(
    common: &Common,
    host: &Host,
    ip: Ipv4Addr,
    attacker: &Host,
    evidence: &Evidence,
    rows: &mut Vec<Row>,
) -> Result<()> {
    let relay = Unit::relay(&common.place.at(host), RELAY, PORT, WEB, &[]).await?;
    let prometheus = common.prometheus(&relay).await?;
    let victim = Victim { kind: TargetKind::Relay, ip, peer: relay.peer.parse()? };

    let requests =
        Trial::begin(&prometheus, "KaspathRelayRequestFlood", RELAY, "one host reserves for 20 identities a second").await?;
    let requests = tokio::select! {
        fired = requests.fired() => fired?,
        error = reserve(attacker, &victim) => return Err(error),
    };
    rows.push(requests.cleared(Instant::now()).await?);

    let connections = Trial::begin(&prometheus, "KaspathConnectionFlood", RELAY, "one host connects 100 times a second").await?;
    let attack = self::attack(attacker, AttackKind::OpenClose, &victim, CONNECTIONS_A_SECOND).await?;
    let connections = connections.fired().await?;
    attack.kill().await?;
    rows.push(connections.cleared(Instant::now()).await?);

    prometheus.stop().await?;
    relay.finish(evidence).await
}

/// Reserves for ever, from connections that are given up again and again, for each address has
/// only so many; an error of it.
async fn reserve(host: &Host, victim: &Victim) -> anyhow::Error {
    loop {
        let attack = match attack(host, AttackKind::Reserving, victim, REQUESTS_A_SECOND).await {
            Ok(attack) => attack,
            Err(error) => return error,
        };
        sleep(HELD).await;
        drop(attack);
    }
}

/// Starts an attack; it has begun when this returns.
async fn attack(host: &Host, kind: AttackKind, victim: &Victim, rate: u64) -> Result<Program> {
    let (victim, rate, count) = (victim.to_string(), rate.to_string(), (rate * SECONDS).to_string());
    let args = ["attack", &kind.to_string(), "--target", &victim, "--relay", &victim, "--rate", &rate, "--count", &count];
    let args = [&args[..], &["--forged", "198.18.128.0"]].concat();
    let mut program = Program::start("attacker", host, &std::env::current_exe()?, &strings(&args))?;
    program.wait_event("started", START).await?;
    Ok(program)
}
