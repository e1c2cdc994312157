//! `kaspath gateway`: private peers and an unmodified kaspad.

use std::{net::SocketAddr, sync::Arc};

use anyhow::{Context, Result, bail};
use async_trait::async_trait;
use kaspath_domain::{DuplexStream, PeerIdentity, PlanRequest, StreamDialer};
use kaspath_gateway::{AddressTable, GatewayEvent, Reach, Sessions, serve_inbound, serve_outbound};
use kaspath_policy::{Executor, StrategyConfig};
use kaspath_transport_libp2p::Network;
use serde_json::json;
use tokio::task::JoinSet;

use crate::{
    node::{now, remote::Remote},
    output::Printer,
    settings::Settings,
    signals,
};

pub(crate) async fn run(settings: Settings) -> Result<()> {
    let node = settings.node.clone().context("a node's settings")?;
    let gateway = settings.gateway.clone().context("a gateway's settings")?;
    let printer = Printer::new(settings.output.clone());
    let table = Arc::new(AddressTable::open(&gateway.table)?);
    let policy = StrategyConfig::new(node.policy).build();
    let network = Arc::new(Network::start(settings.key()?, settings.network_config.clone()).await?);
    printer.started("gateway", &network);
    settings.warn_if_lonely(&printer);
    let sessions = Sessions::new(network.local_peer().clone());
    let report = {
        let printer = printer.clone();
        move |event: GatewayEvent| printer.event(&event, describe(&event))
    };

    let mut tasks = JoinSet::new();
    tasks.spawn({
        let events = printer.clone().follow_network(network.events());
        async move {
            events.await;
            Ok(())
        }
    });
    tasks.spawn({
        let (listener, table, sessions) = (network.listener(), table.clone(), sessions.clone());
        let (policy, report) = (policy.clone(), report.clone());
        async move {
            serve_inbound(listener, gateway.kaspad, table, sessions, policy, now, report).await;
            Ok(())
        }
    });
    let dialers: Vec<Arc<dyn StreamDialer>> = vec![Arc::new(network.dialer())];
    let executor = Arc::new(Executor::new(policy, dialers, now));
    for remote in Remote::group(&node.remotes) {
        let Some(peer) = remote.request.peer.clone() else {
            bail!("{:?} names no peer: append /p2p/<peer id>", remote.request.addresses);
        };
        if &peer == network.local_peer() {
            bail!("{peer} is this node itself");
        }
        let reach = Arc::new(Planned { peer: peer.clone(), request: remote.request, executor: executor.clone() });
        let (table, sessions, report, printer) = (table.clone(), sessions.clone(), report.clone(), printer.clone());
        let port = node.network.p2p_port();
        tasks.spawn(async move {
            let listening = move |local: SocketAddr| {
                let event = json!({ "event": "gateway-peer", "peer": peer, "address": local });
                printer.event(&event, format!("kaspad reaches {} at {local}: start it with --addpeer={local}", peer.short()));
            };
            serve_outbound(reach, port, table, sessions, listening, report).await.map_err(anyhow::Error::from)
        });
    }

    let result = tokio::select! {
        stopped = signals::stop_requested() => stopped.context("cannot watch for signals"),
        failed = first_failure(&mut tasks) => failed,
    };
    tasks.shutdown().await;
    network.shutdown().await;
    result
}

async fn first_failure(tasks: &mut JoinSet<Result<()>>) -> Result<()> {
    while let Some(ended) = tasks.join_next().await {
        ended.context("a task")??;
    }
    Ok(())
}

/// Reaches a peer by the policy's plan.
struct Planned {
    peer: PeerIdentity,
    request: PlanRequest,
    executor: Arc<Executor>,
}

#[async_trait]
impl Reach for Planned {
    fn peer(&self) -> &PeerIdentity {
        &self.peer
    }

    async fn reach(&self) -> Result<DuplexStream, String> {
        let reached = self.executor.reach(&self.request).await;
        reached.map(|(stream, _)| stream).map_err(|error| error.to_string())
    }
}

fn describe(event: &GatewayEvent) -> String {
    match event {
        GatewayEvent::GatewayOpened { peer, address, direction, path } => {
            format!("{direction} session: peer {} is {address} to kaspad, {path}", peer.short())
        }
        GatewayEvent::GatewayClosed { peer, address, after, to_kaspad, to_peer } => {
            let after = after.as_secs_f64();
            format!(
                "session of {} ({address}) ended after {after:.1} s: {to_kaspad} bytes to kaspad, {to_peer} to the peer",
                peer.short()
            )
        }
        GatewayEvent::GatewayRefused { peer, cause } => format!("no session with {}: {cause}", peer.short()),
    }
}
