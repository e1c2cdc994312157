//! `kaspath relay`.
//!
//! | file | what it does |
//! |---|---|
//! | `listing` | lists it at other relays |
//! | `memory` | takes nothing new while the process has more memory than it may |

mod listing;
mod memory;

use std::{sync::Arc, time::Duration};

use anyhow::{Context, Result};
use kaspath_transport_libp2p::Network;
use nix::sys::signal::Signal;
use tokio::sync::watch;

use self::listing::Lister;
use crate::{
    cli::Cli,
    control::{Control, Running},
    output::{Printer, ProgramEvent},
    panics,
    settings::{Live, Reload, Settings},
    signals,
    tasks::{Tasks, unexpected_end},
};

pub(crate) async fn run(settings: Settings, cli: Cli) -> Result<()> {
    let printer = Printer::new(settings.output);
    let relay = settings.relay.clone().context("a relay's settings")?;
    let reload = Reload::new(cli, &settings, printer)?;
    let control = Control::bind(&settings, &printer)?;
    settings.network_config.observers.add(control.activity().of_network());
    settings.network_config.observers.add(control.metrics().network_observer());
    let network = Arc::new(Network::start(settings.key()?, settings.network_config.clone()).await?);
    printer.started("relay", &network, &settings.network_config);
    // The network's own list: settings and their clones share it.
    settings.network_config.observers.add(printer.of_network(&settings.network_config));
    let (changes, current) = watch::channel(relay);
    let mut tasks = Tasks::default();
    tasks.endless("reloading", reload.at_hangup(Live::Relay(network.clone(), changes)));
    tasks.endless("watching memory", memory::watch(network.clone(), current.clone(), printer));
    let lister = Lister::new(network.clone(), &settings.listed_at, printer.of_discovery());
    tasks.endless("being listed", lister.clone().run());
    control.start(&mut tasks, Running::Relay(network.clone()));
    let stopped = tokio::select! {
        stopped = signals::stop_requested() => stopped.map_err(Into::into),
        failure = unexpected_end(&network, &mut tasks) => Err(failure),
    };
    let allowed = current.borrow().drain_timeout;
    let result = match stopped {
        // Who presses Ctrl-C waits for the end; so does whoever looks for the cause of a panic.
        Ok(Signal::SIGTERM) if !allowed.is_zero() && !panics::happened() => tokio::select! {
            // Nodes are not to be sent here any more, nor is anybody waited for.
            ((), ()) = async { tokio::join!(lister.unlist(), drain(&network, allowed, printer)) } => Ok(()),
            failure = unexpected_end(&network, &mut tasks) => Err(failure),
        },
        Ok(_) => {
            lister.unlist().await;
            Ok(())
        }
        Err(error) => Err(error),
    };
    network.shutdown().await;
    tasks.shutdown().await;
    result
}

/// Takes nothing new, and gives circuits time to move elsewhere.
async fn drain(network: &Network, allowed: Duration, printer: Printer) {
    let load = network.relay_load().await.unwrap_or_default();
    let begun = ProgramEvent::DrainStarted { reservations: load.reservations, circuits: load.circuits, allowed };
    printer.own(&begun);
    match network.drain(allowed).await {
        Ok(circuits) => printer.own(&ProgramEvent::DrainEnded { circuits }),
        Err(error) => printer.warning(&format!("the relay is not drained: {error}")),
    }
}
