//! What is said after Ready. Each flow subscribes when it is made, before our
//! Ready is sent, and runs until the session ends or the peer breaks its rules.

mod addresses;
mod blocks;
mod context;
mod ping;
mod transactions;

use std::sync::Arc;

pub(crate) use blocks::announcement as block_announcement;
pub(crate) use context::Context;
pub(crate) use transactions::announcement as transaction_announcement;

use crate::{CloseReason, Peer, Router};

/// All flows of a session, subscribed but not running.
pub(crate) struct Flows {
    addresses: addresses::Addresses,
    blocks: blocks::Blocks,
    block_requests: blocks::Requests,
    pings: ping::Pings,
    pongs: ping::Pongs,
    transactions: transactions::Transactions,
    transaction_requests: transactions::Requests,
}

impl Flows {
    pub(crate) fn subscribe(router: &Arc<Router>) -> Self {
        Self {
            addresses: addresses::Addresses::subscribe(router),
            blocks: blocks::Blocks::subscribe(router),
            block_requests: blocks::Requests::subscribe(router),
            pings: ping::Pings::subscribe(router),
            pongs: ping::Pongs::subscribe(router),
            transactions: transactions::Transactions::subscribe(router),
            transaction_requests: transactions::Requests::subscribe(router),
        }
    }

    /// Runs until the session ends; why it did.
    pub(crate) async fn run(self, context: &Context, peer: &Arc<Peer>) -> CloseReason {
        // Each runs for ever or ends with the reason.
        let ended = tokio::try_join!(
            self.addresses.run(context, peer),
            self.blocks.run(context, peer),
            self.block_requests.run(context, peer),
            self.pings.run(context, peer),
            self.pongs.run(context, peer),
            self.transactions.run(context, peer),
            self.transaction_requests.run(context, peer),
        );
        ended.err().unwrap_or(CloseReason::Local)
    }
}
