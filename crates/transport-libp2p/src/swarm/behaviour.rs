use std::time::Duration;

use libp2p::{
    autonat,
    connection_limits::{self, ConnectionLimits},
    identify,
    identity::Keypair,
    ping, relay,
    swarm::{NetworkBehaviour, behaviour::toggle::Toggle},
};
use rand::rngs::OsRng;

use super::boxed::Boxed;
use crate::{NetworkConfig, relay_server, streams};

/// Identify's protocol family: private to our kind of network.
const PROTOCOL_FAMILY: &str = "/kaspath/1.0.0";

/// How often AutoNAT looks for candidates that are not tested yet.
const PROBE_INTERVAL: Duration = Duration::from_secs(2);

#[derive(NetworkBehaviour)]
pub(crate) struct Behaviour {
    // First, so that a connection over the limits is denied before others enter it.
    limits: connection_limits::Behaviour,
    pub(super) streams: streams::Behaviour,
    relay_client: relay::client::Behaviour,
    // What is turned off costs a connection nothing, being boxed.
    relay_server: Toggle<Boxed<relay_server::Behaviour>>,
    identify: identify::Behaviour,
    ping: ping::Behaviour,
    autonat_client: Toggle<Boxed<autonat::v2::client::Behaviour<OsRng>>>,
    autonat_server: Toggle<Boxed<autonat::v2::server::Behaviour<OsRng>>>,
}

impl Behaviour {
    pub(super) fn new(
        keypair: &Keypair,
        relay_client: relay::client::Behaviour,
        streams: streams::Behaviour,
        config: &NetworkConfig,
    ) -> Self {
        let limits = &config.limits;
        let limits = ConnectionLimits::default()
            .with_max_established_incoming(Some(limits.inbound))
            .with_max_established_outgoing(Some(limits.outbound))
            .with_max_established_per_peer(Some(limits.per_peer))
            .with_max_pending_incoming(Some(limits.pending_inbound))
            .with_max_pending_outgoing(Some(limits.pending_outbound));
        let serves = config.relay_server.as_ref();
        let identify = identify::Config::new(PROTOCOL_FAMILY.into(), keypair.public())
            .with_agent_version(concat!("kaspath/", env!("CARGO_PKG_VERSION")).into())
            // Private listen addresses are nobody's business.
            .with_hide_listen_addrs(serves.is_none());
        Self {
            limits: connection_limits::Behaviour::new(limits),
            streams,
            relay_client,
            relay_server: serves.map(|server| Boxed(relay_server::Behaviour::new(keypair.clone(), server.clone()))).into(),
            identify: identify::Behaviour::new(identify),
            ping: ping::Behaviour::new(ping::Config::new().with_interval(config.ping_interval)),
            // A relay's address is known; a node wants to know its own.
            autonat_client: (config.autonat && serves.is_none())
                .then(|| {
                    let config = autonat::v2::client::Config::default().with_probe_interval(PROBE_INTERVAL);
                    Boxed(autonat::v2::client::Behaviour::new(OsRng, config))
                })
                .into(),
            autonat_server: (config.autonat && serves.is_some())
                .then(|| Boxed(autonat::v2::server::Behaviour::new(OsRng)))
                .into(),
        }
    }
}
