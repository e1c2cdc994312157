//! A policy of one's own: `docs/policies.md` walks through it.
//!
//! - `own_policy simulate` sets it beside the balanced one.
//! - `own_policy client ADDRESS` reaches a peer by it, says how, and stays until
//!   it is interrupted.

use std::{sync::Arc, time::Duration};

use anyhow::{Context, Result, bail};
use kaspath_domain::{
    Attempt, AttemptOutcome, DialPlan, DialRequest, Moment, PeerAddress, PeerLocator, PeerTarget, PlanRequest, PolicyError,
    Punching, RetryCadence, Route, Stage, TransportPolicy, TransportSet,
};
use kaspath_kaspa_adaptor::{KaspaNetwork, NodeConfig};
use kaspath_node::NodeBuilder;
use kaspath_policy::{StrategyConfig, StrategyName};
use kaspath_simulator::{SimulationConfig, simulate, table};
use kaspath_transport_libp2p::{NetworkConfig, NodeKey};
use serde_json::json;

// The policy begins here.

/// Punches only over TCP, and opens a relayed stream beside the punch after five
/// seconds: for who would rather be connected soon than directly.
struct Brisk;

impl TransportPolicy for Brisk {
    fn name(&self) -> &'static str {
        "brisk"
    }

    fn plan(&self, request: &PlanRequest, _now: Moment) -> Result<DialPlan, PolicyError> {
        let attempt = |route, seconds, start_after| Attempt {
            request: DialRequest { peer: request.peer.clone(), route, timeout: Duration::from_secs(seconds) },
            start_after,
        };
        let stages = request.addresses.iter().filter_map(|locator| match &locator.address {
            PeerAddress::Relayed(relay) => {
                let punch = Route::Punched { relay: relay.clone(), transports: TransportSet::TCP };
                let relayed = Route::Relayed(relay.clone());
                let attempts = vec![attempt(punch, 10, Duration::ZERO), attempt(relayed, 10, Duration::from_secs(5))];
                Some(Stage { attempts })
            }
            PeerAddress::Direct(_) => None,
        });
        let plan = DialPlan { stages: stages.collect() };
        if plan.stages.is_empty() {
            return Err(PolicyError::NoUsableAddress { policy: self.name().into(), known: request.addresses.len() });
        }
        Ok(plan)
    }

    fn observe(&self, _request: &PlanRequest, _outcome: &AttemptOutcome, _now: Moment) {}

    fn punching(&self) -> Punching {
        Punching { transports: TransportSet::TCP, cadence: RetryCadence::punch() }
    }
}

// It ends here; what follows runs it.

fn brisk() -> Arc<dyn TransportPolicy> {
    Arc::new(Brisk)
}

#[tokio::main]
async fn main() -> Result<()> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    match args.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        ["simulate"] => {
            let config = SimulationConfig { peers: 100_000, ..SimulationConfig::default() };
            let balanced = simulate(&config, &|| StrategyConfig::new(StrategyName::Balanced).build());
            println!("{}", table(&[balanced, simulate(&config, &brisk)]));
            Ok(())
        }
        ["client", address] => client(address.parse()?).await,
        _ => bail!("give `simulate`, or `client` and a peer's circuit address"),
    }
}

async fn client(remote: PeerLocator) -> Result<()> {
    let listen = vec!["/ip4/0.0.0.0/tcp/0".parse()?];
    let config = NetworkConfig { listen, ..NetworkConfig::default() };
    let node = NodeBuilder::new(NodeKey::generate()).network(config).policy(brisk()).start().await?;
    println!("{}", json!({ "event": "started", "peer": node.network().local_peer() }));
    let light = node.light_peer(NodeConfig::new(KaspaNetwork::Simnet));
    let peer = light.connect(&PeerTarget::at(remote)).await?;
    println!("{}", json!({ "event": "peer-ready", "path": peer.router().path(), "user_agent": peer.user_agent() }));
    let mut terminate = tokio::signal::unix::signal(tokio::signal::unix::SignalKind::terminate())?;
    tokio::select! {
        _ = terminate.recv() => {}
        interrupted = tokio::signal::ctrl_c() => interrupted.context("cannot watch for signals")?,
    }
    node.shutdown().await;
    Ok(())
}
