//! What handles ask of the actor.

use std::{
    collections::BTreeMap,
    convert::Infallible,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use kaspath_domain::{DialError, Health, PathHealth, PeerIdentity, RelayAddress, RelayReason};
use libp2p::swarm::ConnectionId;
use tokio::sync::{mpsc, oneshot};

use crate::{
    PunchConfig, RelayLoad, RelayServerConfig, RelayServerError, RelayToken,
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
    Open { connection: ConnId, for_session: bool, reply: OpenReply },
    /// A session has noticed that of the connection.
    Health { connection: ConnectionId, health: Health },
    /// Why that connection is relayed.
    RelayReason { connection: ConnId, reply: oneshot::Sender<Option<RelayReason>> },
    /// Punch by these settings from now on.
    SetPunch { punch: Box<PunchConfig>, reply: oneshot::Sender<()> },
    /// Something for our relay server, or about it.
    RelayServer(RelayServerCommand),
    /// Give these tokens to relays from now on.
    SetRelayTokens { tokens: BTreeMap<PeerIdentity, RelayToken>, reply: oneshot::Sender<()> },
    /// Memory is short, or is not any more.
    SetPressure { is_under_pressure: bool, reply: oneshot::Sender<()> },
    /// Close everything and end.
    Shutdown,
}

/// What our relay server is asked; without one the reply is dropped.
#[derive(Debug)]
pub(crate) enum RelayServerCommand {
    /// Serve by these settings from now on.
    Set { config: Box<RelayServerConfig>, reply: oneshot::Sender<()> },
    /// Take nothing new, and say how many circuits are left after that time.
    Drain { allowed: Duration, reply: oneshot::Sender<usize> },
    /// How it is doing.
    Load { reply: oneshot::Sender<RelayLoad> },
}

/// Passes what sessions notice to the actor, as long as it is there.
#[derive(Clone, Debug)]
pub(crate) struct HealthReports(mpsc::WeakSender<Command>);

impl HealthReports {
    /// What is told of that connection.
    pub(crate) fn of(&self, connection: ConnectionId) -> Arc<dyn PathHealth> {
        Arc::new(HealthReport { commands: self.0.clone(), connection })
    }
}

struct HealthReport {
    commands: mpsc::WeakSender<Command>,
    connection: ConnectionId,
}

impl PathHealth for HealthReport {
    fn report(&self, health: Health) {
        // A session that is still in need says it again.
        if let Some(commands) = self.commands.upgrade() {
            let _ = commands.try_send(Command::Health { connection: self.connection, health });
        }
    }
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

    /// A way for what sessions notice, which does not keep the actor alive.
    pub(crate) fn health(&self) -> HealthReports {
        HealthReports(self.commands.downgrade())
    }

    /// Sends a command and waits for its answer. Dropping the future leaves the
    /// actor with a reply that nobody hears.
    pub(crate) async fn ask<T>(&self, command: impl FnOnce(oneshot::Sender<T>) -> Command) -> Result<T, DialError> {
        let (reply, answer) = oneshot::channel();
        self.commands.send(command(reply)).await.map_err(|_| DialError::ShuttingDown)?;
        answer.await.map_err(|_| DialError::ShuttingDown)
    }

    /// The same of our relay server.
    pub(crate) async fn ask_relay<T>(
        &self,
        command: impl FnOnce(oneshot::Sender<T>) -> RelayServerCommand,
    ) -> Result<T, RelayServerError> {
        let (reply, answer) = oneshot::channel();
        let sent = self.commands.send(Command::RelayServer(command(reply))).await;
        sent.map_err(|_| RelayServerError::ShuttingDown)?;
        let lost = |_| if self.commands.is_closed() { RelayServerError::ShuttingDown } else { RelayServerError::NotARelay };
        answer.await.map_err(lost)
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
