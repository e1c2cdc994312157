//! kaspad's RPC: JSON over a WebSocket.

use std::time::Duration;

use anyhow::{Context, Result, bail};
use futures::{SinkExt, StreamExt};
use serde_json::{Value, json};
use tokio::{
    net::TcpStream,
    time::{Instant, sleep, timeout},
};
use tokio_tungstenite::{MaybeTlsStream, WebSocketStream, connect_async, tungstenite::Message};

use crate::cli::RpcArgs;

/// Time for kaspad to open its RPC.
const START: Duration = Duration::from_secs(30);
const ANSWER: Duration = Duration::from_secs(10);
/// Time between two block counts.
const WATCH: Duration = Duration::from_millis(200);
/// A valid simnet address; nobody spends what it earns.
const PAY_ADDRESS: &str = "kaspasim:qpumuen7l8wthtz45p3ftn58pvrs9xlumvkuu2xet8egzkcklqtes65ue9mw6";

struct Rpc {
    socket: WebSocketStream<MaybeTlsStream<TcpStream>>,
    next_id: u64,
}

impl Rpc {
    async fn connect(url: &str) -> Result<Self> {
        let deadline = Instant::now() + START;
        loop {
            match connect_async(url).await {
                Ok((socket, _)) => return Ok(Self { socket, next_id: 1 }),
                Err(error) if Instant::now() > deadline => return Err(error).context("kaspad's RPC does not open"),
                Err(_) => sleep(WATCH).await,
            }
        }
    }

    async fn call(&mut self, method: &str, params: Value) -> Result<Value> {
        let id = self.next_id;
        self.next_id += 1;
        let request = json!({ "id": id, "method": method, "params": params });
        self.socket.send(Message::text(request.to_string())).await?;
        let answer = async {
            while let Some(message) = self.socket.next().await {
                let Message::Text(text) = message? else { continue };
                let answer: Value = serde_json::from_str(&text)?;
                if answer["id"] == id {
                    return Ok(answer);
                }
            }
            bail!("kaspad closed its RPC")
        };
        let mut answer = timeout(ANSWER, answer).await.with_context(|| format!("{method} is not answered"))??;
        match answer.get("error") {
            Some(error) if !error.is_null() => bail!("{method}: {error}"),
            _ => Ok(answer["params"].take()),
        }
    }
}

/// Mines, then prints the block count for ever.
pub(crate) async fn rpc(args: &RpcArgs) -> Result<()> {
    let mut rpc = Rpc::connect(&args.url).await?;
    for _ in 0..args.mine {
        let template = rpc.call("getBlockTemplate", json!({ "payAddress": PAY_ADDRESS, "extraData": [] })).await?;
        let block = template["block"].clone();
        rpc.call("submitBlock", json!({ "block": block, "allowNonDAABlocks": false })).await?;
    }
    println!("{}", json!({ "event": "mined", "blocks": args.mine }));
    loop {
        let dag = rpc.call("getBlockDagInfo", json!({})).await?;
        println!("{}", json!({ "event": "dag", "blocks": dag["blockCount"], "sink": dag["sink"] }));
        sleep(WATCH).await;
    }
}
