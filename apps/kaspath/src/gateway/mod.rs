//! `kaspath gateway`: private peers and an unmodified kaspad. `kaspath run` is
//! the same with the kaspad.

mod control;
mod reachable;
mod text;

use std::{net::SocketAddr, sync::Arc};

use anyhow::{Context, Result, bail};
use async_trait::async_trait;
use kaspath_domain::{DuplexStream, MonotonicClock, PeerIdentity, PlanRequest, StreamDialer};
use kaspath_gateway::{Gateway, GatewayEvent, GatewayParts, NodeControl, PeerTable, Reach};
use kaspath_policy::{Executor, Switch};
use kaspath_transport_libp2p::{Network, NetworkEvent};
use nix::sys::signal::Signal;
use serde_json::json;
use tokio::sync::{
    broadcast::{self, error::RecvError},
    mpsc,
};

use crate::{
    cli::Command,
    control::{Control, Running},
    node::{OwnNat, now, remote::Remote},
    output::Printer,
    peers::{self, Recording},
    run::{Supervisor, locate},
    settings::{Live, NodeSettings, Reload, Settings},
    signals,
    tasks::{Tasks, unexpected_end},
};
use control::RpcControl;

pub(crate) async fn run(settings: Settings, command: Arc<Command>) -> Result<()> {
    let node = settings.node.clone().context("a node's settings")?;
    let mut gateway_settings = settings.gateway.clone().context("a gateway's settings")?;
    if let Some(plan) = &mut gateway_settings.run {
        plan.program = locate(&plan.program)?;
    }
    let printer = Printer::new(settings.output.clone());
    let reload = Reload::new(command, &settings, printer.clone())?;
    let table = Arc::new(PeerTable::open(&gateway_settings.table)?);
    let clock = MonotonicClock::start();
    let switch = Arc::new(Switch::new(node.policy.clone().build()));
    let book = peers::open(&settings.peer_book(), &printer);
    peers::remember_remotes(book.as_ref(), &node.remotes);
    let policy = Arc::new(Recording::new(switch.clone(), book.clone()));
    let control = Control::bind(&settings, &printer)?;
    let network = Arc::new(Network::start(settings.key()?, settings.network_config.clone()).await?);
    printer.started("gateway", &network, &settings.network_config);
    settings.warn_if_lonely(&printer);
    gateway_settings.doubts.iter().for_each(|doubt| printer.warning(doubt));

    let (report, entering, board) = (printer.clone(), book.clone(), control.board());
    let gateway = Gateway::new(GatewayParts {
        local: network.local_peer().clone(),
        kaspad: gateway_settings.kaspad,
        network: node.network.to_string(),
        port: gateway_settings.peer_port(),
        table: table.clone(),
        newcomers: gateway_settings.newcomers,
        policy: policy.clone(),
        control: gateway_settings.rpc.clone().map(|url| Arc::new(RpcControl::new(url)) as Arc<dyn NodeControl>),
        clock,
        wall_clock: Arc::new(now),
        report: Arc::new(move |event: GatewayEvent| {
            peers::remember_gateway(entering.as_ref(), &event);
            board.gateway(&event);
            report.event(&event, text::describe(&event));
        }),
    });

    let mut tasks = Tasks::default();
    control.start(&mut tasks, Running::gateway(network.clone(), gateway.clone(), book.clone()));
    let own_nat = OwnNat::default();
    tasks.following(printer.clone().follow_network(network.events()));
    tasks.following(peers::remember_network(book, network.events()));
    tasks.following(own_nat.clone().follow(network.events()));
    tasks.following(move_when_punched(gateway.clone(), network.events()));
    tasks.endless("reading settings again", reload.at_hangup(Some(Live { policy: switch, network: network.clone() })));
    let (serving, following, listener) = (gateway.clone(), gateway.clone(), network.listener());
    tasks.fallible("accepting peers", async move { Err(serving.serve(listener).await).context("no peer can come in any more") });
    let is_ours = gateway_settings.run.is_some();
    tasks.endless("looking for kaspad", reachable::tell(gateway_settings.kaspad, is_ours, printer.clone()));
    tasks.endless("following kaspad", async move { following.follow().await });
    let warn = printer.clone();
    tasks.endless("saving peers", table.clone().keep_saved(move |error| warn.warning(&error.to_string())));
    let executor = Arc::new(Executor::new(policy, vec![Arc::new(network.dialer()) as Arc<dyn StreamDialer>], clock));
    let remotes = keep_remotes(&mut tasks, &gateway, &network, Reaching { executor, own_nat }, &node, &printer).await?;

    // A kaspad that is run is told to end, and waited for, whatever ends the rest.
    let mut failure = Ok(());
    let stop = async {
        tokio::select! {
            stopped = signals::stop_requested() => stopped.unwrap_or(Signal::SIGTERM),
            failed = unexpected_end(&network, &mut tasks) => {
                printer.warning(&format!("{failed:#}: this program ends"));
                failure = Err(failed);
                Signal::SIGTERM
            }
        }
    };
    let result = match gateway_settings.run {
        Some(mut plan) => {
            plan.keep_peers(&remotes);
            Supervisor::new(plan, printer.clone(), settings.output.format).run(stop).await
        }
        None => {
            stop.await;
            Ok(())
        }
    };
    gateway.end_sessions().await;
    tasks.shutdown().await;
    network.shutdown().await;
    failure.and(result).and(table.save().await.map_err(Into::into))
}

