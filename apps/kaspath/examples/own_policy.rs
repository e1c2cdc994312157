//! A policy of one's own: `docs/policies.md` walks through it.
//!
//! - `own_policy simulate` sets it beside the balanced one.
//! - `own_policy client ADDRESS` reaches a peer by it, says how, and stays until
//!   it is interrupted.

use std::{sync::Arc, time::Duration};

use anyhow::{Context, Result, bail};
use kaspath_domain::{
    Admission, AdmissionRequest, Attempt, AttemptOutcome, DialPlan, DialRequest, Moment, MonotonicClock, PeerAddress,
    PeerLocator, PlanRequest, PolicyError, RetryCadence, Route, Stage, TransportPolicy, TransportSet,
};
use kaspath_kaspa_adaptor::{KaspaNetwork, KaspaNode, NodeConfig};
use kaspath_policy::{Executor, InboundLimits, PaceConfig, Paced, StrategyConfig, StrategyName};
use kaspath_simulator::{SimulationConfig, simulate, table};
use kaspath_transport_libp2p::{Network, NetworkConfig, NodeKey};
use serde_json::json;

// The policy begins here.

/// Punches over TCP alone, and opens a relayed stream beside the punch after five
/// seconds: for who would rather be connected soon than directly.
struct Brisk;

impl TransportPolicy for Brisk {
    fn name(&self) -> &'static str {
        "brisk"
    }

    fn plan(&self, request: &PlanRequest, _now: Moment) -> Result<DialPlan, PolicyError> {
        let attempt = |route, seconds, start_after| Attempt {
            request: DialRequest { peer: request.peer.clone(), route, deadline: Duration::from_secs(seconds) },
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

    fn admit(&self, request: &AdmissionRequest, _now: Moment) -> Admission {
        InboundLimits::default().admit(request)
    }

    fn observe(&self, _outcome: &AttemptOutcome, _now: Moment) {}

    fn punch_cadence(&self) -> RetryCadence {
        RetryCadence::punch()
    }

    fn punch_transports(&self) -> TransportSet {
        TransportSet::TCP
    }
}

// It ends here; what follows runs it.

fn brisk() -> Arc<dyn TransportPolicy> {
    Arc::new(Paced::new(Arc::new(Brisk), PaceConfig::default()))
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
    let policy = brisk();
    let listen = vec!["/ip4/0.0.0.0/tcp/0".parse()?];
    let network = Network::start(NodeKey::generate(), NetworkConfig { listen, ..NetworkConfig::default() }).await?;
    println!("{}", json!({ "event": "started", "peer": network.local_peer() }));
    let executor = Executor::new(policy, vec![Arc::new(network.dialer())], MonotonicClock::start());
    let request = PlanRequest { peer: remote.peer.clone(), addresses: vec![remote], ..PlanRequest::default() };
    let (stream, _) = executor.reach(&request).await?;
    let peer = KaspaNode::new(NodeConfig::new(KaspaNetwork::Simnet)).connect(stream).await?;
    println!("{}", json!({ "event": "peer-ready", "path": peer.router().path(), "user_agent": peer.user_agent() }));
    let mut terminate = tokio::signal::unix::signal(tokio::signal::unix::SignalKind::terminate())?;
    tokio::select! {
        _ = terminate.recv() => {}
        interrupted = tokio::signal::ctrl_c() => interrupted.context("cannot watch for signals")?,
    }
    network.shutdown().await;
    Ok(())
}
