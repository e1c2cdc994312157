use std::time::Duration;

use kaspath_kaspa_adaptor::{
    KaspaNode,
    pb::{SubnetworkId, TransactionMessage},
};
use tokio::time::{MissedTickBehavior, interval};

/// Announces made-up transactions, which are sent only to gossiping peers: no
/// kaspad ever sees them. They are well-formed and distinct, but spend nothing.
pub(super) async fn announce(node: KaspaNode, every: Duration) {
    let mut ticks = interval(every);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    // A random start keeps two nodes from making the same ones.
    let mut n: u64 = rand::random();
    loop {
        ticks.tick().await;
        n = n.wrapping_add(1);
        let transaction = TransactionMessage {
            version: 0,
            inputs: Vec::new(),
            outputs: Vec::new(),
            lock_time: n,
            subnetwork_id: Some(SubnetworkId { bytes: vec![0; 20] }),
            gas: 0,
            payload: n.to_le_bytes().to_vec(),
            storage_mass: 0,
        };
        node.announce_transaction(transaction);
    }
}
