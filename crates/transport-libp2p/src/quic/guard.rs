//! Joins the gate to quinn, and remembers who is being punched.

use std::{
    collections::HashMap,
    net::{IpAddr, SocketAddr},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use kaspath_domain::{MonotonicClock, Rates};
use tokio::sync::mpsc::{self, error::TrySendError};

use super::{
    config::Terms,
    error::Error,
    gate::{self, Gate, Initial, Limits, Verdict},
    handshake::Handshake,
};

/// Punches under way at once.
const MAX_PUNCHES: usize = 128;
/// Handshakes that wait for one punch: as many as the gate lets in for it.
const ARRIVALS: usize = 2;
/// One address is punched so often in a row, then once in this time: with five
/// seconds a punch it gets no packets for longer than 20 s on end.
const PUNCHES_IN_A_ROW: u32 = 4;
const PUNCH_INTERVAL: Duration = Duration::from_secs(20);
/// Addresses whose last punches are remembered.
const MAX_REMEMBERED: usize = 1024;

struct State {
    gate: Gate,
    /// Who waits for a connection from which address.
    punches: HashMap<(IpAddr, u16), mpsc::Sender<Handshake>>,
    budgets: Rates<(IpAddr, u16)>,
}

/// Shared by all sockets of a transport; clones are handles to the same.
#[derive(Clone)]
pub(super) struct Guard {
    state: Arc<Mutex<State>>,
    clock: MonotonicClock,
}

impl Guard {
    pub(super) fn new(limits: Limits) -> Self {
        let budgets = Rates::new(PUNCHES_IN_A_ROW, PUNCH_INTERVAL, MAX_REMEMBERED);
        let state = State { gate: Gate::new(limits), punches: HashMap::new(), budgets };
        Self { state: Arc::new(Mutex::new(state)), clock: MonotonicClock::start() }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // Nothing under this lock panics halfway through a change.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Carries the gate's verdict out. `Some` is a handshake that has begun.
    pub(super) fn admit(&self, incoming: quinn::Incoming, terms: Terms) -> Option<Handshake> {
        let remote = incoming.remote_address();
        let initial = Initial { remote, validated: incoming.remote_address_validated() };
        let verdict = self.state().gate.judge(initial, self.clock.now());
        match verdict {
            Verdict::Accept(permit) => {
                let invalid = |error| tracing::trace!(%remote, error = %Error::from(error), "an invalid Initial");
                let connecting = incoming.accept().map_err(invalid).ok()?;
                return Some(Handshake::new(connecting, terms, Some(permit)));
            }
            Verdict::Retry => {
                // It cannot fail: an address that is not validated may be sent a Retry.
                if let Err(error) = incoming.retry() {
                    error.into_incoming().ignore();
                }
            }
            Verdict::Refuse => incoming.refuse(),
            Verdict::Ignore => incoming.ignore(),
        }
        None
    }

    /// The remote is dialled from a listening socket.
    pub(super) fn expect(&self, remote: SocketAddr, time: Duration) {
        self.state().gate.expect(remote, time, self.clock.now());
    }

    /// A punch begins: handshakes that the remote starts go to the receiver, until
    /// that is dropped.
    pub(super) fn begin_punch(&self, remote: SocketAddr, time: Duration) -> Result<mpsc::Receiver<Handshake>, Error> {
        let (now, key) = (self.clock.now(), gate::key(remote));
        let State { gate, punches, budgets } = &mut *self.state();
        punches.retain(|_, waiting| !waiting.is_closed());
        if punches.contains_key(&key) {
            return Err(Error::PunchInProgress(remote));
        }
        if punches.len() >= MAX_PUNCHES {
            return Err(Error::TooManyPunches);
        }
        budgets.take(&key, now).map_err(|_| Error::PunchTooOften(remote))?;
        let (sender, receiver) = mpsc::channel(ARRIVALS);
        punches.insert(key, sender);
        gate.expect(remote, time, now);
        Ok(receiver)
    }

    /// Hands a handshake to the punch that waits for it, or returns it.
    pub(super) fn deliver(&self, remote: SocketAddr, handshake: Handshake) -> Option<Handshake> {
        let Some(waiting) = self.state().punches.get(&gate::key(remote)).cloned() else { return Some(handshake) };
        waiting.try_send(handshake).err().map(TrySendError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn an_address_is_not_punched_without_end() {
        let guard = Guard::new(Limits::default());
        let remote = ([192, 0, 2, 1], 1).into();
        let punch = || guard.begin_punch(remote, Duration::from_secs(5));
        let waiting = punch().unwrap();
        assert!(matches!(punch(), Err(Error::PunchInProgress(_))));
        drop(waiting);
        for _ in 1..PUNCHES_IN_A_ROW {
            drop(punch().unwrap());
        }
        assert!(matches!(punch(), Err(Error::PunchTooOften(_))));
        // Another address has a budget of its own.
        drop(guard.begin_punch(([192, 0, 2, 1], 2).into(), Duration::from_secs(5)).unwrap());
        tokio::time::advance(PUNCH_INTERVAL).await;
        drop(punch().unwrap());
        assert!(matches!(punch(), Err(Error::PunchTooOften(_))));
    }

    #[tokio::test]
    async fn punches_at_once_are_bounded() {
        let guard = Guard::new(Limits::default());
        let punch = |port| guard.begin_punch(([192, 0, 2, 1], port).into(), Duration::from_secs(5));
        let mut waiting: Vec<_> = (1..=MAX_PUNCHES as u16).map(|port| punch(port).unwrap()).collect();
        assert!(matches!(punch(9999), Err(Error::TooManyPunches)));
        waiting.pop();
        punch(9999).unwrap();
    }
}
