//! `kaspath gateway`: private peers and an unmodified kaspad. `kaspath run` is
//! the same with the kaspad.

mod reachable;

use std::sync::Arc;

use anyhow::{Context, Error, Result, bail};
use kaspath_domain::{Observers, PeerLocator, PeerTarget};
use kaspath_gateway::{Gateway, KeptPeer};
use kaspath_node::{GatewayConfig, Node};
use nix::sys::signal::Signal;

use crate::{
    cli::Cli,
    control::{Control, Running},
    discovering::{Kind, Looking},
    mapping::Mapping,
    node,
    output::{Printer, Readiness, WarningCode},
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
    let readiness = Readiness::of_gateway(&settings);
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
        newcomers: gateway_settings.newcomers,
        rpc: gateway_settings.rpc.clone(),
        observers,
    });

    let mut tasks = Tasks::default();
    let mapping = Mapping::start(&settings, &node, &control, printer, &mut tasks)?;
    let reach = Arc::new(node.gateway_reach(&gateway));
    let looking = Looking::new(Kind::Gateway, &node, reach, &node_settings, control.of_discovery(), printer)?;
    control.start(&mut tasks, Running::Gateway(node.clone(), gateway.clone(), looking.clone()));
    looking.run(&mut tasks, printer);
    tasks.endless("reloading", reload.at_hangup(Live::Node(node.clone())));
    let (serving, following, listener) = (gateway.clone(), gateway.clone(), node.listener());
    tasks.fallible("accepting peers", async move { Err(serving.serve(listener).await).context("no peer can come in any more") });
    let is_ours = gateway_settings.run.is_some();
    tasks.endless("looking for kaspad", reachable::report(gateway_settings.kaspad, is_ours, readiness.clone(), printer));
    tasks.endless("waiting to be ready", readiness.report(printer));
    tasks.endless("following kaspad", async move { following.follow().await });
    keep_remotes(&mut tasks, &gateway, &node, &node_settings.remotes)?;

    let mut failure = Ok(());
    let failed = unexpected_end(node.network(), &mut tasks);
    let stop = to_stop(signals::stop_requested(), failed, printer, &mut failure);
    let result = match gateway_settings.run {
        Some(mut plan) => {
            mapping.for_kaspad(&mut plan).await;
            Supervisor::new(plan, printer, settings.output.format).run(stop).await
        }
        None => {
            stop.await;
            Ok(())
        }
    };
    looking.found.unlist().await;
    gateway.end_sessions().await;
    mapping.release().await;
    tasks.shutdown().await;
    node.shutdown().await;
    failure.and(result)
}

/// The signal by which kaspad is to end: a kaspad that this program runs is stopped and
/// waited for, whatever ends the rest. What failed is left in `failure`.
async fn to_stop<E>(
    stopped: impl Future<Output = Result<Signal, E>>,
    failed: impl Future<Output = Error>,
    printer: Printer,
    failure: &mut Result<()>,
) -> Signal {
    tokio::select! {
        stopped = stopped => stopped.unwrap_or(Signal::SIGTERM),
        failed = failed => {
            printer.warn(WarningCode::PartFailed, &format!("{failed:#}: this program ends"));
            *failure = Err(failed);
            Signal::SIGTERM
        }
    }
}

/// Keeps a session with each remote.
fn keep_remotes(tasks: &mut Tasks, gateway: &Gateway, node: &Node, remotes: &[PeerLocator]) -> Result<()> {
    for target in PeerTarget::group(remotes) {
        let Some(peer) = target.peer.clone() else {
            bail!("{:?} does not say which peer: append /p2p/<peer id>", target.addresses);
        };
        if &peer == node.network().local_peer() {
            bail!("{peer} is this node itself");
        }
        let gateway = gateway.clone();
        let kept = KeptPeer { peer, target, connector: node.connector(), keeper: node.keeper().clone() };
        tasks.endless("reaching a peer", async move { gateway.keep(kept).await });
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::{convert::Infallible, future::pending};

    use super::*;
    use crate::output::OutputSettings;

    #[tokio::test]
    async fn what_fails_beside_kaspad_stops_it_in_order_and_is_the_programs_error() {
        let printer = Printer::new(OutputSettings::default());
        let (failed, mut failure) = (async { Error::msg("no peer can come in any more") }, Ok(()));
        assert_eq!(to_stop(pending::<Result<_, Infallible>>(), failed, printer, &mut failure).await, Signal::SIGTERM);
        assert_eq!(failure.unwrap_err().to_string(), "no peer can come in any more");
        let (interrupted, mut failure) = (async { Ok::<_, Infallible>(Signal::SIGINT) }, Ok(()));
        assert_eq!(to_stop(interrupted, pending(), printer, &mut failure).await, Signal::SIGINT);
        assert!(failure.is_ok());
    }
}
