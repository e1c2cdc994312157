//! The client against a stand-in that says what a kaspad 2.1.0 was seen to say.
//! The real one is in the lab.

use futures::{SinkExt, StreamExt};
use kaspath_kaspad_rpc::{KaspadRpc, RpcError};
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio_tungstenite::{accept_async, tungstenite::Message};

/// Answers one client by `answer` from a method to `params` or `error`; closes at `None`.
async fn kaspad(answer: impl Fn(&str, &Value) -> Option<(&'static str, Value)> + Send + 'static) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("ws://{}", listener.local_addr().unwrap());
    tokio::spawn(async move {
        let mut socket = accept_async(listener.accept().await.unwrap().0).await.unwrap();
        // What nobody asked for is skipped.
        socket.send(Message::text(json!({ "method": "notification", "params": {} }).to_string())).await.unwrap();
        while let Some(Ok(Message::Text(text))) = socket.next().await {
            let request: Value = serde_json::from_str(&text).unwrap();
            let Some((key, value)) = answer(request["method"].as_str().unwrap(), &request["params"]) else { return };
            let reply = json!({ "id": request["id"], "method": request["method"], key: value });
            socket.send(Message::text(reply.to_string())).await.unwrap();
        }
    });
    url
}

#[tokio::test]
async fn answers_are_understood() {
    let url = kaspad(|method, params| {
        Some(match method {
            "getServerInfo" => (
                "params",
                json!({ "hasUtxoIndex": false, "isSynced": false, "networkId": "simnet", "serverVersion": "2.1.0", "virtualDaaScore": 0 }),
            ),
            "getPeerAddresses" => ("params", json!({ "bannedAddresses": ["127.80.1.2"], "knownAddresses": [] })),
            "getConnectedPeerInfo" => ("params", json!({ "peerInfo": [{ "id": "u", "address": { "ip": "127.80.1.2", "port": 1 }, "is_outbound": true, "user_agent": "/kaspad:2.1.0/", "time_connected": 4074 }] })),
            "ban" => {
                assert_eq!(params["ip"], "127.80.1.2");
                ("error", json!({ "code": 0, "message": "Method unavailable in safe mode. Run the node with --unsaferpc argument.", "data": null }))
            }
            _ => return None,
        })
    })
    .await;
    let mut rpc = KaspadRpc::connect(&url).await.unwrap();
    assert_eq!(rpc.server_info().await.unwrap().network_id, "simnet");
    assert_eq!(rpc.banned_addresses().await.unwrap(), ["127.80.1.2".parse::<std::net::IpAddr>().unwrap()]);
    assert!(rpc.connected_peers().await.unwrap()[0].is_outbound);
    let refused = rpc.ban("127.80.1.2".parse().unwrap()).await.unwrap_err();
    assert!(matches!(&refused, RpcError::Refused { message, .. } if message.contains("safe mode")), "{refused}");
    assert!(matches!(rpc.block_dag().await, Err(RpcError::Broken(_))));
}

#[tokio::test]
async fn what_is_not_there_is_told_with_the_cure() {
    let gone = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    let error = KaspadRpc::connect(&format!("ws://{gone}")).await.err().unwrap().to_string();
    assert!(error.contains("--rpclisten-json"), "{error}");
}

#[tokio::test]
async fn an_answer_of_another_shape_is_told() {
    let url = kaspad(|_, _| Some(("params", json!({ "peerInfo": 7 })))).await;
    let mut rpc = KaspadRpc::connect(&url).await.unwrap();
    assert!(matches!(rpc.connected_peers().await, Err(RpcError::Unexpected { method: "getConnectedPeerInfo", .. })));
}
