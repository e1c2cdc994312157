//! What handles ask of the actor.

use std::{
    convert::Infallible,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use kaspath_domain::{DialError, PeerIdentity, RelayAddress, RelayReason};
use tokio::sync::{mpsc, oneshot};

use crate::{
    PunchConfig,
    core::{ConnId, Input, WaiterId},
    streams::OpenReply,
};

/// Commands that may wait for the actor.
const MAX_COMMANDS: usize = 256;

/// Where a waiter's answer goes, and how it is seen that nobody waits any more.
#[derive(Debug)]
pub(crate) struct ConnectReply {
    pub(super) answer: oneshot::Sender<Result<ConnId, DialError>>,
    /// Ends with the future that waits.
    pub(super) gone: oneshot::Receiver<Infallible>,
}

#[derive(Debug)]
pub(crate) enum Command {
    /// A connection is wanted: `input` says which.
    Want { waiter: WaiterId, input: Input, reply: ConnectReply },
    /// Reserve at one more relay.
    AddRelay { relay: RelayAddress, reply: oneshot::Sender<Result<(), DialError>> },
    /// Reserve there no longer.
    RemoveRelay { relay: PeerIdentity, reply: oneshot::Sender<()> },
    /// A data stream on that connection.
    Open { connection: ConnId, reply: OpenReply },
    /// Why that connection is relayed.
    RelayReason { connection: ConnId, reply: oneshot::Sender<Option<RelayReason>> },
    /// Punch by these settings from now on.
    SetPunch { punch: Box<PunchConfig>, reply: oneshot::Sender<()> },
    /// Close everything and end.
    Shutdown,
}

/// The way to the actor. Cheap to clone.
#[derive(Clone, Debug)]
pub(crate) struct Handle {
    commands: mpsc::Sender<Command>,
    waiters: Arc<AtomicU64>,
}

impl Handle {
    pub(crate) fn channel() -> (Handle, mpsc::Receiver<Command>) {
        let (commands, receiver) = mpsc::channel(MAX_COMMANDS);
        (Handle { commands, waiters: Arc::default() }, receiver)
    }

    /// Sends a command and waits for its answer. Dropping the future leaves the
    /// actor with a reply that nobody hears.
    pub(crate) async fn ask<T>(&self, command: impl FnOnce(oneshot::Sender<T>) -> Command) -> Result<T, DialError> {
        let (reply, answer) = oneshot::channel();
        self.commands.send(command(reply)).await.map_err(|_| DialError::ShuttingDown)?;
        answer.await.map_err(|_| DialError::ShuttingDown)
    }

    pub(crate) async fn shutdown(&self) {
        let _ = self.commands.send(Command::Shutdown).await;
    }

    /// Waits for a connection. Dropping the future gives up what was held for it.
    pub(crate) async fn connection(&self, wanted: impl FnOnce(WaiterId) -> Input) -> Result<ConnId, DialError> {
        let waiter = WaiterId(self.waiters.fetch_add(1, Ordering::Relaxed));
        let (_alive, gone) = oneshot::channel();
        let input = wanted(waiter);
        self.ask(|answer| Command::Want { waiter, input, reply: ConnectReply { answer, gone } }).await?
    }
}
