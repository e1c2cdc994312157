//! `kaspath server` and `kaspath client`: a node that is found and that reaches.

mod traffic;

use std::sync::Arc;

use anyhow::{Context, Result, anyhow, bail};
use kaspath_domain::{PeerBook, PeerTarget, StreamListener};
use kaspath_kaspa_adaptor::NodeConfig;
use kaspath_node::{LightPeer, Node, NodeBuilder};
use kaspath_policy::KeeperEvent;
use kaspath_transport_tcp::{TcpConfig, TcpDialer, TcpTransportListener};
use tokio::{join, task::JoinSet};

use crate::{
    cli::Cli,
    control::{Control, Running},
    discovering::{Kind, Looking},
    mapping::Mapping,
    output::{Printer, ProgramEvent, Readiness},
    peers,
    settings::{Live, NodeSettings, Reload, Settings},
    signals,
    tasks::{Tasks, unexpected_end},
};

pub(crate) async fn run(settings: Settings, cli: Cli) -> Result<()> {
    let mut node_settings = settings.node.clone().context("a node's settings")?;
    let printer = Printer::new(settings.output);
    let reload = Reload::new(cli, &settings, printer)?;
    let book = peers::open(&settings.peer_book(), &printer);
    peers::record_configured(book.as_ref(), &mut node_settings, &settings.network_config.relays)?;
    let control = Control::bind(&settings, &printer)?;
    let readiness = Readiness::of_node(&settings);
    let node = builder(&settings, &node_settings, book, &control)?
        .observe_network(readiness.observer())
        .dialer(Arc::new(TcpDialer::new(TcpConfig::default())))
        .start()
        .await?;
    let kaspa = NodeConfig::new(node_settings.network);
    kaspa.observers.add(printer.of_kaspa());
    kaspa.observers.add(control.activity().of_kaspa());
    kaspa.observers.add(control.metrics().kaspa_observer());
    let light = node.light_peer(kaspa);
    report("node", &node, &settings, &control, printer);
    settings.warn_if_lonely(&printer);
    let mut tasks = Tasks::default();
    let mapping = Mapping::start(&settings, &node, &control, printer, &mut tasks)?;
    let reach = Arc::new(light.clone());
    let looking = Looking::new(Kind::Light, &node, reach, &node_settings, control.of_discovery(), printer)?;
    control.start(&mut tasks, Running::Node(node.clone(), light.kaspa().clone(), looking.clone()));
    if !node_settings.once {
        looking.run(&mut tasks, printer);
    }
    tasks.endless("reloading", reload.at_hangup(Live::Node(node.clone())));
    let mut listeners: Vec<Arc<dyn StreamListener>> = vec![node.listener()];
    if let Some(address) = node_settings.kaspa_listen {
        let listener = TcpTransportListener::bind(address, TcpConfig::default()).await?;
        printer.own(&ProgramEvent::KaspaListening { address: listener.local_addr() });
        listeners.push(Arc::new(listener));
    }
    for listener in listeners {
        let light = light.clone();
        tasks.endless("accepting peers", async move { light.serve(listener).await });
    }
    tasks.endless("waiting to be ready", readiness.report(printer));
    if let Some(interval) = node_settings.test_traffic {
        tasks.endless("test traffic", traffic::announce(light.kaspa().clone(), interval));
    }

    let result = tokio::select! {
        stopped = signals::stop_requested() => stopped.map(drop).context("cannot watch for signals"),
        reached = reach_all(&node_settings, &light, printer) => reached,
        failure = unexpected_end(node.network(), &mut tasks) => Err(failure),
    };
    looking.found.unlist().await;
    light.kaspa().shutdown().await;
    join!(node.shutdown(), mapping.release());
    tasks.shutdown().await;
    result
}

/// A node by the settings, with this book, whose events the control socket records.
pub(crate) fn builder(
    settings: &Settings,
    node: &NodeSettings,
    book: Arc<dyn PeerBook>,
    control: &Control,
) -> Result<NodeBuilder> {
    let mut builder = NodeBuilder::new(settings.key()?);
    if let Some(list) = &node.relay_list {
        builder = builder.relay_list(kaspath_relay_list::open(list)?);
    }
    Ok(builder
        .pool(node.pool)
        .network(settings.network_config.clone())
        .policy(node.policy.clone().build())
        .admission(Arc::new(node.inbound.clone()))
        .book(book)
        .observe_network(control.activity().of_network())
        .observe_network(control.metrics().network_observer()))
}

/// Prints where the node is, and from now on what happens to it; counts its sessions' events.
pub(crate) fn report(role: &str, node: &Node, settings: &Settings, control: &Control, printer: Printer) {
    printer.started(role, node.network(), &settings.network_config);
    node.observe_network(printer.of_network(&settings.network_config));
    node.relays().observe(control.activity().of_pool());
    node.relays().observe(printer.of_pool());
    node.observe_sessions(control.activity().of_sessions());
    node.observe_sessions(control.metrics().session_observer());
    node.observe_attempts(control.metrics().attempt_observer());
    node.observe_sessions(printer.of_sessions());
}

/// Keeps every remote reached; returns only with `--once`.
async fn reach_all(settings: &NodeSettings, light: &LightPeer, printer: Printer) -> Result<()> {
    if settings.remotes.is_empty() {
        std::future::pending::<()>().await;
    }
    let mut sessions = JoinSet::new();
    for target in PeerTarget::group(&settings.remotes) {
        let (light, once, name) = (light.clone(), settings.once, target.to_string());
        sessions.spawn(async move {
            let target_name = || name.clone();
            let report = |event: &KeeperEvent| match event.clone() {
                KeeperEvent::Failed { cause } => printer.own(&ProgramEvent::PeerUnreachable { target: target_name(), cause }),
                KeeperEvent::Retrying { after } => {
                    printer.own(&ProgramEvent::Retrying { target: target_name(), retry_in: after });
                }
            };
            if once {
                light.once(&target).await.map_err(|error| anyhow!("{name} cannot be reached: {error}"))
            } else {
                light.keep(target, &report).await;
                bail!("keeping {name} reached ended unexpectedly")
            }
        });
    }
    let mut failures = Vec::new();
    while let Some(ended) = sessions.join_next().await {
        if let Err(error) = ended.context("a session's task")? {
            failures.push(format!("{error:#}"));
        }
    }
    if failures.is_empty() { Ok(()) } else { bail!("{}", failures.join("; ")) }
}
