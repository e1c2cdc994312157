use std::{net::SocketAddr, sync::Arc};

use kaspath_domain::{AdmissionPolicy, MonotonicClock, Observers, PeerBook, PeerIdentity, Timestamp};

use crate::{GatewayEvent, Kaspad};

/// What a gateway is made of.
pub struct GatewayParts {
    /// This node.
    pub local: PeerIdentity,
    /// Where kaspad listens for peers.
    pub kaspad: SocketAddr,
    /// The network that kaspad must be on, such as `mainnet`.
    pub network: String,
    /// What is known of peers: their loopback addresses and bans.
    pub book: Arc<dyn PeerBook>,
    /// How many peers that were never seen before may come at once from one
    /// prefix of addresses or through one relay; one more comes in every minute.
    pub newcomers: usize,
    /// Whom to let in.
    pub admission: Arc<dyn AdmissionPolicy>,
    /// kaspad's RPC, if it is to be used.
    pub rpc: Option<Arc<dyn Kaspad>>,
    /// The clock of sessions and rates.
    pub clock: MonotonicClock,
    /// Reads the wall clock, for bans and the peer book.
    pub wall_clock: Arc<dyn Fn() -> Timestamp + Send + Sync>,
    /// Notified of everything that happens.
    pub observers: Observers<GatewayEvent>,
}
