use std::time::Duration;

use kaspa_hashes::Hash as BlockHash;
use kaspa_p2p_lib::pb::{
    Hash as WireHash, InvRelayBlockMessage, KaspadMessage, RequestRelayBlocksMessage, kaspad_message::Payload,
};
use prost::Message;

use super::context::{Context, bad, plain, response};
use crate::{CloseReason, Inventory, KaspaEvent, Peer, session::Route};

/// As in kaspad.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(120);
/// Blocks that a peer may ask for at once.
const MAX_REQUESTED: usize = 64;

/// The announcement of a block.
pub(crate) fn announcement(hash: BlockHash) -> KaspadMessage {
    plain(Payload::InvRelayBlock(InvRelayBlockMessage { hash: Some(wire(hash)) }))
}

fn wire(hash: BlockHash) -> WireHash {
    WireHash { bytes: hash.as_bytes().to_vec() }
}

fn block_hash(wire: Option<&WireHash>) -> Result<BlockHash, CloseReason> {
    let bytes = wire.map(|hash| hash.bytes.as_slice()).unwrap_or_default();
    <[u8; 32]>::try_from(bytes).map(BlockHash::from_bytes).map_err(|_| bad("a block hash has not 32 bytes"))
}

/// Fetches what gossiping peers announce, and announces it further.
pub(super) async fn fetch(mut announced: Route, mut answers: Route, context: &Context, peer: &Peer) -> Result<(), CloseReason> {
    loop {
        let Some(Payload::InvRelayBlock(block)) = announced.next().await?.message.payload else {
            return Err(bad("no InvRelayBlock"));
        };
        // A kaspad's announcements are drained: what we do not fetch we need not serve.
        if !peer.gossips() {
            continue;
        }
        let expected = block_hash(block.hash.as_ref())?;
        if context.inventory.block(&expected).is_some() {
            continue;
        }
        let request = RequestRelayBlocksMessage { hashes: vec![wire(expected)] };
        peer.router().send(plain(Payload::RequestRelayBlocks(request))).await?;
        let answer = answers.answer("our request for a block", ANSWER_TIMEOUT).await?;
        let Some(Payload::Block(message)) = answer.message.payload else { return Err(bad("no Block")) };
        if Inventory::block_hash(&message) != Some(expected) {
            return Err(bad("another block than the one asked for"));
        }
        if let Some((hash, true)) = context.inventory.add_block(message) {
            context.report(KaspaEvent::BlockReceived { hash: hash.to_string(), peer: peer.identity().cloned() });
            context.hub.broadcast(&announcement(hash), Some(peer));
        }
    }
}

/// Serves what we hold. Upstream ends a session that asks for a block we lack;
/// so do we, for it cannot know of it from us.
pub(super) async fn serve(mut requests: Route, context: &Context, peer: &Peer) -> Result<(), CloseReason> {
    loop {
        let request = requests.next().await?;
        let Some(Payload::RequestRelayBlocks(RequestRelayBlocksMessage { hashes })) = &request.message.payload else {
            return Err(bad("no RequestRelayBlocks"));
        };
        if hashes.len() > MAX_REQUESTED {
            return Err(bad("more than 64 blocks asked for at once"));
        }
        for wanted in hashes {
            let block =
                context.inventory.block(&block_hash(Some(wanted))?).ok_or_else(|| bad("a request for a block that we lack"))?;
            let answer = || response(Payload::Block((*block).clone()), &request.message);
            peer.router().send_made(block.encoded_len(), answer).await?;
        }
    }
}
