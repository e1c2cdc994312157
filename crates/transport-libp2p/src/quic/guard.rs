//! Joins the gate to quinn, and remembers who is being punched.

use std::{
    collections::HashMap,
    net::{IpAddr, SocketAddr},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use kaspath_domain::{Moment, MonotonicClock, Rates};
use tokio::sync::mpsc;

use super::{
    config::Terms,
    error::Error,
    gate::{self, Counts, Gate, Initial, Limits, Verdict},
    handshake::Handshake,
    permit::Permit,
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

struct Punches {
    /// Who waits for a connection from which address.
    waiting: HashMap<(IpAddr, u16), mpsc::Sender<Handshake>>,
    budgets: Rates<(IpAddr, u16)>,
}

/// Shared by all sockets of a transport; clones are handles to the same.
#[derive(Clone)]
pub(super) struct Guard {
    gate: Arc<Mutex<Gate>>,
    /// Locked before the gate where both are.
    punches: Arc<Mutex<Punches>>,
    clock: MonotonicClock,
}

impl Guard {
    pub(super) fn new(limits: Limits) -> Self {
        let budgets = Rates::new(PUNCHES_IN_A_ROW, PUNCH_INTERVAL, MAX_REMEMBERED);
        let punches = Punches { waiting: HashMap::new(), budgets };
        Self {
            gate: Arc::new(Mutex::new(Gate::new(limits))),
            punches: Arc::new(Mutex::new(punches)),
            clock: MonotonicClock::start(),
        }
    }

    fn gate(&self) -> MutexGuard<'_, Gate> {
        // Nothing under these locks panics halfway through a change.
        self.gate.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn punches(&self) -> MutexGuard<'_, Punches> {
        self.punches.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn now(&self) -> Moment {
        self.clock.now()
    }

    /// Carries the gate's verdict out. `Some` is a handshake that has begun.
    pub(super) fn admit(&self, incoming: quinn::Incoming, terms: Terms) -> Option<Handshake> {
        let remote = incoming.remote_address();
        let initial = Initial { remote, validated: incoming.remote_address_validated() };
        let verdict = self.gate().judge(initial, self.now());
        match verdict {
            Verdict::Accept(ticket) => {
                let permit = Permit::new(self.gate.clone(), ticket);
                match incoming.accept() {
                    Ok(connecting) => Some(Handshake::new(connecting, terms, Some(permit))),
                    Err(error) => {
                        tracing::trace!(%remote, error = %Error::from(error), "an invalid Initial");
                        None
                    }
                }
            }
            Verdict::Retry => {
                // It cannot fail: an address that is not validated may be sent a Retry.
                if let Err(error) = incoming.retry() {
                    error.into_incoming().ignore();
                }
                None
            }
            Verdict::Refuse => {
                incoming.refuse();
                None
            }
            Verdict::Ignore => {
                incoming.ignore();
                None
            }
        }
    }

    /// The remote is dialled from a listening socket.
    pub(super) fn expect(&self, remote: SocketAddr, time: Duration) {
        let now = self.now();
        self.gate().expect(remote, time, now);
    }

    /// A punch begins: handshakes that the remote starts go to the receiver, until
    /// that is dropped.
    pub(super) fn begin_punch(&self, remote: SocketAddr, time: Duration) -> Result<mpsc::Receiver<Handshake>, Error> {
        let now = self.now();
        let mut punches = self.punches();
        punches.waiting.retain(|_, waiting| !waiting.is_closed());
        let key = gate::key(remote);
        if punches.waiting.contains_key(&key) {
            return Err(Error::PunchInProgress(remote));
        }
        if punches.waiting.len() >= MAX_PUNCHES {
            return Err(Error::TooManyPunches);
        }
        punches.budgets.take(&key, now).map_err(|_| Error::PunchTooOften(remote))?;
        let (sender, receiver) = mpsc::channel(ARRIVALS);
        punches.waiting.insert(key, sender);
        self.gate().expect(remote, time, now);
        Ok(receiver)
    }

    /// Hands a handshake to the punch that waits for it, or gives it back.
    pub(super) fn deliver(&self, remote: SocketAddr, handshake: Handshake) -> Option<Handshake> {
        let waiting = self.punches().waiting.get(&gate::key(remote)).cloned();
        match waiting {
            Some(waiting) => waiting.try_send(handshake).err().map(|error| match error {
                mpsc::error::TrySendError::Full(handshake) | mpsc::error::TrySendError::Closed(handshake) => handshake,
            }),
            None => Some(handshake),
        }
    }

    #[cfg_attr(not(test), expect(dead_code, reason = "what tests look at"))]
    pub(super) fn counts(&self) -> Counts {
        self.gate().counts()
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
