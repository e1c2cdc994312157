//! `kaspath relay`.

use std::sync::Arc;

use anyhow::Result;
use kaspath_transport_libp2p::Network;

use crate::{
    cli::Command,
    output::Printer,
    settings::{Reload, Settings},
    signals,
};

pub(crate) async fn run(settings: Settings, command: Arc<Command>) -> Result<()> {
    let printer = Printer::new(settings.output.clone());
    let reload = Reload::new(command, &settings, printer.clone())?;
    let network = Network::start(settings.key()?, settings.network_config.clone()).await?;
    printer.started("relay", &network, &settings.network_config);
    let reloading = tokio::spawn(reload.at_hangup(None));
    let printing = tokio::spawn(printer.follow_network(network.events()));
    signals::stop_requested().await?;
    network.shutdown().await;
    printing.abort();
    reloading.abort();
    Ok(())
}
