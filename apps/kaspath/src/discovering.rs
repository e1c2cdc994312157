//! How a program finds peers by the settings.

use std::sync::Arc;

use anyhow::Result;
use kaspath_domain::{Namespace, Observers};
use kaspath_node::{DiscoverConfig, Discovering, Node, ReachPeer};

use crate::{control::Control, output::Printer, settings::NodeSettings, tasks::Tasks};

/// Whom a program looks for: who speaks Kaspa itself has no kaspad behind it.
#[derive(Clone, Copy)]
pub(crate) enum Kind {
    Light,
    Gateway,
}

/// What looks for peers of that kind, and reaches them by `reach`. It does nothing before it runs.
pub(crate) fn new(
    kind: Kind,
    node: &Node,
    reach: Arc<dyn ReachPeer>,
    settings: &NodeSettings,
    control: &Control,
    printer: Printer,
) -> Result<Discovering> {
    let network = settings.network.to_string();
    let namespace = match kind {
        Kind::Gateway => Namespace::of_network(&network)?,
        Kind::Light => format!("/kaspath/1/light/{network}").parse()?,
    };
    let configured = settings.remotes.iter().filter_map(|remote| remote.peer.clone());
    let configured = configured.chain(settings.remote_ids.iter().cloned()).collect();
    let observers = Observers::of(control.activity().of_discovery());
    observers.add(control.metrics().discovery_observer());
    observers.add(printer.of_discovery());
    let discovery = &settings.discovery;
    let config = DiscoverConfig {
        network,
        namespace,
        outbound: discovery.outbound,
        is_listed: !discovery.unlisted,
        shows_addresses: discovery.candidates,
        configured,
        relays: Arc::new(node.relays().clone()),
        observers,
    };
    Ok(node.discover(node.network().discovery(), reach, config))
}

/// Looks for peers from now on.
pub(crate) fn run(discovering: &Discovering, tasks: &mut Tasks) {
    let running = discovering.clone();
    tasks.endless("looking for peers", async move { running.run().await });
}
