//! kaspad's RPC as the gateway's port wants it.

use std::time::Duration;

use async_trait::async_trait;
use kaspath_gateway::{Kaspad, KaspadError, KaspadPeer, KaspadSnapshot};
use kaspath_kaspad_rpc::{KaspadRpc, RpcError};
use tokio::sync::Mutex;

/// Connects when it is needed, and again after an error.
pub(crate) struct KaspadByRpc {
    url: String,
    connection: Mutex<Option<KaspadRpc>>,
}

impl KaspadByRpc {
    pub(crate) fn new(url: String) -> Self {
        Self { url, connection: Mutex::default() }
    }

    /// Asks on that connection, or a new one, and gives it back if it still works.
    async fn ask(&self, connection: Option<KaspadRpc>) -> Result<(KaspadSnapshot, KaspadRpc), RpcError> {
        let mut rpc = match connection {
            Some(rpc) => rpc,
            None => KaspadRpc::connect(&self.url).await?,
        };
        let info = rpc.server_info().await?;
        let blocks = rpc.block_dag().await?.block_count;
        let peers = rpc.connected_peers().await?.into_iter().map(|peer| {
            let round_trip = (peer.last_ping_duration > 0).then(|| Duration::from_millis(peer.last_ping_duration));
            KaspadPeer { id: peer.id, address: peer.address, round_trip }
        });
        let peers = peers.collect();
        let banned = rpc.banned_addresses().await?;
        let (version, network, synced) = (info.server_version, info.network_id, info.is_synced);
        Ok((KaspadSnapshot { version, network, synced, blocks, peers, banned }, rpc))
    }
}

#[async_trait]
impl Kaspad for KaspadByRpc {
    async fn snapshot(&self) -> Result<KaspadSnapshot, KaspadError> {
        let mut connection = self.connection.lock().await;
        // Taken out, so that a call that is dropped halfway takes its connection with it.
        let taken = connection.take();
        let (node, rpc) = self.ask(taken).await.map_err(|error| KaspadError(error.to_string()))?;
        *connection = Some(rpc);
        Ok(node)
    }
}
