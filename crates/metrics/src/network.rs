//! What the network reports: connections, and what is refused. The rest is passed on.

use kaspath_domain::{AttemptOutcome, Observer, Path};
use kaspath_transport_libp2p::{NetworkEvent, RefusedConnections};
use prometheus_client::{
    metrics::{counter::Counter, gauge::Gauge},
    registry::Registry,
};

use crate::{
    families::{Family, fall, label, reach, single},
    paths::PathLabel,
    pool::Pool,
    punches::Punches,
    reachability::Reachability,
    relays::Relays,
    service::Service,
};

label!(Refused = "reason" {
    TooFast = "too-fast",
    Pending = "pending",
    PerAddress = "per-address",
    Inbound = "inbound",
    Circuits = "circuits",
    PerPeer = "per-peer",
    Outbound = "outbound",
    Pressure = "pressure",
});

/// What a node has and a relay does not.
pub(crate) struct Client {
    pub(crate) relays: Relays,
    pub(crate) pool: Pool,
    pub(crate) punches: Punches,
}

/// The metrics of the network.
pub(crate) struct Network {
    connections: Family<(PathLabel,), Gauge>,
    refused: Family<(Refused,), Counter>,
    evicted: Counter,
    streams_refused: Counter,
    reachability: Reachability,
    /// Our relay server.
    pub(crate) service: Option<Service>,
    pub(crate) client: Option<Client>,
}

impl Network {
    pub(crate) fn new(registry: &mut Registry, service: Option<Service>, client: Option<Client>) -> Self {
        let reachability = Reachability::new(registry);
        let own = registry.sub_registry_with_prefix("kaspath");
        Self {
            connections: Family::new(own, "connections", "Connections with peers and relays"),
            refused: Family::new(own, "connections_refused", "Connections refused for want of room"),
            evicted: single(own, "connections_evicted", "Connections closed so that others could stay", Counter::default()),
            streams_refused: single(own, "streams_refused", "Streams refused because too many waited", Counter::default()),
            reachability,
            service,
            client,
        }
    }

    fn refused(&self, refused: &RefusedConnections) {
        let RefusedConnections { too_fast, pending, per_address, inbound, circuits, per_peer, outbound, pressure, evicted } =
            *refused;
        for (reason, total) in [
            (Refused::TooFast, too_fast),
            (Refused::Pending, pending),
            (Refused::PerAddress, per_address),
            (Refused::Inbound, inbound),
            (Refused::Circuits, circuits),
            (Refused::PerPeer, per_peer),
            (Refused::Outbound, outbound),
            (Refused::Pressure, pressure),
        ] {
            reach(self.refused.at((reason,)), total);
        }
        reach(&self.evicted, evicted);
    }
}

impl Observer<NetworkEvent> for Network {
    fn observe(&self, event: &NetworkEvent) {
        match event {
            NetworkEvent::Connected { path, .. } => {
                self.connections.at((PathLabel::of(path),)).inc();
                if let (Path::Relayed { relay, .. }, Some(client)) = (path, &self.client) {
                    client.relays.circuit_opened(relay);
                }
            }
            NetworkEvent::Disconnected { path, .. } => {
                fall(self.connections.at((PathLabel::of(path),)));
                if let (Path::Relayed { relay, .. }, Some(client)) = (path, &self.client) {
                    client.relays.circuit_closed(relay);
                }
            }
            NetworkEvent::ConnectionsRefused { refused } => self.refused(refused),
            NetworkEvent::StreamsRefused { total } => reach(&self.streams_refused, *total),
            _ => {}
        }
        self.reachability.observe(event);
        if let Some(service) = &self.service {
            service.observe(event);
        }
        if let Some(client) = &self.client {
            if let NetworkEvent::Reservation { relay, state } = event {
                client.relays.reservation(relay, state);
            }
            client.punches.observe(event);
        }
    }
}

impl Observer<AttemptOutcome> for Network {
    fn observe(&self, outcome: &AttemptOutcome) {
        if let Some(client) = &self.client {
            client.punches.attempt(outcome);
        }
    }
}
