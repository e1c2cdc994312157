//! `kaspath gateway`: private peers and an unmodified kaspad. `kaspath run` is
//! the same with the kaspad.

mod reachable;

use std::net::SocketAddr;

use anyhow::{Context, Result, bail};
use kaspath_domain::{Observers, PeerLocator, PeerTarget};
use kaspath_gateway::{Gateway, KeptPeer};
use kaspath_node::{GatewayConfig, Node};
use nix::sys::signal::Signal;
use tokio::sync::mpsc;

use crate::{
    cli::Cli,
    control::{Control, Running},
    node,
    output::{Printer, ProgramEvent, Readiness, WarningCode},
    peers,
    run::{Supervisor, locate},
    settings::{Live, Reload, Settings},
    signals,
    tasks::{Tasks, unexpected_end},
};

pub(crate) async fn run(settings: Settings, cli: Cli) -> Result<()> {
    let mut node_settings = settings.node.clone().context("a node's settings")?;
    let mut gateway_settings = settings.gateway.clone().context("a gateway's settings")?;
    if let Some(plan) = &mut gateway_settings.run {
        plan.program = locate(&plan.program)?;
    }
    let printer = Printer::new(settings.output);
    let reload = Reload::new(cli, &settings, printer)?;
    let book = peers::open_for_gateway(&settings.peer_book(), &gateway_settings.earlier_table, &printer)?;
    peers::record_configured(book.as_ref(), &mut node_settings, &settings.network_config.relays)?;
    let control = Control::bind(&settings, &printer)?;
    let readiness = Readiness::of_gateway(&settings.network_config);
    let builder = node::builder(&settings, &node_settings, book, &control)?;
    let node = builder.observe_network(readiness.observer()).start().await?;
    node::report("gateway", &node, &settings, &control, printer);
    settings.warn_if_lonely(&printer);
    gateway_settings.warning.iter().for_each(|warning| printer.warn(WarningCode::KaspadFlags, warning));

    let observers = Observers::of(control.activity().of_gateway());
    observers.add(control.metrics().gateway_observer());
    observers.add(printer.of_gateway());
    let gateway = node.gateway(GatewayConfig {
        kaspad: gateway_settings.kaspad,
        network: node_settings.network.to_string(),
        port: gateway_settings.peer_port(),
        newcomers: gateway_settings.newcomers,
        rpc: gateway_settings.rpc.clone(),
        observers,
    });

    let mut tasks = Tasks::default();
    control.start(&mut tasks, Running::Gateway(node.clone(), gateway.clone()));
    tasks.endless("reloading", reload.at_hangup(Live::Node(node.clone())));
    let (serving, following, listener) = (gateway.clone(), gateway.clone(), node.listener());
    tasks.fallible("accepting peers", async move { Err(serving.serve(listener).await).context("no peer can come in any more") });
    let is_ours = gateway_settings.run.is_some();
    tasks.endless("looking for kaspad", reachable::report(gateway_settings.kaspad, is_ours, readiness.clone(), printer));
    tasks.endless("waiting to be ready", readiness.report(printer));
    tasks.endless("following kaspad", async move { following.follow().await });
    let remotes = keep_remotes(&mut tasks, &gateway, &node, &node_settings.remotes, printer).await?;

    // A kaspad that this program runs is stopped and waited for, whatever ends the rest.
    let mut failure = Ok(());
    let stop = async {
        tokio::select! {
            stopped = signals::stop_requested() => stopped.unwrap_or(Signal::SIGTERM),
            failed = unexpected_end(node.network(), &mut tasks) => {
                printer.warn(WarningCode::PartFailed, &format!("{failed:#}: this program ends"));
                failure = Err(failed);
                Signal::SIGTERM
            }
        }
    };
    let result = match gateway_settings.run {
        Some(mut plan) => {
            plan.keep_peers(&remotes);
            Supervisor::new(plan, printer, settings.output.format).run(stop).await
        }
        None => {
            stop.await;
            Ok(())
        }
    };
    gateway.end_sessions().await;
    tasks.shutdown().await;
    node.shutdown().await;
    failure.and(result)
}

/// Lets kaspad reach each remote; returns with their addresses once all are open.
async fn keep_remotes(
    tasks: &mut Tasks,
    gateway: &Gateway,
    node: &Node,
    remotes: &[PeerLocator],
    printer: Printer,
) -> Result<Vec<SocketAddr>> {
    let targets = PeerTarget::group(remotes);
    let (opened, mut listening) = mpsc::channel(targets.len().max(1));
    for target in targets {
        let Some(peer) = target.peer.clone() else {
            bail!("{:?} does not say which peer: append /p2p/<peer id>", target.addresses);
        };
        if &peer == node.network().local_peer() {
            bail!("{peer} is this node itself");
        }
        let (gateway, node, opened) = (gateway.clone(), node.clone(), opened.clone());
        tasks.fallible("reaching a peer", async move {
            let (name, of) = (peer.short(), peer.clone());
            // It takes the sender with it, whose end is waited for below.
            let listening = move |local: SocketAddr| {
                printer.own(&ProgramEvent::GatewayPeer { peer: of, address: local });
                let _ = opened.try_send(local);
            };
            let (connector, keeper) = (node.connector(), node.keeper().clone());
            gateway.keep(KeptPeer { peer, target, connector, keeper }, listening).await?;
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
