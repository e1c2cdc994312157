//! Floods against a relay, a server and a gateway, with honest peers beside them.

mod gossip;
mod honest;
mod judge;
mod programs;
mod series;
mod stage;

use std::{
    path::{Path, PathBuf},
    time::Duration,
};

use anyhow::{Context, Result, bail};
use clap::ValueEnum;
use kaspath_domain::wall_clock;
use serde_json::{Value, json};
use tokio::time::{Instant, timeout_at};

use super::cast::strings;
use crate::{
    cli::{AbuseArgs, AttackKind, TargetKind, Victim},
    evidence::Evidence,
    net::Host,
    process::{Program, in_host, kaspath},
};
use honest::NEWCOMERS_DO;
pub(crate) use honest::honest;
use judge::{LIMIT_SECONDS, Operation, Round, Verdict, head, judge, row};
pub(crate) use stage::PLAIN_PORT;
use stage::{Running, Stage};

/// Seconds of one flood in the short version.
const SHORT: u64 = 10;
/// Connections of one flood.
const MAX_CONNECTIONS: u64 = 10_000;
/// Forged Initials cost their sender less than connections do.
const INITIALS_PER_CONNECTION: u64 = 2;
/// What is under way when a flood's time is over may still end.
const OUTSTANDING: Duration = Duration::from_secs(LIMIT_SECONDS as u64 + 2);
/// Time for honest peers to have their reservations and for attackers to be ready
/// before the flood, and for all that newcomers do after it.
const PREPARED: Duration = Duration::from_secs(30);
const NEWCOMERS: Duration = Duration::from_secs(60);

pub(crate) async fn abuse(args: &AbuseArgs) -> Result<()> {
    let kaspath = kaspath(args.common.kaspath.as_ref())?;
    let mut evidence = Evidence::create(&args.common.evidence, "abuse")?;
    let scenario =
        Abuse { stage: Stage::build()?, kaspath, seconds: if args.short { SHORT } else { args.seconds }, rate: args.rate };
    let begin = Instant::now();
    println!("{}", head());
    let mut table = head() + "\n";
    let mut rows = Vec::new();
    let mut failed = 0;
    for (kind, targets) in rounds(args) {
        let (round, verdict) = scenario.round(&mut evidence, kind, &targets).await.with_context(|| format!("{kind}"))?;
        let row = row(&round, &verdict);
        println!("{row}");
        table += &(row + "\n");
        failed += usize::from(!verdict.faults.is_empty());
        rows.push(json!({ "round": round, "verdict": verdict }));
    }
    evidence.table("table.txt", &table)?;
    evidence.summary(&json!(rows))?;
    println!("evidence: {}", evidence.dir().display());
    println!("{} passed, {failed} failed, in {:.0} s", rows.len() - failed, begin.elapsed().as_secs_f64());
    if rows.is_empty() {
        bail!("no such attack on such a target");
    }
    if failed > 0 {
        bail!("{failed} of {} floods did harm", rows.len());
    }
    Ok(())
}

/// The floods: each kind on all its targets at once in the short version, on one
/// after the other in the whole.
fn rounds(args: &AbuseArgs) -> Vec<(AttackKind, Vec<TargetKind>)> {
    let kinds = AttackKind::value_variants().iter().copied().filter(|kind| args.only.is_empty() || args.only.contains(kind));
    let mut rounds = Vec::new();
    for kind in kinds {
        let wanted = |target: &TargetKind| kind.applies_to(*target) && (args.target.is_empty() || args.target.contains(target));
        let targets: Vec<TargetKind> = TargetKind::ALL.into_iter().filter(wanted).collect();
        if args.short && !targets.is_empty() {
            rounds.push((kind, targets));
        } else {
            rounds.extend(targets.into_iter().map(|target| (kind, vec![target])));
        }
    }
    rounds
}

struct Abuse {
    stage: Stage,
    kaspath: PathBuf,
    seconds: u64,
    rate: u64,
}

impl Abuse {
    async fn round(&self, evidence: &mut Evidence, kind: AttackKind, targets: &[TargetKind]) -> Result<(Round, Verdict)> {
        let dirs = tempfile::tempdir()?;
        let running = self.stage.start(&self.kaspath, dirs.path()).await?;
        for victim in &running.victims {
            evidence.name(&victim.peer.to_string(), &format!("<{}>", victim.kind));
        }
        honest::create_keys(&dirs.path().join("keys"))?;
        let mut honest = Vec::new();
        for (host, side) in self.stage.honest.iter().zip(["a", "b"]) {
            honest.push(self.honest(host, side, &running, dirs.path(), &[])?);
        }
        for peers in &mut honest {
            peers.wait_event("ready", PREPARED).await?;
        }
        let (mut attackers, wanted) = self.attackers(kind, targets, &running)?;
        for attacker in &mut attackers {
            attacker.wait_event("started", PREPARED).await?;
        }
        let meanwhile = watch(&mut honest, &mut attackers, Duration::from_secs(self.seconds)).await?;
        let begun = attackers.iter().map(begun).sum();
        // Killed, so that their connections end as those of a host that is switched off.
        drop(attackers);

        let mut newcomers = self.honest(&self.stage.newcomer, "c", &running, dirs.path(), &["--once"])?;
        let afterwards = newcomers_operations(&mut newcomers).await;
        drop(newcomers);
        drop(honest);
        let targets = targets.iter().map(ToString::to_string).collect::<Vec<_>>().join(" ");
        let programs = running.stop(evidence, &format!("{kind}-{}", targets.replace(' ', "-"))).await?;
        let expected_afterwards = NEWCOMERS_DO;
        let round =
            Round { kind: kind.to_string(), targets, begun, wanted, meanwhile, afterwards, expected_afterwards, programs };
        let verdict = judge(&round);
        Ok((round, verdict))
    }

