//! How the gateway reaches kaspad, what it asks of it, and what it makes of the answers.

mod connect;
mod follow;
mod watch;

use std::{
    net::{IpAddr, SocketAddr},
    time::Duration,
};

use async_trait::async_trait;
use thiserror::Error;

pub(crate) use connect::connect;
pub(crate) use follow::follow;

/// One of kaspad's peers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KaspadPeer {
    /// The id in its Version message: new at each start, and only claimed.
    pub id: String,
    /// Where kaspad has it.
    pub address: SocketAddr,
    /// The round trip of its last ping, once there was one.
    pub round_trip: Option<Duration>,
}

/// kaspad at one moment.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct KaspadSnapshot {
    /// Its version.
    pub version: String,
    /// Its network, such as `mainnet` or `testnet-10`.
    pub network: String,
    /// Whether it holds itself to be in sync.
    pub synced: bool,
    /// Blocks it has.
    pub blocks: u64,
    /// Its peers.
    pub peers: Vec<KaspadPeer>,
    /// The addresses it has banned.
    pub banned: Vec<IpAddr>,
}

/// Why kaspad could not be asked: it refuses, or does not answer. The next call begins
/// anew.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("{0}")]
pub struct KaspadError(pub String);

/// kaspad's RPC, as far as the gateway needs it.
#[async_trait]
pub trait Kaspad: Send + Sync {
    /// How kaspad is doing. Dropping the future is harmless.
    async fn snapshot(&self) -> Result<KaspadSnapshot, KaspadError>;
}
