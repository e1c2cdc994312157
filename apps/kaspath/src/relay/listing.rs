//! Lists this relay at others, where nodes look for more relays.

use std::{sync::Arc, time::Duration};

use kaspath_domain::{
    Discovery, DiscoveryEvent, Namespace, NatMapping, PeerLocator, RecordDraft, RecordKind, RelayAddress, RetryCadence,
    Transport, TransportAddress, is_public,
};
use kaspath_transport_libp2p::Network;
use tokio::time::sleep;

use crate::output::Printer;

/// For how long an entry is asked for; it is renewed at half of what is granted.
const TTL: Duration = Duration::from_secs(600);
/// Addresses that a record names: two families over two transports.
const ADDRESSES: usize = 4;

/// Keeps this relay listed at another one, which dials it first. Runs until it is dropped.
pub(super) async fn at(network: Arc<Network>, relay: RelayAddress, printer: Printer) {
    let (discovery, cadence) = (network.discovery(), RetryCadence::persistent());
    let observer = printer.of_discovery();
    let mut failures = 0;
    loop {
        let draft = draft(&network.announced());
        // Without a public address there is nothing to say yet.
        let listed = match draft.candidates.is_empty() {
            true => Err("no public address is announced".to_owned()),
            false => {
                let record = discovery.sign(draft);
                let listed = discovery.list(&relay, &Namespace::relays(), &record, TTL).await;
                listed.map_err(|error| error.to_string())
            }
        };
        let wait = match listed {
            Ok(granted) => {
                failures = 0;
                observer.observe(&DiscoveryEvent::Listed { relay: relay.relay.clone(), granted });
                granted / 2
            }
            Err(cause) => {
                failures += 1;
                let retry_in = cadence.delay(failures, rand::random()).unwrap_or(TTL);
                observer.observe(&DiscoveryEvent::ListRefused { relay: relay.relay.clone(), cause, retry_in });
                retry_in
            }
        };
        sleep(wait).await;
    }
}

/// What this relay says of itself: its public addresses, TCP first, for whoever takes one.
fn draft(announced: &[PeerLocator]) -> RecordDraft {
    let direct = announced.iter().filter_map(|locator| locator.address.direct());
    let mut candidates: Vec<TransportAddress> = direct.filter(|address| address.ip().is_some_and(is_public)).cloned().collect();
    candidates.sort_by_key(|address| address.transport != Transport::Tcp);
    candidates.truncate(ADDRESSES);
    RecordDraft {
        kind: RecordKind::Relay,
        network: String::new(),
        gossip: true,
        mapping: NatMapping::Unknown,
        reachable: true,
        ttl: TTL,
        relays: Vec::new(),
        candidates,
        kaspad: None,
        load: None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_relay_names_its_public_addresses_with_tcp_first() {
        let announced = [
            "/ip4/203.0.113.1/udp/4001/quic-v1",
            "/dns/relay.example/tcp/4001",
            "/ip4/10.0.0.1/tcp/4001",
            "/ip4/203.0.113.1/tcp/4001",
        ]
        .map(|text| text.parse::<PeerLocator>().unwrap());
        let names: Vec<String> = draft(&announced).candidates.iter().map(ToString::to_string).collect();
        assert_eq!(names, ["/ip4/203.0.113.1/tcp/4001", "/ip4/203.0.113.1/udp/4001/quic-v1"]);
        assert!(draft(&[]).candidates.is_empty());
    }
}
