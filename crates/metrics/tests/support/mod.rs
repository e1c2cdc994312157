//! Reads the text as Prometheus does, and makes events.

// Each test uses a part of it.
#![allow(dead_code)]

use std::{collections::BTreeMap, time::Duration};

use kaspath_domain::{Direction, Path, PeerIdentity, PeerLocator, RelayReason, Transport};
use kaspath_metrics::{Metrics, MetricsConfig, Role};
use kaspath_transport_libp2p::{NetworkEvent, ReservationState};

/// A series: its name and its labels, in the order of their names.
pub(crate) type Series = (String, BTreeMap<String, String>);

/// Every series of a text, with its value.
pub(crate) fn parse(text: &str) -> BTreeMap<Series, f64> {
    assert!(text.ends_with("# EOF\n"), "an end");
    let mut all = BTreeMap::new();
    for line in text.lines().filter(|line| !line.starts_with('#')) {
        let (series, value) = line.rsplit_once(' ').expect("a value");
        let (name, labels) = series.split_once('{').unwrap_or((series, "}"));
        let labels = labels.strip_suffix('}').expect("an end of the labels");
        let pairs = labels.split("\",").filter(|pair| !pair.is_empty()).map(|pair| {
            let (key, value) = pair.trim_end_matches('"').split_once("=\"").expect("a label");
            (key.to_owned(), value.to_owned())
        });
        let before = all.insert((name.to_owned(), pairs.collect()), value.parse().expect("a number"));
        assert!(before.is_none(), "twice: {line}");
    }
    all
}

/// The value of one series.
pub(crate) fn value(metrics: &Metrics, name: &str, labels: &[(&str, &str)]) -> f64 {
    let labels = labels.iter().map(|(key, value)| (key.to_string(), value.to_string())).collect();
    let all = parse(&metrics.encode());
    *all.get(&(name.to_owned(), labels)).unwrap_or_else(|| {
        panic!("{name} {labels:?}", labels = all.keys().filter(|(other, _)| other == name).collect::<Vec<_>>())
    })
}

pub(crate) fn peer(n: u32) -> PeerIdentity {
    let [a, b, c, d] = n.to_be_bytes();
    PeerIdentity::from_bytes(&[0, 4, a, b, c, d]).expect("an identity")
}

/// A program with the relays 1,000,001 to 1,000,003.
pub(crate) fn metrics(role: Role) -> Metrics {
    let relays = [1, 2, 1, 3].map(relay).to_vec();
    Metrics::new(MetricsConfig { role, version: "1.2.3", relays, wanted_reservations: 2, serves: true })
}

/// A relay of the settings, from 1 on.
pub(crate) fn relay(n: u32) -> PeerIdentity {
    peer(1_000_000 + n)
}

pub(crate) fn locator(text: &str) -> PeerLocator {
    text.parse().expect("an address")
}

pub(crate) fn direct(transport: Transport) -> Path {
    Path::Direct { transport }
}

pub(crate) fn relayed(relay: PeerIdentity, reason: RelayReason) -> Path {
    Path::Relayed { relay, reason }
}

pub(crate) fn connected(peer: PeerIdentity, path: Path, remote: &str) -> NetworkEvent {
    NetworkEvent::Connected { peer, direction: Direction::Inbound, path, remote: locator(remote) }
}

pub(crate) fn reservation(relay: PeerIdentity, state: ReservationState) -> NetworkEvent {
    NetworkEvent::Reservation { relay, state }
}

pub(crate) fn lost(cause: &str) -> ReservationState {
    ReservationState::lost(cause, Some(Duration::from_secs(1)))
}
