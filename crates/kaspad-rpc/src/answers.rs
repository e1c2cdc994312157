use std::net::{IpAddr, SocketAddr};

use serde::{Deserialize, Deserializer};

/// What kaspad says of itself.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ServerInfo {
    /// Its version, such as `2.1.0`.
    pub server_version: String,
    /// Its network, such as `mainnet` or `testnet-10`.
    pub network_id: String,
    /// Whether it holds itself to be in sync.
    pub is_synced: bool,
}

/// How much of the block DAG it has.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct BlockDag {
    /// Blocks with their bodies.
    pub block_count: u64,
    /// Headers.
    pub header_count: u64,
    /// The tip that it holds to be the best.
    pub sink: String,
}

/// One of its peers. Unlike the other answers this one has snake_case names.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct ConnectedPeer {
    /// The id in the peer's Version message.
    pub id: String,
    /// Where kaspad has it.
    #[serde(deserialize_with = "in_parts")]
    pub address: SocketAddr,
    /// Whether kaspad dialled it.
    pub is_outbound: bool,
    /// What the peer calls itself.
    pub user_agent: String,
    /// The round trip of its last ping, in milliseconds; 0 before the first.
    #[serde(default)]
    pub last_ping_duration: u64,
    /// How long it has been connected, in milliseconds.
    #[serde(default)]
    pub time_connected: u64,
}

/// kaspad writes addresses as `{"ip": …, "port": …}`.
fn in_parts<'de, D: Deserializer<'de>>(deserializer: D) -> Result<SocketAddr, D::Error> {
    #[derive(Deserialize)]
    struct Parts {
        ip: IpAddr,
        port: u16,
    }
    let Parts { ip, port } = Parts::deserialize(deserializer)?;
    Ok(SocketAddr::new(ip, port))
}
