//! What is said after Ready. Each flow is subscribed before our Ready is sent, and
//! runs until the session ends or the peer breaks its rules.

mod addresses;
mod blocks;
mod context;
mod ping;
mod transactions;

use std::sync::Arc;

use futures::future::BoxFuture;
use kaspa_p2p_lib::KaspadMessagePayloadType as Kind;

pub(crate) use blocks::announcement as block_announcement;
pub(crate) use context::Context;
pub(crate) use transactions::announcement as transaction_announcement;

use crate::{CloseReason, Peer};

/// Subscribes all flows of a session. The future runs them until the session ends; why
/// it did.
pub(crate) fn subscribe(context: Context, peer: Arc<Peer>) -> BoxFuture<'static, CloseReason> {
    let on = |kinds: &[Kind]| peer.router().subscribe(kinds);
    let [address_requests, addresses] = [Kind::RequestAddresses, Kind::Addresses].map(|kind| on(&[kind]));
    let [block_requests, announced_blocks, blocks] =
        [Kind::RequestRelayBlocks, Kind::InvRelayBlock, Kind::Block].map(|kind| on(&[kind]));
    let [transaction_requests, announced] = [Kind::RequestTransactions, Kind::InvTransactions].map(|kind| on(&[kind]));
    let transactions = on(&[Kind::Transaction, Kind::TransactionNotFound]);
    let [pings, pongs] = [Kind::Ping, Kind::Pong].map(|kind| on(&[kind]));
    Box::pin(async move {
        let (context, peer) = (&context, &peer);
        // Each runs for ever or ends with the reason.
        let ended = tokio::try_join!(
            addresses::serve(address_requests, context, peer),
            addresses::fetch(addresses, context, peer),
            blocks::serve(block_requests, context, peer),
            blocks::fetch(announced_blocks, blocks, context, peer),
            ping::answer(pings, context, peer),
            ping::ask(pongs, context, peer),
            transactions::serve(transaction_requests, context, peer),
            transactions::fetch(announced, transactions, context, peer),
        );
        ended.err().unwrap_or(CloseReason::Local)
    })
}
