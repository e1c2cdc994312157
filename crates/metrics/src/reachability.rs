//! Whether others can reach this program, and whether it serves them.

use std::{
    collections::HashMap,
    sync::{Mutex, PoisonError},
};

use kaspath_domain::PeerLocator;
use kaspath_transport_libp2p::{NetworkEvent, Reachability as State, RelayService};
use prometheus_client::{metrics::gauge::Gauge, registry::Registry};

use crate::{
    families::{Each, Family, label, single, whole},
    paths::TransportLabel,
};

/// Addresses of ours that are remembered; the network watches fewer.
const MAX_ADDRESSES: usize = 64;

label!(IpFamily = "family" { V4 = "ipv4", V6 = "ipv6" });

/// The metrics of reachability.
pub(crate) struct Reachability {
    known: Mutex<HashMap<PeerLocator, State>>,
    status: Gauge,
    reachable: Family<(IpFamily, TransportLabel), Gauge>,
    service: Gauge,
}

impl Reachability {
    pub(crate) fn new(registry: &mut Registry) -> Self {
        let go = registry.sub_registry_with_prefix("libp2p_autonat");
        let status = single(
            go,
            "reachability_status",
            "0 if nothing is known, 1 if others can reach an address, 2 if not",
            Gauge::default(),
        );
        let own = registry.sub_registry_with_prefix("kaspath");
        Self {
            known: Mutex::default(),
            status,
            reachable: Family::new(own, "reachable", "Addresses at which others have reached this program"),
            service: single(
                own,
                "relay_service",
                "1 while this program serves others as a relay, 2 while it ends that",
                Gauge::default(),
            ),
        }
    }

    pub(crate) fn observe(&self, event: &NetworkEvent) {
        match event {
            NetworkEvent::ReachabilityChanged { address, state } => self.changed(address, *state),
            NetworkEvent::Serving { state } => {
                self.service.set(match state {
                    RelayService::Shut => 0,
                    RelayService::Open => 1,
                    RelayService::Draining => 2,
                });
            }
            _ => {}
        }
    }

    fn changed(&self, address: &PeerLocator, state: State) {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        known.remove(address);
        if state != State::Unknown && known.len() < MAX_ADDRESSES {
            known.insert(address.clone(), state);
        }
        let has = |wanted| known.values().any(|state| *state == wanted);
        self.status.set(if has(State::Reachable) {
            1
        } else if has(State::Unreachable) {
            2
        } else {
            0
        });
        for family in IpFamily::ALL {
            for over in TransportLabel::ALL {
                let is_there =
                    |(at, state): &(&PeerLocator, &State)| **state == State::Reachable && labels(at) == Some((*family, *over));
                self.reachable.at((*family, *over)).set(whole(known.iter().filter(is_there).count() as u64));
            }
        }
    }
}

fn labels(address: &PeerLocator) -> Option<(IpFamily, TransportLabel)> {
    let address = address.address.direct()?;
    Some((if address.ip()?.is_ipv4() { IpFamily::V4 } else { IpFamily::V6 }, address.transport.into()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_known_of_each_address_is_counted_once() {
        let metrics = Reachability::new(&mut Registry::default());
        let tell = |at: &str, state| metrics.observe(&NetworkEvent::ReachabilityChanged { address: at.parse().unwrap(), state });
        let [tcp, quic] = ["/ip4/203.0.113.7/tcp/4011", "/ip6/2001:db8::1/udp/4011/quic-v1"];
        let counts = || {
            (
                metrics.reachable.at((IpFamily::V4, TransportLabel::Tcp)).get(),
                metrics.reachable.at((IpFamily::V6, TransportLabel::Quic)).get(),
            )
        };
        tell(tcp, State::Unreachable);
        assert_eq!((metrics.status.get(), counts()), (2, (0, 0)));
        tell(quic, State::Reachable);
        tell(tcp, State::Reachable);
        assert_eq!((metrics.status.get(), counts()), (1, (1, 1)));
        tell(quic, State::Unknown);
        tell(tcp, State::Unreachable);
        tell(tcp, State::Unknown);
        assert_eq!((metrics.status.get(), counts()), (0, (0, 0)));
        metrics.observe(&NetworkEvent::Serving { state: RelayService::Draining });
        assert_eq!(metrics.service.get(), 2);
    }

    #[test]
    fn however_many_addresses_are_told_few_are_remembered() {
        let metrics = Reachability::new(&mut Registry::default());
        for port in 1..1000 {
            let address = format!("/ip4/203.0.113.7/tcp/{port}").parse().unwrap();
            metrics.observe(&NetworkEvent::ReachabilityChanged { address, state: State::Reachable });
        }
        assert_eq!(metrics.known.lock().unwrap().len(), MAX_ADDRESSES);
    }
}
