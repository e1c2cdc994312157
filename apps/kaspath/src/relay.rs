//! `kaspath relay`.

use std::sync::Arc;

use anyhow::Result;
use kaspath_transport_libp2p::Network;

use crate::{
    cli::Cli,
    control::{Control, Running},
    output::Printer,
    settings::{Reload, Settings},
    signals,
    tasks::{Tasks, unexpected_end},
};

pub(crate) async fn run(settings: Settings, cli: Cli) -> Result<()> {
    let printer = Printer::new(settings.output);
    let reload = Reload::new(cli, &settings, printer)?;
    let control = Control::bind(&settings, &printer)?;
    settings.network_config.observers.add(control.activity().of_network());
    settings.network_config.observers.add(control.metrics().network_observer());
    let network = Arc::new(Network::start(settings.key()?, settings.network_config.clone()).await?);
    printer.started("relay", &network, &settings.network_config);
    // The network's own list: settings and their clones share it.
    settings.network_config.observers.add(printer.of_network(&settings.network_config));
    let mut tasks = Tasks::default();
    tasks.endless("reloading", reload.at_hangup(None));
    control.start(&mut tasks, Running::Relay(network.clone()));
    let result = tokio::select! {
        stopped = signals::stop_requested() => stopped.map(drop).map_err(Into::into),
        failure = unexpected_end(&network, &mut tasks) => Err(failure),
    };
    network.shutdown().await;
    tasks.shutdown().await;
    result
}
