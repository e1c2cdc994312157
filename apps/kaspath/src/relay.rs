//! `kaspath relay`.

use anyhow::Result;
use kaspath_transport_libp2p::Network;

use crate::{output::Printer, settings::Settings, signals};

pub(crate) async fn run(settings: Settings) -> Result<()> {
    let printer = Printer::new(settings.output.clone());
    let network = Network::start(settings.key()?, settings.network_config.clone()).await?;
    printer.started("relay", &network);
    let printing = tokio::spawn(printer.follow_network(network.events()));
    signals::stop_requested().await?;
    network.shutdown().await;
    printing.abort();
    Ok(())
}
