use std::time::Duration;

use kaspa_consensus_core::tx::TransactionId;
use kaspa_p2p_lib::pb::{
    InvTransactionsMessage, KaspadMessage, RequestTransactionsMessage, TransactionId as WireId, TransactionNotFoundMessage,
    kaspad_message::Payload,
};
use prost::Message;

use super::context::{Context, bad, plain, response};
use crate::{CloseReason, Inventory, KaspaEvent, Peer, session::Route};

/// As in kaspad.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(120);
/// Ids that are asked for at once.
const MAX_BATCH: usize = 128;
/// Ids that a peer may name in one message.
const MAX_NAMED: usize = 1024;

/// The announcement of a transaction.
pub(crate) fn announcement(id: TransactionId) -> KaspadMessage {
    plain(Payload::InvTransactions(InvTransactionsMessage { ids: vec![id.into()] }))
}

fn ids(wire: &[WireId]) -> Result<Vec<TransactionId>, CloseReason> {
    if wire.len() > MAX_NAMED {
        return Err(bad("more than 1024 transaction ids in one message"));
    }
    let id = |wire: &WireId| TransactionId::try_from(wire.clone()).map_err(|_| bad("a transaction id has not 32 bytes"));
    wire.iter().map(id).collect()
}

/// Fetches what gossiping peers announce, and announces it further.
pub(super) async fn fetch(mut announced: Route, mut answers: Route, context: &Context, peer: &Peer) -> Result<(), CloseReason> {
    loop {
        // What was announced meanwhile is fetched together: one round trip for all,
        // but not for ever more of what a fast peer announces.
        let mut unknown = Vec::new();
        let mut next = Some(announced.next().await?);
        while let Some(received) = next {
            let Some(Payload::InvTransactions(InvTransactionsMessage { ids: named })) = received.message.payload else {
                return Err(bad("no InvTransactions"));
            };
            // A kaspad's announcements are drained: this node checks no consensus.
            if peer.gossips() {
                unknown.extend(ids(&named)?.into_iter().filter(|id| context.inventory.transaction(id).is_none()));
            }
            next = if unknown.len() < MAX_NAMED { announced.try_next() } else { None };
        }
        unknown.sort_unstable();
        unknown.dedup();
        for batch in unknown.chunks(MAX_BATCH) {
            fetch_batch(batch, &mut answers, context, peer).await?;
        }
    }
}

/// Answers come in the order of the request, as upstream demands.
async fn fetch_batch(batch: &[TransactionId], answers: &mut Route, context: &Context, peer: &Peer) -> Result<(), CloseReason> {
    let request = RequestTransactionsMessage { ids: batch.iter().map(|id| (*id).into()).collect() };
    peer.router().send(plain(Payload::RequestTransactions(request))).await?;
    for expected in batch {
        let answer = answers.answer("our request for a transaction", ANSWER_TIMEOUT).await?;
        match answer.message.payload {
            Some(Payload::Transaction(message)) => {
                if Inventory::transaction_id(&message) != Some(*expected) {
                    return Err(bad("another transaction than the one asked for"));
                }
                if let Some((id, true)) = context.inventory.add_transaction(message) {
                    context.report(KaspaEvent::TransactionReceived { id: id.to_string(), peer: peer.identity().cloned() });
                    context.hub.broadcast(&announcement(id), Some(peer));
                }
            }
            Some(Payload::TransactionNotFound(missing)) if missing.id == Some((*expected).into()) => {}
            _ => return Err(bad("transaction replies out of order")),
        }
    }
    Ok(())
}

/// Serves what we hold.
pub(super) async fn serve(mut requests: Route, context: &Context, peer: &Peer) -> Result<(), CloseReason> {
    loop {
        let request = requests.next().await?;
        let Some(Payload::RequestTransactions(RequestTransactionsMessage { ids: wanted })) = &request.message.payload else {
            return Err(bad("no RequestTransactions"));
        };
        for id in ids(wanted)? {
            let Some(transaction) = context.inventory.transaction(&id) else {
                let missing = TransactionNotFoundMessage { id: Some(id.into()) };
                peer.router().send(response(Payload::TransactionNotFound(missing), &request.message)).await?;
                continue;
            };
            let answer = || response(Payload::Transaction((*transaction).clone()), &request.message);
            peer.router().send_made(transaction.encoded_len(), answer).await?;
        }
    }
}
