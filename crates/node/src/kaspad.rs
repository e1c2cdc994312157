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

    async fn with<T>(&self, calls: impl AsyncFnOnce(&mut KaspadRpc) -> Result<T, RpcError>) -> Result<T, KaspadError> {
        let mut connection = self.connection.lock().await;
        // Taken out, so that a call that is dropped halfway takes its connection with it.
        let called = match connection.take() {
            Some(rpc) => Ok(rpc),
            None => KaspadRpc::connect(&self.url).await,
        };
        let called = match called {
            Ok(mut rpc) => calls(&mut rpc).await.map(|value| (value, rpc)),
            Err(error) => Err(error),
        };
        match called {
            Ok((value, rpc)) => {
                *connection = Some(rpc);
                Ok(value)
            }
            Err(error) => Err(KaspadError(error.to_string())),
        }
    }
}

#[async_trait]
impl Kaspad for KaspadByRpc {
    async fn snapshot(&self) -> Result<KaspadSnapshot, KaspadError> {
        self.with(async |rpc| {
            let info = rpc.server_info().await?;
            let blocks = rpc.block_dag().await?.block_count;
            let peers = rpc.connected_peers().await?.into_iter().map(|peer| {
                let round_trip = (peer.last_ping_duration > 0).then(|| Duration::from_millis(peer.last_ping_duration));
                KaspadPeer { id: peer.id, address: peer.address, round_trip }
            });
            let peers = peers.collect();
            let banned = rpc.banned_addresses().await?;
            let (version, network, synced) = (info.server_version, info.network_id, info.is_synced);
            Ok(KaspadSnapshot { version, network, synced, blocks, peers, banned })
        })
        .await
    }
}
