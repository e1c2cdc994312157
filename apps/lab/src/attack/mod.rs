//! One hostile host: what it sends, how fast, and to whom. It runs inside a host of
//! the lab and reaches nothing else.

mod bomb;
mod circuits;
mod client;
mod initials;
mod kinds;
mod wire;

use std::{sync::Arc, time::Duration};

use anyhow::{Context, Result, bail};
use libp2p::{Multiaddr, identity::Keypair};
use serde_json::json;
use tokio::{
    task::JoinSet,
    time::{Instant, MissedTickBehavior, interval},
};

use crate::{
    cli::{AttackArgs, AttackKind, WitnessArgs},
    net::sandbox,
};
use client::Connection;
use initials::Initials;
use kinds::Attack;

/// Time between two lines about how it goes.
const PROGRESS: Duration = Duration::from_secs(1);

/// What has been done so far.
#[derive(Default)]
struct Count {
    begun: u64,
    /// Ended by the other side, or never let in.
    over: u64,
}

impl Count {
    fn print(&self, event: &str) {
        println!("{}", json!({ "event": event, "connections": self.begun, "over": self.over }));
    }
}

/// Attacks at the given pace, and then holds what it has until it is killed.
pub(crate) async fn attack(args: &AttackArgs) -> Result<()> {
    if !sandbox::is_inside() {
        bail!("attackers run inside the lab only: see `kaspath-lab abuse`");
    }
    let pace = Duration::from_secs(1) / u32::try_from(args.rate.max(1))?;
    if args.kind == AttackKind::SpoofedInitials {
        spoof(args, pace).await?;
    } else {
        connect(args, pace).await?;
    }
    std::future::pending().await
}

/// Says that the flood begins: what it needs is prepared.
fn started() {
    println!("{}", json!({ "event": "started", "peer": "attacker" }));
}

async fn connect(args: &AttackArgs, pace: Duration) -> Result<()> {
    let attack = Arc::new(Attack::prepare(args.kind, &args.relay).await?);
    started();
    let mut running = JoinSet::new();
    let mut ticks = interval(pace);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let (mut count, mut last) = (Count::default(), Instant::now());
    for n in 0..args.count {
        ticks.tick().await;
        let (attack, victim) = (attack.clone(), turn(args, n));
        running.spawn(async move { attack.connection(victim.1, &victim.0).await });
        count.begun += 1;
        while running.try_join_next().is_some() {
            count.over += 1;
        }
        if last.elapsed() > PROGRESS {
            last = Instant::now();
            count.print("attacking");
        }
    }
    count.print("attacked");
    while running.join_next().await.is_some() {}
    Ok(())
}

/// The target of the nth connection, and how many it has had before.
fn turn(args: &AttackArgs, n: u64) -> (crate::cli::Victim, u64) {
    let targets = args.target.len() as u64;
    (args.target[(n % targets) as usize].clone(), n / targets)
}

async fn spoof(args: &AttackArgs, pace: Duration) -> Result<()> {
    let mut initials = Initials::new(args.forged).await?;
    started();
    let mut ticks = interval(pace);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut count = Count::default();
    for n in 0..args.count {
        ticks.tick().await;
        initials.send(turn(args, n).0.ip).await?;
        count.begun += 1;
        if n % args.rate == 0 {
            count.print("attacking");
        }
    }
    count.print("attacked");
    Ok(())
}

/// Reserves at a relay, prints the addresses that it is told, and ends.
pub(crate) async fn witness(args: &WitnessArgs) -> Result<()> {
    println!("{}", json!({ "event": "started", "peer": "witness" }));
    let mut to: Multiaddr = args.relay.parse()?;
    to.pop().context("no peer id")?;
    let connection = Connection::open(&Keypair::generate_ed25519(), to).await?;
    let mut stream = connection.stream().await?;
    wire::propose(&mut stream, wire::HOP).await?;
    let answer = wire::ask(&mut stream, &wire::reserve()).await?;
    let (Some(reservation), Some(wire::OK)) = (answer.reservation, answer.status) else {
        bail!("no reservation: status {:?}", answer.status);
    };
    let addresses: Vec<String> = reservation
        .addresses
        .into_iter()
        .map(|bytes| Multiaddr::try_from(bytes).map(|address| address.to_string()))
        .collect::<Result<_, _>>()?;
    println!("{}", json!({ "event": "reserved", "addresses": addresses }));
    std::future::pending().await
}
