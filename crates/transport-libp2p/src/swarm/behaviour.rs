use libp2p::{
    identify,
    identity::Keypair,
    ping, relay,
    swarm::{NetworkBehaviour, behaviour::toggle::Toggle},
};

use super::boxed::Boxed;
use crate::{NetworkConfig, RelayServerConfig, limits, streams};

/// Identify's protocol family: private to our kind of network.
const PROTOCOL_FAMILY: &str = "/kaspath/1.0.0";

#[derive(NetworkBehaviour)]
pub(crate) struct Behaviour {
    // First, so that a connection over the limits is denied before others enter it.
    pub(super) limits: limits::Behaviour,
    pub(super) streams: streams::Behaviour,
    relay_client: relay::client::Behaviour,
    // What is turned off costs a connection nothing, being boxed.
    relay_server: Toggle<Boxed<relay::Behaviour>>,
    identify: identify::Behaviour,
    ping: ping::Behaviour,
}

impl Behaviour {
    pub(super) fn new(
        keypair: &Keypair,
        relay_client: relay::client::Behaviour,
        streams: streams::Behaviour,
        config: &NetworkConfig,
    ) -> Self {
        let local = keypair.public().to_peer_id();
        let serves = config.relay_server.as_ref();
        let identify = identify::Config::new(PROTOCOL_FAMILY.into(), keypair.public())
            .with_agent_version(concat!("kaspath/", env!("CARGO_PKG_VERSION")).into())
            // Only what is announced is told: private listen addresses are nobody's business.
            .with_hide_listen_addrs(true);
        Self {
            limits: limits::Behaviour::new(config.limits.clone()),
            streams,
            relay_client,
            relay_server: serves.map(|server| Boxed(relay::Behaviour::new(local, relay_config(server)))).into(),
            identify: identify::Behaviour::new(identify),
            ping: ping::Behaviour::new(ping::Config::new().with_interval(config.ping_interval)),
        }
    }
}

fn relay_config(server: &RelayServerConfig) -> relay::Config {
    let burst = |n: u32| n.max(1).try_into().expect("at least one");
    let config = relay::Config {
        max_reservations: server.max_reservations,
        // libp2p compares with `>`, which would allow one more than is asked for.
        max_reservations_per_peer: server.max_reservations_per_peer.saturating_sub(1),
        reservation_duration: server.reservation_duration,
        reservation_rate_limiters: Vec::new(),
        max_circuits: server.max_circuits,
        max_circuits_per_peer: server.max_circuits_per_peer.saturating_sub(1),
        max_circuit_duration: server.max_circuit_duration,
        max_circuit_bytes: server.max_circuit_bytes,
        circuit_src_rate_limiters: Vec::new(),
    };
    config
        .reservation_rate_per_peer(burst(server.reservations_per_peer_burst), server.refill)
        .reservation_rate_per_ip(burst(server.reservations_per_ip_burst), server.refill)
        .circuit_src_per_peer(burst(server.circuits_per_peer_burst), server.refill)
        .circuit_src_per_ip(burst(server.circuits_per_ip_burst), server.refill)
}
