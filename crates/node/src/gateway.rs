use std::{net::SocketAddr, sync::Arc};

use kaspath_domain::{ListenError, Observers, PeerIdentity, PeerTarget, wall_clock};
use kaspath_gateway::{Gateway, GatewayEvent, GatewayParts, Kaspad, KeptPeer};

use crate::{Node, kaspad::KaspadByRpc};

/// What a gateway needs beside its node.
pub struct GatewayConfig {
    /// Where kaspad listens for peers.
    pub kaspad: SocketAddr,
    /// The network that kaspad must be on, such as `mainnet`.
    pub network: String,
    /// The port at which kaspad finds peers on their addresses.
    pub port: u16,
    /// How many peers that were never seen before may come at once from one place.
    pub newcomers: usize,
    /// kaspad's JSON RPC, such as `ws://127.0.0.1:18110`; `None` leaves it alone.
    pub rpc: Option<String>,
    /// Told of everything that happens at the gateway.
    pub observers: Observers<GatewayEvent>,
}

impl Node {
    /// A gateway between the node's peers and a kaspad, whose bans and addresses are in
    /// the node's book. It runs where its own
    /// [`Gateway::serve`] and [`Gateway::follow`] run.
    pub fn gateway(&self, config: GatewayConfig) -> Gateway {
        let GatewayConfig { kaspad, network, port, newcomers, rpc, observers } = config;
        Gateway::new(GatewayParts {
            local: self.network().local_peer().clone(),
            kaspad,
            network,
            port,
            book: self.book(),
            newcomers,
            admission: self.admission(),
            rpc: rpc.map(|url| Arc::new(KaspadByRpc::new(url)) as Arc<dyn Kaspad>),
            clock: self.clock(),
            wall_clock: Arc::new(wall_clock),
            observers: observers.after(self.recorder()),
        })
    }

    /// Lets kaspad reach one peer, as [`Gateway::keep`] does.
    ///
    /// # Errors
    /// Why its address cannot be listened on.
    pub async fn keep_for_kaspad(
        &self,
        gateway: &Gateway,
        peer: PeerIdentity,
        target: PeerTarget,
        listening: impl FnOnce(SocketAddr) + Send,
    ) -> Result<(), ListenError> {
        let (connector, best, keeper) = (self.connector(), self.best_path(&peer), self.keeper().clone());
        gateway.keep(KeptPeer { peer, target, connector, best, keeper }, listening).await
    }
}