    fn honest(&self, host: &Host, side: &str, running: &Running, keys: &Path, more: &[&str]) -> Result<Program> {
        let [relay, server, gateway] = running.victims.each_ref().map(Victim::to_string);
        let keys = keys.join("keys").display().to_string();
        let known = ["--keys", &keys, "--relay", &relay, "--server", &server, "--gateway", &gateway];
        let args = [&["honest", "--side", side][..], &known, more].concat();
        Program::start("honest peers", host, &std::env::current_exe()?, &strings(&args))
    }

    /// Starts them, a quarter of the flood each.
    fn attackers(&self, kind: AttackKind, targets: &[TargetKind], running: &Running) -> Result<(Vec<Program>, u64)> {
        let factor = if kind == AttackKind::SpoofedInitials { INITIALS_PER_CONNECTION } else { 1 };
        let number = self.stage.attackers.len() as u64;
        // The flood goes on while what honest peers have begun is still under way.
        let at_most = |seconds: u64| (self.rate * seconds).min(MAX_CONNECTIONS) * factor / number;
        let (wanted, count) = (at_most(self.seconds), at_most(self.seconds + OUTSTANDING.as_secs()));
        let mut args = strings(&["attack", &kind.to_string(), "--relay", &running.victims[0].to_string()]);
        for victim in running.victims.iter().filter(|victim| targets.contains(&victim.kind)) {
            args.extend(["--target".to_owned(), victim.to_string()]);
        }
        args.extend(["--rate".to_owned(), (self.rate * factor / number).to_string(), "--count".to_owned(), count.to_string()]);
        let this = std::env::current_exe()?;
        let start = |attacker: &stage::Attacker| {
            let args = [&args[..], &strings(&["--forged", attacker.forged])].concat();
            let mut command = in_host(&attacker.host, Path::new("prlimit"));
            command.arg("--nofile=4096:").arg(&this);
            Program::start_by("attacker", command, &this, &args)
        };
        let attackers = self.stage.attackers.iter().map(start).collect::<Result<_>>()?;
        Ok((attackers, wanted * number))
    }
}

/// What honest peers do that they begin while the flood lasts; it lasts until all
/// of it has ended.
async fn watch(honest: &mut [Program], attackers: &mut [Program], flood: Duration) -> Result<Vec<Operation>> {
    let begin = wall_clock().since_epoch().as_secs_f64();
    let end = begin + flood.as_secs_f64();
    let deadline = Instant::now() + flood;
    drain_until(honest, deadline).await?;
    let last = Instant::now() + OUTSTANDING;
    while honest.iter().any(|peers| outstanding(&peers.events, begin, end)) && Instant::now() < last {
        drain_until(honest, (Instant::now() + Duration::from_millis(100)).min(last)).await?;
    }
    for attacker in attackers.iter_mut() {
        attacker.drain();
    }
    Ok(honest.iter().flat_map(|peers| operations(&peers.events, begin, end)).collect())
}

/// Takes what the peers print until then; fails if they end.
async fn drain_until(honest: &mut [Program], deadline: Instant) -> Result<()> {
    for peers in honest {
        while peers.next(deadline).await?.is_some() {}
    }
    Ok(())
}

fn is_within(moment: &Value, begin: f64, end: f64) -> bool {
    moment.as_f64().is_some_and(|moment| (begin..end).contains(&moment))
}

/// Whether something that began in that time has not ended.
fn outstanding(events: &[Value], begin: f64, end: f64) -> bool {
    let count =
        |name: &str| events.iter().filter(|event| event["event"] == name && is_within(&event["begin"], begin, end)).count();
    count("begun") > operations(events, begin, end).len()
}

fn operations(events: &[Value], begin: f64, end: f64) -> Vec<Operation> {
    let of = |event: &Value| serde_json::from_value::<Operation>(event["operation"].clone()).ok();
    events.iter().filter_map(of).filter(|operation| (begin..end).contains(&operation.begin)).collect()
}

/// Connections that an attacker has begun.
fn begun(attacker: &Program) -> u64 {
    attacker.events.iter().filter_map(|event| event["connections"].as_u64()).max().unwrap_or_default()
}

/// What newcomers do; if they cannot go on, what they did until then.
async fn newcomers_operations(newcomers: &mut Program) -> Vec<Operation> {
    let deadline = Instant::now() + NEWCOMERS;
    let done = newcomers.wait_event("done", NEWCOMERS);
    // An end before that is seen by what is missing.
    let _ = timeout_at(deadline, done).await;
    operations(&newcomers.events, 0.0, f64::INFINITY)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_begins_in_the_flood_is_waited_for() {
        let operation = Operation { what: "exchange".into(), peer: "a0".into(), begin: 5.0, seconds: 1.0, error: None };
        let begun = |begin: f64| json!({ "event": "begun", "begin": begin });
        let ended = json!({ "event": "operation", "operation": operation });
        assert!(outstanding(&[begun(5.0)], 4.0, 6.0));
        assert!(!outstanding(&[begun(5.0), ended.clone(), begun(7.0)], 4.0, 6.0));
        assert_eq!(operations(&[ended], 5.5, 6.0).len(), 0);
    }

    #[test]
    fn every_kind_has_a_target() {
        for kind in AttackKind::value_variants() {
            assert!(TargetKind::ALL.into_iter().any(|target| kind.applies_to(target)), "{kind}");
        }
    }
}
