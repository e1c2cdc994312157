//! What runs beside the swarm, and what it comes to.

use std::{
    sync::Arc,
    task::{Context, Poll, ready},
};

use libp2p::{PeerId, Stream, swarm::ConnectionId};
use tokio::{
    sync::{
        OwnedSemaphorePermit,
        mpsc::{self, OwnedPermit},
    },
    task::{AbortHandle, JoinSet},
};

use super::{
    denial::Denial,
    exchange::{Ask, Way},
    meter::{Meter, Side},
    origin::Origin,
    table::CircuitId,
};
use crate::{CircuitEnd, RelayToken, discovery::Message, reach::Request};

/// What a task beside the swarm came to.
pub(super) enum Done {
    /// A peer asks for something, and waits.
    Asked { by: Asker, stream: Stream, ask: Ask },
    /// The destination agrees, over that connection, and the source knows it.
    Joined { id: CircuitId, source: Stream, destination: Stream, over: ConnectionId },
    /// It came to nothing; the source waits for the reason.
    NotJoined { id: CircuitId, source: Stream, slot: OwnedSemaphorePermit, denial: Denial },
    /// A circuit has ended.
    Ended { id: CircuitId, why: CircuitEnd },
    /// A peer wants to know whether it can be reached.
    CheckWanted { by: Asker, stream: Stream, request: Request },
    /// A peer speaks the relay protocol.
    Hello { peer: PeerId, connection: ConnectionId, origin: Option<Origin>, stream: Stream, token: Option<RelayToken> },
    /// A peer asks who is listed, or to be listed.
    Rendezvous { by: Asker, stream: Stream, request: Box<Message> },
    /// A peer was told that it has a reservation over that connection. These circuits wait for
    /// its answer on another one.
    Reserved { peer: PeerId, connection: ConnectionId, unanswered: Vec<CircuitId> },
    /// There is nothing more to do.
    Answered,
}

/// Who asks, and from where.
pub(super) struct Asker {
    pub(super) peer: PeerId,
    pub(super) connection: ConnectionId,
    /// `None` for a circuit.
    pub(super) origin: Option<Origin>,
    /// One of the connection's slots for requests, taken until the answer is given.
    pub(super) slot: OwnedSemaphorePermit,
}

/// The task and the counters of a circuit; dropped, it ends the task, and with it the
/// circuit's streams.
pub(super) struct Running {
    pub(super) task: AbortHandle,
    pub(super) meter: Arc<Meter>,
    /// Takes streams on which the destination can be asked too, until it has agreed.
    more: Option<mpsc::Sender<Way<ConnectionId, Stream>>>,
}

impl Running {
    /// A circuit, or if there is `more` the request for one.
    pub(super) fn new(task: AbortHandle, meter: Arc<Meter>, more: Option<mpsc::Sender<Way<ConnectionId, Stream>>>) -> Self {
        Self { task, meter, more }
    }

    /// Room for one more connection on which the destination is asked, unless it has agreed or
    /// is asked on many already.
    pub(super) fn another_way(&self) -> Option<OwnedPermit<Way<ConnectionId, Stream>>> {
        self.more.clone()?.try_reserve_owned().ok()
    }

    /// Bytes passed on, both ways.
    pub(super) fn bytes(&self) -> u64 {
        self.meter.bytes(Side::Source) + self.meter.bytes(Side::Destination)
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// All tasks; they end when this is dropped.
#[derive(Default)]
pub(super) struct Tasks(JoinSet<Done>);

impl Tasks {
    pub(super) fn spawn(&mut self, task: impl Future<Output = Done> + Send + 'static) -> AbortHandle {
        self.0.spawn(task)
    }

    /// The next one that is done. If one panicked, so does this: nobody else would see it.
    pub(super) fn poll_next(&mut self, cx: &mut Context<'_>) -> Poll<Done> {
        while let Some(joined) = ready!(self.0.poll_join_next(cx)) {
            match joined {
                Ok(done) => return Poll::Ready(done),
                Err(error) => {
                    // Those that were aborted are of no interest.
                    if let Ok(panic) = error.try_into_panic() {
                        std::panic::resume_unwind(panic);
                    }
                }
            }
        }
        Poll::Pending
    }
}
