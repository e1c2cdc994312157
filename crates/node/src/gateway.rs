use std::{net::SocketAddr, sync::Arc};

use async_trait::async_trait;
use kaspath_domain::{Observers, PeerTarget, wall_clock};
use kaspath_gateway::{Gateway, GatewayEvent, GatewayParts, Kaspad};

use crate::{Node, ReachPeer, kaspad::KaspadByRpc};

/// What a gateway needs beside its node.
pub struct GatewayConfig {
    /// Where kaspad listens for peers.
    pub kaspad: SocketAddr,
    /// The network that kaspad must be on, such as `mainnet`.
    pub network: String,
    /// How many peers that were never seen before one prefix or relay may bring at once.
    pub newcomers: usize,
    /// kaspad's JSON RPC, such as `ws://127.0.0.1:18110`; `None` does not use it.
    pub rpc: Option<String>,
    /// Told of everything that happens at the gateway.
    pub observers: Observers<GatewayEvent>,
}

/// Reaches peers that were told of, for a kaspad.
pub struct GatewayReach {
    node: Node,
    gateway: Gateway,
}

#[async_trait]
impl ReachPeer for GatewayReach {
    async fn reach(&self, target: PeerTarget, up: Box<dyn FnOnce() + Send>) -> Result<(), String> {
        self.gateway.reach(target, self.node.connector(), up).await
    }
}

impl Node {
    /// What reaches peers through that gateway.
    pub fn gateway_reach(&self, gateway: &Gateway) -> GatewayReach {
        GatewayReach { node: self.clone(), gateway: gateway.clone() }
    }

    /// A gateway between the node's peers and a kaspad, whose bans and addresses are in
    /// the node's book. [`Gateway::serve`] and [`Gateway::follow`] run it.
    pub fn gateway(&self, config: GatewayConfig) -> Gateway {
        Gateway::new(GatewayParts {
            local: self.network().local_peer().clone(),
            kaspad: config.kaspad,
            network: config.network,
            book: self.book(),
            newcomers: config.newcomers,
            admission: self.admission(),
            rpc: config.rpc.map(|url| Arc::new(KaspadByRpc::new(url)) as Arc<dyn Kaspad>),
            clock: self.0.clock,
            wall_clock: Arc::new(wall_clock),
            observers: config.observers.after(self.0.recorder.clone()),
        })
    }
}
