use std::net::{IpAddr, SocketAddr};

use serde::{Deserialize, Deserializer, de::DeserializeOwned};
use serde_json::Value;

use crate::RpcError;

/// What kaspad reports of itself.
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

/// Reads a message as the answer to call `id`; `None` if it answers another. It may
/// be any text: whoever listens on the port wrote it.
pub(crate) fn read(text: &str, id: u64, method: &'static str) -> Option<Result<Value, RpcError>> {
    let mut answer: Value = match serde_json::from_str(text) {
        Ok(answer) => answer,
        Err(error) => return Some(Err(RpcError::Broken(error.to_string()))),
    };
    if answer.get("id").is_none_or(|answered| *answered != id) {
        return None;
    }
    match answer.get("error") {
        Some(error) if !error.is_null() => {
            let message = error.get("message").and_then(Value::as_str).map_or_else(|| error.to_string(), str::to_owned);
            Some(Err(RpcError::Refused { method, message }))
        }
        _ => Some(Ok(answer.get_mut("params").map(Value::take).unwrap_or_default())),
    }
}

/// What an answer, or a field of it, says.
pub(crate) fn take<T: DeserializeOwned>(mut answer: Value, field: Option<&str>, method: &'static str) -> Result<T, RpcError> {
    let value = match field {
        // Indexing would panic on an answer that is not an object.
        Some(field) => answer.get_mut(field).map(Value::take).unwrap_or_default(),
        None => answer,
    };
    serde_json::from_value(value).map_err(|error| RpcError::Unexpected { method, cause: error.to_string() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_of_any_form_is_an_error_and_no_panic() {
        for params in ["\"text\"", "5", "[1, 2]", "null", "true", "{\"peerInfo\": \"text\"}"] {
            let answer = read(&format!("{{\"id\": 1, \"params\": {params}}}"), 1, "getConnectedPeerInfo").unwrap().unwrap();
            let error = take::<Vec<ConnectedPeer>>(answer, Some("peerInfo"), "getConnectedPeerInfo").unwrap_err();
            assert!(matches!(error, RpcError::Unexpected { .. }), "{params}: {error}");
        }
        for text in ["[]", "5", "\"id\"", "null", "{\"id\": 2}", "{}"] {
            assert_eq!(read(text, 1, "ban"), None, "{text}");
        }
        for error in ["\"no\"", "5", "{}", "{\"message\": 7}"] {
            let answer = read(&format!("{{\"id\": 1, \"error\": {error}}}"), 1, "ban").unwrap();
            assert!(matches!(answer, Err(RpcError::Refused { .. })), "{error}");
        }
    }
}
