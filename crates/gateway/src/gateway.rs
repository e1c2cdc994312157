//! The gateway: what its parts share, and its three jobs.

use std::{
    net::SocketAddr,
    sync::{Arc, Mutex},
};

use kaspath_domain::{ListenError, PeerIdentity, StreamListener, Timestamp, TransportPolicy};
use tokio::sync::watch;

use crate::{
    GatewayEvent, NodeControl, PeerTable, Reach,
    control::{self, NodeState},
    inbound,
    newcomers::Newcomers,
    outbound,
    sessions::Sessions,
};

/// What a gateway is made of.
pub struct GatewayParts {
    /// This node.
    pub local: PeerIdentity,
    /// Where kaspad listens for peers.
    pub kaspad: SocketAddr,
    /// The network that kaspad must be on, such as `mainnet`.
    pub network: String,
    /// The port at which kaspad finds peers on their addresses.
    pub port: u16,
    /// Who has which address.
    pub table: Arc<PeerTable>,
    /// How many peers that were never seen before may come at once from one
    /// prefix of addresses or through one relay; one more comes in every minute.
    pub newcomers: usize,
    /// Whom to let in.
    pub policy: Arc<dyn TransportPolicy>,
    /// kaspad's RPC, if it is to be used.
    pub control: Option<Arc<dyn NodeControl>>,
    /// Reads the clock.
    pub clock: Arc<dyn Fn() -> Timestamp + Send + Sync>,
    /// Told of everything that happens.
    pub report: Arc<dyn Fn(GatewayEvent) + Send + Sync>,
}

/// Stands between private peers and one kaspad. Cheap to clone.
#[derive(Clone)]
pub struct Gateway(Arc<Shared>);

pub(crate) struct Shared {
    pub(crate) kaspad: SocketAddr,
    pub(crate) network: String,
    pub(crate) port: u16,
    pub(crate) table: Arc<PeerTable>,
    pub(crate) sessions: Sessions,
    pub(crate) policy: Arc<dyn TransportPolicy>,
    pub(crate) control: Option<Arc<dyn NodeControl>>,
    pub(crate) node: watch::Sender<NodeState>,
    pub(crate) newcomers: Mutex<Newcomers>,
    pub(crate) clock: Arc<dyn Fn() -> Timestamp + Send + Sync>,
    report: Arc<dyn Fn(GatewayEvent) + Send + Sync>,
}

impl Shared {
    pub(crate) fn report(&self, event: GatewayEvent) {
        (self.report)(event);
    }

    /// Why no peer may be joined to kaspad now, if so.
    pub(crate) fn closed(&self) -> Option<String> {
        match &*self.node.borrow() {
            NodeState::OtherNetwork(network) => Some(format!("kaspad is on {network}, this gateway on {}", self.network)),
            NodeState::Unknown | NodeState::Up => None,
        }
    }
}

impl Gateway {
    /// Joins the parts; nothing runs yet.
    pub fn new(parts: GatewayParts) -> Self {
        let GatewayParts { local, kaspad, network, port, table, newcomers, policy, control, clock, report } = parts;
        let sessions = Sessions::new(local);
        let (node, newcomers) = (watch::channel(NodeState::default()).0, Mutex::new(Newcomers::new(newcomers)));
        Self(Arc::new(Shared { kaspad, network, port, table, sessions, policy, control, node, newcomers, clock, report }))
    }

    /// Joins every stream that a peer opens to kaspad, coming from the peer's own
    /// loopback address. Returns when the listener ends; dropping the future ends
    /// the sessions as well.
    pub async fn serve(&self, listener: Arc<dyn StreamListener>) {
        inbound::serve(self.0.clone(), listener).await;
    }

    /// Lets kaspad reach one peer: listens on its loopback address and joins what
    /// kaspad opens there to a stream to the peer. Where kaspad's RPC allows it,
    /// also has kaspad dial there whenever there is no session with the peer.
    /// `listening` is called with the address once it is open. Runs until it is
    /// dropped; sessions end with it.
    pub async fn keep(&self, reach: Arc<dyn Reach>, listening: impl FnOnce(SocketAddr) + Send) -> Result<(), ListenError> {
        outbound::keep(self.0.clone(), reach, listening).await
    }

    /// Follows kaspad's RPC: its bans, its network, how it is doing. Runs until it
    /// is dropped; returns at once if there is no RPC to follow.
    pub async fn follow(&self) {
        if let Some(control) = self.0.control.clone() {
            control::follow(self.0.clone(), control).await;
        }
    }

    /// A direct path to the peer has come up: a session of ours that is on a
    /// relay ends, and begins again there. Only where kaspad can be had to dial at
    /// once; elsewhere the next session is direct.
    pub fn direct_path(&self, peer: &PeerIdentity) {
        let can_dial = *self.0.node.borrow() == NodeState::Up && self.0.control.is_some();
        let may_move = || self.0.policy.may_move(peer, (self.0.clock)());
        if can_dial && self.0.sessions.end_relayed_outbound(peer, may_move) {
            self.0.report(GatewayEvent::GatewayMoving { peer: peer.clone() });
        }
    }
}
