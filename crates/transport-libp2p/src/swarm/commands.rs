//! What handles ask of the actor.

use std::{
    collections::{BTreeMap, VecDeque},
    convert::Infallible,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use kaspath_domain::{DialError, Health, PathHealth, PeerIdentity, RelayReason, TransportAddress};
use libp2p::{StreamProtocol, swarm::ConnectionId};
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
    AddRelay { relay: PeerIdentity, at: Vec<TransportAddress>, reply: oneshot::Sender<Result<(), DialError>> },
    /// Reserve there no longer.
    RemoveRelay { relay: PeerIdentity, reply: oneshot::Sender<()> },
    /// A data stream on that connection.
    Open { connection: ConnId, for_session: bool, reply: OpenReply },
    /// A stream of another protocol, with that peer.
    Speak { with: With, protocol: StreamProtocol, reply: OpenReply },
    /// A session has noticed that of the connection.
    Health { connection: ConnectionId, health: Health },
    /// Why that connection is relayed.
    RelayReason { connection: ConnId, reply: oneshot::Sender<Option<RelayReason>> },
    /// Punch by these settings from now on.
    SetPunch { punch: Box<PunchConfig>, reply: oneshot::Sender<()> },
    /// Our router forwards these addresses to us, and no others.
    SetMapped { addresses: Vec<TransportAddress>, reply: oneshot::Sender<()> },
    /// Something for our relay server, or about it.
    RelayServer(RelayServerCommand),
    /// Give these tokens to relays from now on.
    SetRelayTokens { tokens: BTreeMap<PeerIdentity, RelayToken>, reply: oneshot::Sender<()> },
    /// Memory is short, or is not any more.
    SetPressure { is_under_pressure: bool, reply: oneshot::Sender<()> },
    /// Close everything and end.
    Shutdown,
}

/// On which connection a stream is opened.
#[derive(Debug)]
pub(crate) enum With {
    /// That one.
    Connection(ConnId),
    /// The best one with a peer on which a session lives.
    SessionOf(PeerIdentity),
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

/// Reports that may wait for room among the commands; the oldest makes room. More than
/// there are paths of sessions only if the actor does nothing.
const MAX_WAITING: usize = 4096;

type Waiting = Arc<Mutex<VecDeque<(ConnectionId, Health)>>>;

/// Passes what sessions notice to the actor in its order, as long as the actor is there.
#[derive(Clone, Debug)]
pub(crate) struct HealthReports {
    commands: mpsc::WeakSender<Command>,
    waiting: Waiting,
}

impl HealthReports {
    /// What is told of that connection.
    pub(crate) fn of(&self, connection: ConnectionId) -> Arc<dyn PathHealth> {
        Arc::new(HealthReport { reports: self.clone(), connection })
    }
}

struct HealthReport {
    reports: HealthReports,
    connection: ConnectionId,
}

impl PathHealth for HealthReport {
    fn report(&self, health: Health) {
        let (connection, waiting) = (self.connection, self.reports.waiting.clone());
        let Some(commands) = self.reports.commands.upgrade() else { return };
        let mut queue = waiting.lock().unwrap_or_else(PoisonError::into_inner);
        if queue.is_empty() && commands.try_send(Command::Health { connection, health }).is_ok() {
            return;
        }
        queue.push_back((connection, health));
        match queue.len() {
            1 => drop(queue),
            length => {
                queue.drain(..length.saturating_sub(MAX_WAITING));
                return;
            }
        }
        // A session says nothing twice, so what does not fit now waits.
        tokio::spawn(async move {
            while let Ok(permit) = commands.reserve().await {
                let mut queue = waiting.lock().unwrap_or_else(PoisonError::into_inner);
                if let Some((connection, health)) = queue.pop_front() {
                    permit.send(Command::Health { connection, health });
                }
                if queue.is_empty() {
                    return;
                }
            }
        });
    }
}

/// The way to the actor. Cheap to clone.
#[derive(Clone, Debug)]
pub(crate) struct Handle {
    commands: mpsc::Sender<Command>,
    waiters: Arc<AtomicU64>,
    waiting: Waiting,
}

impl Handle {
    pub(crate) fn channel() -> (Handle, mpsc::Receiver<Command>) {
        let (commands, receiver) = mpsc::channel(MAX_COMMANDS);
        (Handle { commands, waiters: Arc::default(), waiting: Waiting::default() }, receiver)
    }

    /// A way for what sessions notice, which does not keep the actor alive.
    pub(crate) fn health(&self) -> HealthReports {
        HealthReports { commands: self.commands.downgrade(), waiting: self.waiting.clone() }
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

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn reports_that_find_the_queue_full_come_later_and_in_their_order() {
        let (handle, mut commands) = Handle::channel();
        let reports = handle.health();
        let told: Vec<_> = (0..MAX_COMMANDS + 10)
            .flat_map(|n| {
                let id = ConnectionId::new_unchecked(n);
                [Health::Suspect, Health::Recovered].map(|health| (id, health))
            })
            .collect();
        told.iter().for_each(|(connection, health)| reports.of(*connection).report(*health));
        for expected in told {
            let Some(Command::Health { connection, health }) = commands.recv().await else { panic!("a report") };
            assert_eq!((connection, health), expected);
        }
        // Nothing is left, and what comes next goes at once.
        let next = ConnectionId::new_unchecked(9);
        reports.of(next).report(Health::Left);
        assert!(matches!(commands.try_recv(), Ok(Command::Health { health: Health::Left, .. })));
        drop(handle);
        assert!(commands.recv().await.is_none(), "reports do not keep the actor alive");
    }
}
