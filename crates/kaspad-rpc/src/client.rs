use std::{net::IpAddr, time::Duration};

use futures::{SinkExt, StreamExt};
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use tokio::{net::TcpStream, time::timeout};
use tokio_tungstenite::{MaybeTlsStream, WebSocketStream, connect_async, tungstenite::Message};

use crate::{BlockDag, ConnectedPeer, RpcError, ServerInfo, answers};

/// kaspad is near: longer means that it is not well.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
const ANSWER_TIMEOUT: Duration = Duration::from_secs(10);

/// A connection to kaspad's RPC. Calls follow one another. After any error but
/// [`RpcError::Refused`] and [`RpcError::Unexpected`] it is of no more use.
pub struct KaspadRpc {
    socket: WebSocketStream<MaybeTlsStream<TcpStream>>,
    next_id: u64,
}

impl KaspadRpc {
    /// Connects to an address such as `ws://127.0.0.1:18110`.
    pub async fn connect(url: &str) -> Result<Self, RpcError> {
        let failed = |cause: String| RpcError::Unreachable { url: url.to_owned(), cause };
        let connected = timeout(CONNECT_TIMEOUT, connect_async(url)).await.map_err(|_| failed("no answer".into()))?;
        let (socket, _) = connected.map_err(|error| failed(error.to_string()))?;
        Ok(Self { socket, next_id: 1 })
    }

    /// Calls a method; its `params` and its answer are Kaspa's (rpc-core's serde
    /// forms). Dropping the future leaves the call made; its answer is then skipped.
    pub async fn call(&mut self, method: &'static str, params: Value) -> Result<Value, RpcError> {
        let answered = timeout(ANSWER_TIMEOUT, self.exchange(method, params)).await;
        answered.unwrap_or(Err(RpcError::Timeout { method, after: ANSWER_TIMEOUT }))
    }

    async fn exchange(&mut self, method: &'static str, params: Value) -> Result<Value, RpcError> {
        let id = self.next_id;
        self.next_id += 1;
        let request = json!({ "id": id, "method": method, "params": params });
        let broken = |cause: String| RpcError::Broken(cause);
        self.socket.send(Message::text(request.to_string())).await.map_err(|error| broken(error.to_string()))?;
        while let Some(message) = self.socket.next().await {
            let Message::Text(text) = message.map_err(|error| broken(error.to_string()))? else { continue };
            if let Some(answer) = answers::read(&text, id, method) {
                return answer;
            }
        }
        Err(broken("kaspad closed it".into()))
    }

    async fn ask<T: DeserializeOwned>(&mut self, method: &'static str, field: Option<&str>) -> Result<T, RpcError> {
        answers::take(self.call(method, json!({})).await?, field, method)
    }

    /// Who it is and whether it is in sync.
    pub async fn server_info(&mut self) -> Result<ServerInfo, RpcError> {
        self.ask("getServerInfo", None).await
    }

    /// How many blocks it has.
    pub async fn block_dag(&mut self) -> Result<BlockDag, RpcError> {
        self.ask("getBlockDagInfo", None).await
    }

    /// Its peers.
    pub async fn connected_peers(&mut self) -> Result<Vec<ConnectedPeer>, RpcError> {
        self.ask("getConnectedPeerInfo", Some("peerInfo")).await
    }

    /// The addresses it has banned. A ban stays listed after its 24 hours until
    /// the address comes again.
    pub async fn banned_addresses(&mut self) -> Result<Vec<IpAddr>, RpcError> {
        self.ask("getPeerAddresses", Some("bannedAddresses")).await
    }

    /// Bans an address and drops its peers. Needs `--unsaferpc`, and cannot be
    /// done to a permanent peer.
    pub async fn ban(&mut self, address: IpAddr) -> Result<(), RpcError> {
        self.call("ban", json!({ "ip": address })).await.map(drop)
    }

    /// Lifts a ban. Needs `--unsaferpc`.
    pub async fn unban(&mut self, address: IpAddr) -> Result<(), RpcError> {
        self.call("unban", json!({ "ip": address })).await.map(drop)
    }
}
