//! A mebibyte through a Kaspa node: what one peer announces reaches another.

use std::{collections::HashSet, sync::Arc};

use anyhow::{Context, Result};
use kaspath_domain::DuplexStream;
use kaspath_kaspa_adaptor::{
    KaspaEvent, KaspaNetwork, KaspaNode, NodeConfig,
    pb::{SubnetworkId, TransactionMessage},
};
use rand::RngCore;
use tokio::sync::mpsc;

/// What honest peers exchange each time.
pub(super) const MEBIBYTE: usize = 1 << 20;
/// Kaspa's transactions are smaller than a mebibyte.
const PAYLOAD: usize = MEBIBYTE / 2;

/// Shakes hands over both streams, which lead to one node, and waits until
/// transactions of a mebibyte in all have gone from the first to the second.
pub(super) async fn exchange(first: DuplexStream, second: DuplexStream) -> Result<()> {
    let [sender, receiver] = [(); 2].map(|()| Guarded(KaspaNode::new(NodeConfig::new(KaspaNetwork::Simnet))));
    let (report, mut events) = mpsc::unbounded_channel();
    receiver.0.observe(Arc::new(move |event: &KaspaEvent| drop(report.send(event.clone()))));
    tokio::try_join!(sender.0.connect(first), receiver.0.connect(second))?;
    let mut missing = HashSet::new();
    for _ in 0..MEBIBYTE / PAYLOAD {
        missing.insert(sender.0.announce_transaction(transaction()).context("not a valid transaction")?);
    }
    while !missing.is_empty() {
        if let KaspaEvent::TransactionReceived { id, .. } = events.recv().await.context("events go on")? {
            missing.remove(&id);
        }
    }
    Ok(())
}

/// One that nobody has seen before, and that spends nothing.
fn transaction() -> TransactionMessage {
    let mut payload = vec![0; PAYLOAD];
    rand::thread_rng().fill_bytes(&mut payload);
    TransactionMessage {
        version: 0,
        inputs: Vec::new(),
        outputs: Vec::new(),
        lock_time: 0,
        subnetwork_id: Some(SubnetworkId { bytes: vec![0; 20] }),
        gas: 0,
        payload,
        storage_mass: 0,
    }
}

/// Ends its sessions when it goes, also when the exchange is given up.
struct Guarded(KaspaNode);

impl Drop for Guarded {
    fn drop(&mut self) {
        let node = self.0.clone();
        tokio::spawn(async move { node.shutdown().await });
    }
}
