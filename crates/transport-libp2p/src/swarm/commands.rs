//! What handles ask of the actor.

use kaspath_domain::{DialError, RelayReason, TransportAddress, TransportSet};
use libp2p::{Multiaddr, PeerId, swarm::ConnectionId};
use tokio::sync::{mpsc, oneshot};

use crate::{PunchConfig, streams::OpenReply};

/// Commands that may wait for the actor.
const MAX_COMMANDS: usize = 256;

pub(crate) type ConnectReply = oneshot::Sender<Result<ConnectionId, DialError>>;

#[derive(Debug)]
pub(crate) enum Command {
    /// A direct connection to the peer at one of these addresses.
    Connect { peer: PeerId, addresses: Vec<Multiaddr>, reply: ConnectReply },
    /// Be connected to a relay, identified, and observed over these transports
    /// as far as the relay has them. A name is resolved when the relay is dialled.
    MeetRelay { relay: PeerId, via: TransportAddress, transports: TransportSet, reply: oneshot::Sender<Result<(), DialError>> },
    /// A circuit to the peer through a relay that is met. `punch` names what the
    /// peer may punch on it; the empty set leaves that as it is.
    Circuit { relay: PeerId, peer: PeerId, punch: TransportSet, reply: ConnectReply },
    /// The best direct connection with the peer, now or when it comes up.
    AwaitDirect { peer: PeerId, transports: TransportSet, reply: ConnectReply },
    /// A data stream on that connection.
    Open { connection: ConnectionId, reply: OpenReply },
    /// Why that connection is relayed.
    RelayReason { connection: ConnectionId, reply: oneshot::Sender<Option<RelayReason>> },
    /// Punch by these settings from now on.
    SetPunch { punch: Box<PunchConfig>, reply: oneshot::Sender<()> },
    /// Close everything and end.
    Shutdown { reply: oneshot::Sender<()> },
}

/// The way to the actor. Cheap to clone.
#[derive(Clone, Debug)]
pub(crate) struct Handle(mpsc::Sender<Command>);

impl Handle {
    pub(crate) fn channel() -> (Handle, mpsc::Receiver<Command>) {
        let (sender, receiver) = mpsc::channel(MAX_COMMANDS);
        (Handle(sender), receiver)
    }

    /// Sends a command and waits for its answer. Dropping the future leaves the
    /// actor with a reply that nobody hears, which it may skip.
    pub(crate) async fn ask<T>(&self, command: impl FnOnce(oneshot::Sender<T>) -> Command) -> Result<T, DialError> {
        let (reply, answer) = oneshot::channel();
        self.0.send(command(reply)).await.map_err(|_| DialError::ShuttingDown)?;
        answer.await.map_err(|_| DialError::ShuttingDown)
    }

    /// Sends a command whose answer is awaited later, or never.
    pub(crate) async fn send(&self, command: Command) -> Result<(), DialError> {
        self.0.send(command).await.map_err(|_| DialError::ShuttingDown)
    }
}
