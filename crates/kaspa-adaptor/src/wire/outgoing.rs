//! The sending half of a session: a queue bounded in messages and in bytes.

use std::{
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
};

use futures::Stream;
use kaspa_p2p_lib::pb::KaspadMessage;
use prost::Message;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};

use super::{
    Budget,
    budget::{OUTGOING_POOL, OUTGOING_SHARE},
};

/// What a queued message takes for each of its encoded bytes: the struct, its
/// encoded form and the compressed one.
const FACTOR: usize = 4;
/// What the smallest one takes.
const LEAST: usize = 512;
/// Half of a peer's share is for messages up to this cost: an announcement must not be
/// lost because a block is on its way to the same peer.
const SMALL: usize = OUTGOING_SHARE / 8;

/// Queues messages for a peer. Cheap to clone; all clones are one queue.
#[derive(Clone, Debug)]
pub(crate) struct Outgoing {
    sender: mpsc::Sender<Queued>,
    small: Arc<Semaphore>,
    large: Arc<Semaphore>,
    pool: Arc<Semaphore>,
}

/// A queued message with the room that it takes.
#[derive(Debug)]
struct Queued {
    message: KaspadMessage,
    room: Room,
}

/// Of the peer's share, and of the pool for the rest of a large message.
type Room = (OwnedSemaphorePermit, Option<OwnedSemaphorePermit>);

/// The peer's connection takes no messages any more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Ended;

/// The messages of an [`Outgoing`], for tonic to encode.
#[derive(Debug)]
pub(crate) struct OutgoingStream {
    queued: mpsc::Receiver<Queued>,
    /// Of the message given out last. It is encoded and given to HTTP/2 before the
    /// next is asked for, and till then it takes its room.
    last: Option<Room>,
}

/// A queue of at most `messages`, and of a share of `budget` in bytes.
pub(crate) fn queue(messages: usize, budget: &Budget) -> (Outgoing, OutgoingStream) {
    let (sender, queued) = mpsc::channel(messages);
    let half = || Arc::new(Semaphore::new(OUTGOING_SHARE / 2));
    (Outgoing { sender, small: half(), large: half(), pool: budget.outgoing() }, OutgoingStream { queued, last: None })
}

impl Outgoing {
    /// Of which half of the share a message of that encoded length takes how many
    /// bytes, and how many of the pool.
    fn cost(&self, length: usize) -> (&Arc<Semaphore>, u32, u32) {
        let bytes = LEAST.saturating_add(FACTOR.saturating_mul(length));
        let half = if bytes <= SMALL { &self.small } else { &self.large };
        let share = bytes.min(OUTGOING_SHARE / 2);
        // Both are far below 2^32.
        (half, share as u32, (bytes - share).min(OUTGOING_POOL) as u32)
    }

    /// Waits for room for a message of an encoded length, then makes and queues it:
    /// a copy of a block must not exist while it waits.
    pub(crate) async fn send(&self, length: usize, make: impl FnOnce() -> KaspadMessage) -> Result<(), Ended> {
        let (half, share, pool) = self.cost(length);
        let share = half.clone().acquire_many_owned(share).await.map_err(|_| Ended)?;
        let pool = match pool {
            0 => None,
            pool => Some(self.pool.clone().acquire_many_owned(pool).await.map_err(|_| Ended)?),
        };
        let slot = self.sender.reserve().await.map_err(|_| Ended)?;
        slot.send(Queued { message: make(), room: (share, pool) });
        Ok(())
    }

    /// Queues a message if there is room now; whether there was.
    pub(crate) fn try_send(&self, message: KaspadMessage) -> bool {
        let (half, share, pool) = self.cost(message.encoded_len());
        let Ok(share) = half.clone().try_acquire_many_owned(share) else { return false };
        let pool = match pool {
            0 => None,
            pool => match self.pool.clone().try_acquire_many_owned(pool) {
                Ok(pool) => Some(pool),
                Err(_) => return false,
            },
        };
        self.sender.try_send(Queued { message, room: (share, pool) }).is_ok()
    }
}

impl Stream for OutgoingStream {
    type Item = KaspadMessage;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<KaspadMessage>> {
        self.last = None;
        let queued = ready!(self.queued.poll_recv(cx));
        Poll::Ready(queued.map(|Queued { message, room }| {
            self.last = Some(room);
            message
        }))
    }
}

#[cfg(test)]
mod tests {
    use futures::StreamExt;
    use kaspa_p2p_lib::pb::{PingMessage, RejectMessage, kaspad_message::Payload};

    use super::*;

    fn message(payload: Payload) -> KaspadMessage {
        KaspadMessage { response_id: 0, request_id: 0, payload: Some(payload) }
    }

    fn of_size(bytes: usize) -> KaspadMessage {
        message(Payload::Reject(RejectMessage { reason: "x".repeat(bytes) }))
    }

    #[tokio::test]
    async fn what_waits_for_one_peer_is_bounded_in_bytes() {
        let (outgoing, mut stream) = queue(10_000, &Budget::default());
        let ping = message(Payload::Ping(PingMessage { nonce: 1 }));
        let queued = (0..10_000).take_while(|_| outgoing.try_send(ping.clone())).count();
        assert!((100..=OUTGOING_SHARE / LEAST).contains(&queued), "{queued}");
        stream.next().await.unwrap();
        assert!(!outgoing.try_send(ping.clone()), "the one given out is not encoded yet");
        stream.next().await.unwrap();
        assert!(outgoing.try_send(ping), "the first one has left");
    }

    #[tokio::test]
    async fn an_announcement_is_not_lost_beside_a_large_message() {
        let (outgoing, mut stream) = queue(16, &Budget::default());
        assert!(outgoing.try_send(of_size(512 << 10)));
        assert!(!outgoing.try_send(of_size(512 << 10)), "one large message at a time");
        let ping = message(Payload::Ping(PingMessage { nonce: 1 }));
        assert!(outgoing.try_send(ping.clone()));
        stream.next().await.unwrap();
        assert!(outgoing.try_send(ping), "nor while the large one is encoded");
    }

    #[tokio::test]
    async fn large_messages_to_all_peers_together_are_bounded() {
        let budget = Budget::default();
        let size = 512 << 10;
        let peers: Vec<_> = (0..32).map(|_| queue(16, &budget)).collect();
        let queued = peers.iter().filter(|(outgoing, _)| outgoing.try_send(of_size(size))).count();
        assert!((1..=OUTGOING_POOL / (FACTOR * size - OUTGOING_SHARE / 2)).contains(&queued), "{queued}");
        drop(peers);
        let (outgoing, _stream) = queue(16, &budget);
        assert!(outgoing.try_send(of_size(64 << 20)), "the greatest goes alone");
        let (other, _stream) = queue(16, &budget);
        assert!(!other.try_send(of_size(OUTGOING_SHARE)));
        assert!(other.try_send(of_size(1000)), "its own share is untouched");
    }
}
