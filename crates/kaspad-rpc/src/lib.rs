//! kaspad's RPC: JSON over a WebSocket (its `--rpclisten-json`), without any of
//! Kaspa's own crates.
//!
//! ```no_run
//! # async fn example() -> Result<(), kaspath_kaspad_rpc::RpcError> {
//! let mut kaspad = kaspath_kaspad_rpc::KaspadRpc::connect("ws://127.0.0.1:18110").await?;
//! println!("{} peers", kaspad.connected_peers().await?.len());
//! # Ok(())
//! # }
//! ```

#![warn(clippy::unwrap_used)]

mod answers;
mod client;
mod errors;

pub use answers::{BlockDag, ConnectedPeer, ServerInfo};
pub use client::KaspadRpc;
pub use errors::RpcError;

/// Parsers of what kaspad says, for fuzzing.
#[cfg(feature = "fuzzing")]
#[doc(hidden)]
pub mod fuzz {
    use crate::{BlockDag, ConnectedPeer, ServerInfo, answers};

    pub fn answer(text: &str) {
        if let Some(Ok(answer)) = answers::read(text, 1, "fuzz") {
            let _ = answers::take::<Vec<ConnectedPeer>>(answer.clone(), Some("peerInfo"), "fuzz");
            let _ = answers::take::<Vec<std::net::IpAddr>>(answer.clone(), Some("bannedAddresses"), "fuzz");
            let _ = answers::take::<BlockDag>(answer.clone(), None, "fuzz");
            let _ = answers::take::<ServerInfo>(answer, None, "fuzz");
        }
    }
}
