//! `kaspath relay`.

use std::sync::Arc;

use anyhow::Result;
use kaspath_domain::{PeerAddress, PeerLocator, Transport};
use kaspath_transport_libp2p::Network;

use crate::{
    cli::Command,
    control::{Control, Running},
    output::Printer,
    settings::{Reload, Settings},
    signals,
    tasks::{Tasks, unexpected_end},
};

pub(crate) async fn run(settings: Settings, command: Arc<Command>) -> Result<()> {
    let printer = Printer::new(settings.output.clone());
    let reload = Reload::new(command, &settings, printer.clone())?;
    let control = Control::bind(&settings, &printer)?;
    settings.network_config.observers.add(control.board().of_network());
    let network = Arc::new(Network::start(settings.key()?, settings.network_config.clone()).await?);
    printer.started("relay", &network, &settings.network_config);
    // The network's own list: settings and their clones share it.
    settings.network_config.observers.add(printer.of_network());
    if let Some(warning) = lacks_address(network.listening(), &network.announced()) {
        printer.warning(&warning);
    }
    let mut tasks = Tasks::default();
    tasks.endless("reloading", reload.at_hangup(None));
    control.start(&mut tasks, Running::relay(network.clone()));
    let result = tokio::select! {
        stopped = signals::stop_requested() => stopped.map(drop).map_err(Into::into),
        failure = unexpected_end(&network, &mut tasks) => Err(failure),
    };
    network.shutdown().await;
    tasks.shutdown().await;
    result
}

/// What keeps the relay from being found, with the cure.
fn lacks_address(listening: &[PeerLocator], announced: &[PeerLocator]) -> Option<String> {
    let port = |over: Transport| listening.iter().find_map(|locator| direct(locator, over));
    let missing: Vec<String> = [Transport::Tcp, Transport::Quic]
        .into_iter()
        .filter(|over| !announced.iter().any(|locator| direct(locator, *over).is_some()))
        .filter_map(|over| Some(flag(over, port(over)?)))
        .collect();
    if missing.is_empty() {
        return None;
    }
    let lack = match announced.is_empty() {
        true => "this relay has no public address of its own, so it grants no reservation".to_owned(),
        false => "this relay is not announced over all transports that it listens on".to_owned(),
    };
    Some(format!(
        "{lack}. If this machine is reached at a public address (a cloud's one-to-one NAT), add {}",
        missing.join(" and ")
    ))
}

fn direct(locator: &PeerLocator, over: Transport) -> Option<u16> {
    match &locator.address {
        PeerAddress::Direct(address) if address.transport == over => Some(address.port),
        _ => None,
    }
}

fn flag(over: Transport, port: u16) -> String {
    match over {
        Transport::Tcp => format!("--external-address /ip4/PUBLIC_IP/tcp/{port}"),
        Transport::Quic => format!("--external-address /ip4/PUBLIC_IP/udp/{port}/quic-v1"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn locators(texts: &[&str]) -> Vec<PeerLocator> {
        texts.iter().map(|text| text.parse().expect("an address")).collect()
    }

    #[test]
    fn a_relay_without_a_public_address_says_what_to_add() {
        let listening = locators(&["/ip4/10.1.0.2/tcp/4001", "/ip4/10.1.0.2/udp/4001/quic-v1"]);
        let none = lacks_address(&listening, &[]).expect("a warning");
        assert!(
            none.contains("--external-address /ip4/PUBLIC_IP/tcp/4001 and --external-address /ip4/PUBLIC_IP/udp/4001/quic-v1")
        );
        let half = lacks_address(&listening, &locators(&["/ip4/203.0.113.1/tcp/4001"])).expect("QUIC is missing");
        assert!(half.contains("/udp/4001/quic-v1") && !half.contains("/tcp/4001"), "{half}");
        let both = locators(&["/ip4/203.0.113.1/tcp/4001", "/ip4/203.0.113.1/udp/4001/quic-v1"]);
        assert_eq!(lacks_address(&listening, &both), None);
    }
}
