//! `kaspath server` and `kaspath client`: a node that is found and that reaches.

mod own_nat;
pub(crate) mod remote;
mod traffic;

use std::{
    sync::Arc,
    time::{SystemTime, UNIX_EPOCH},
};

use anyhow::{Context, Result, bail};
use kaspath_domain::{MonotonicClock, StreamDialer, StreamListener, Timestamp, TransportPolicy};
use kaspath_kaspa_adaptor::{KaspaNode, NodeConfig};
use kaspath_policy::{Executor, Switch};
use kaspath_transport_libp2p::Network;
use kaspath_transport_tcp::{TcpConfig, TcpDialer, TcpTransportListener};
use tokio::task::JoinSet;

use crate::{
    cli::Command,
    control::{Control, Running},
    output::Printer,
    peers::{self, Recording},
    settings::{Live, NodeSettings, Reload, Settings},
    signals,
    tasks::{Tasks, unexpected_end},
};
use remote::{Means, Remote};

pub(crate) use own_nat::OwnNat;

/// Wall time, for what is written down.
pub(crate) fn now() -> Timestamp {
    Timestamp::from_epoch(SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default())
}

pub(crate) async fn run(settings: Settings, command: Arc<Command>) -> Result<()> {
    let node_settings = settings.node.clone().context("a node's settings")?;
    let printer = Printer::new(settings.output.clone());
    let reload = Reload::new(command, &settings, printer.clone())?;
    let clock = MonotonicClock::start();
    let switch = Arc::new(Switch::new(node_settings.policy.clone().build()));
    let book = peers::open(&settings.peer_book(), &printer);
    peers::remember_remotes(book.as_ref(), &node_settings.remotes);
    let policy = Arc::new(Recording::new(switch.clone(), book.clone()));
    let control = Control::bind(&settings, &printer)?;
    let network = Arc::new(Network::start(settings.key()?, settings.network_config.clone()).await?);
    let kaspa = KaspaNode::new(NodeConfig::new(node_settings.network));
    printer.started("node", &network, &settings.network_config);

    settings.warn_if_lonely(&printer);
    let mut tasks = Tasks::default();
    tasks.following(printer.clone().follow_network(network.events()));
    let own_nat = OwnNat::default();
    tasks.following(own_nat.clone().follow(network.events()));
    let live = Live { policy: switch, network: network.clone() };
    control.start(&mut tasks, Running::node(network.clone(), kaspa.clone(), book.clone()));
    tasks.following(peers::remember_network(book.clone(), network.events()));
    tasks.following(peers::remember_kaspa(book, kaspa.events()));
    tasks.endless("reloading", reload.at_hangup(Some(live)));
    tasks.following(printer.clone().follow_kaspa(kaspa.events()));
    let mut listeners: Vec<Arc<dyn StreamListener>> = vec![network.listener()];
    if let Some(address) = node_settings.kaspa_listen {
        let listener = TcpTransportListener::bind(address, TcpConfig::default()).await?;
        printer.line(&format!("serving plain Kaspa peers on {}", listener.local_addr()));
        listeners.push(Arc::new(listener));
    }
    for listener in listeners {
        let (kaspa, policy) = (kaspa.clone(), policy.clone());
        tasks.endless("accepting peers", async move { kaspa.serve(listener, policy, move || clock.now()).await });
    }
    if let Some(interval) = node_settings.test_traffic {
        tasks.endless("test traffic", traffic::announce(kaspa.clone(), interval));
    }

    let result = tokio::select! {
        stopped = signals::stop_requested() => stopped.map(drop).context("cannot watch for signals"),
        reached = reach_all(&node_settings, &network, &kaspa, policy, clock, own_nat, &printer) => reached,
        failure = unexpected_end(&network, &mut tasks) => Err(failure),
    };
    kaspa.shutdown().await;
    network.shutdown().await;
    tasks.shutdown().await;
    result
}

/// Keeps every remote reached; returns only with `--once`.
async fn reach_all(
    settings: &NodeSettings,
    network: &Arc<Network>,
    kaspa: &KaspaNode,
    policy: Arc<dyn TransportPolicy>,
    clock: MonotonicClock,
    own_nat: OwnNat,
    printer: &Printer,
) -> Result<()> {
    if settings.remotes.is_empty() {
        std::future::pending::<()>().await;
    }
    let dialers: Vec<Arc<dyn StreamDialer>> = vec![Arc::new(TcpDialer::new(TcpConfig::default())), Arc::new(network.dialer())];
    let executor = Arc::new(Executor::new(policy.clone(), dialers, clock));
    let mut sessions = JoinSet::new();
    for remote in Remote::group(&settings.remotes) {
        let means = Means {
            executor: executor.clone(),
            network: network.clone(),
            kaspa: kaspa.clone(),
            printer: printer.clone(),
            policy: policy.clone(),
            clock,
            own_nat: own_nat.clone(),
        };
        let remote = remote.with(means);
        let once = settings.once;
        sessions.spawn(async move { if once { remote.once().await } else { remote.keep().await } });
    }
    let mut failures = Vec::new();
    while let Some(ended) = sessions.join_next().await {
        if let Err(error) = ended.context("a session's task")? {
            failures.push(format!("{error:#}"));
        }
    }
    if failures.is_empty() { Ok(()) } else { bail!("{}", failures.join("; ")) }
}
