use std::sync::Arc;

use libp2p::{
    identify,
    identity::Keypair,
    ping, relay,
    swarm::{NetworkBehaviour, behaviour::toggle::Toggle},
};

use super::boxed::Boxed;
use crate::{NetworkConfig, discovery::Here, limits, records::Addresses, relay_server, streams};

/// Identify's protocol family: private to our kind of network.
const PROTOCOL_FAMILY: &str = "/kaspath/1.0.0";

#[derive(NetworkBehaviour)]
pub(crate) struct Behaviour {
    // First, so that a connection over the limits is denied before others record it.
    pub(super) limits: limits::Behaviour,
    pub(super) streams: streams::Behaviour,
    relay_client: relay::client::Behaviour,
    // What is turned off costs a connection nothing, being boxed.
    pub(super) relay_server: Toggle<Boxed<relay_server::Behaviour>>,
    identify: identify::Behaviour,
    ping: ping::Behaviour,
}

impl Behaviour {
    pub(super) fn new(
        keypair: &Keypair,
        relay_client: relay::client::Behaviour,
        streams: streams::Behaviour,
        config: &NetworkConfig,
        here: Arc<Here>,
    ) -> Self {
        let serves = config.relay_server.as_ref();
        let identify = identify::Config::new(PROTOCOL_FAMILY.into(), keypair.public())
            .with_agent_version(concat!("kaspath/", env!("CARGO_PKG_VERSION")).into())
            // Only what is announced is sent: private listen addresses are not for peers.
            .with_hide_listen_addrs(true);
        Self {
            limits: limits::Behaviour::new(config.limits.clone()),
            streams,
            relay_client,
            relay_server: serves
                .map(|server| {
                    let server = relay_server::Behaviour::new(keypair.clone(), server.clone(), config.is_relay());
                    Boxed(server.listing(Addresses { local: config.punch.allow_local_candidates }, here))
                })
                .into(),
            identify: identify::Behaviour::new(identify),
            ping: ping::Behaviour::new(ping::Config::new().with_interval(config.ping_interval)),
        }
    }
}