/// A relayed session begins again where a direct path has come up.
async fn move_when_punched(gateway: Gateway, mut events: broadcast::Receiver<NetworkEvent>) {
    loop {
        match events.recv().await {
            Ok(NetworkEvent::PunchSucceeded { peer, .. }) => gateway.direct_path(&peer),
            Ok(_) | Err(RecvError::Lagged(_)) => {}
            Err(RecvError::Closed) => return,
        }
    }
}

/// Lets kaspad reach each remote; returns with their addresses once all are open.
async fn keep_remotes(
    tasks: &mut Tasks,
    gateway: &Gateway,
    network: &Network,
    reaching: Reaching,
    node: &NodeSettings,
    printer: &Printer,
) -> Result<Vec<SocketAddr>> {
    let remotes = Remote::group(&node.remotes);
    let (opened, mut listening) = mpsc::channel(remotes.len().max(1));
    for remote in remotes {
        let Some(peer) = remote.request.peer.clone() else {
            bail!("{:?} names no peer: append /p2p/<peer id>", remote.request.addresses);
        };
        if &peer == network.local_peer() {
            bail!("{peer} is this node itself");
        }
        let reach = Arc::new(Planned { peer: peer.clone(), request: remote.request, reaching: reaching.clone() });
        let (gateway, printer, opened, name) = (gateway.clone(), printer.clone(), opened.clone(), peer.short());
        tasks.fallible("reaching a peer", async move {
            let listening = move |local: SocketAddr| {
                let event = json!({ "event": "gateway-peer", "peer": peer, "address": local });
                printer.event(&event, format!("kaspad reaches {} at {local} (as by --addpeer={local})", peer.short()));
                let _ = opened.try_send(local);
            };
            gateway.keep(reach, listening).await?;
            bail!("reaching {name} ended unexpectedly")
        });
    }
    drop(opened);
    let mut addresses = Vec::new();
    while let Some(address) = listening.recv().await {
        addresses.push(address);
    }
    // One that could not be opened has failed its task, which ends the program after this.
    Ok(addresses)
}

/// What plans are made and run with.
#[derive(Clone)]
struct Reaching {
    executor: Arc<Executor>,
    own_nat: OwnNat,
}

/// Reaches a peer by the policy's plan.
struct Planned {
    peer: PeerIdentity,
    request: PlanRequest,
    reaching: Reaching,
}

#[async_trait]
impl Reach for Planned {
    fn peer(&self) -> &PeerIdentity {
        &self.peer
    }

    async fn reach(&self) -> Result<DuplexStream, String> {
        let Reaching { executor, own_nat } = &self.reaching;
        let reached = executor.reach(&own_nat.fill(&self.request)).await;
        reached.map(|(stream, _)| stream).map_err(|error| error.to_string())
    }

    fn random(&self) -> f64 {
        rand::random()
    }
}
