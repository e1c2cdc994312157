//! What a session's owner and its driver share.

use std::{
    io,
    pin::Pin,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    task::{Context, Poll, Waker},
};

use kaspath_domain::{DuplexStream, Moment, MonotonicClock};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use crate::{
    machine::{Machine, SessionEnd, SessionStats},
    wire::{BootId, Hello, Refusal},
};

/// Streams on which a peer attaches that may wait for the driver.
const MAX_ATTACHES: usize = 4;

/// A session's state, which its owner reads and writes and its driver moves.
pub(crate) struct Cell {
    state: Mutex<State>,
    clock: MonotonicClock,
}

pub(crate) struct State {
    pub(crate) machine: Machine,
    /// Streams on which the peer attaches, with its hello, until the driver takes them.
    pub(crate) attaches: Vec<(Hello, DuplexStream)>,
    driver: Option<Waker>,
    reader: Option<Waker>,
    writer: Option<Waker>,
}

impl Cell {
    pub(crate) fn new(machine: Machine, clock: MonotonicClock) -> Arc<Self> {
        let state = State { machine, attaches: Vec::new(), driver: None, reader: None, writer: None };
        Arc::new(Self { state: Mutex::new(state), clock })
    }

    pub(crate) fn now(&self) -> Moment {
        self.clock.now()
    }

    /// The peer says hello by that boot id: if it is of a later start than before, the peer
    /// has restarted, and the session is over. Whether it is.
    pub(crate) fn restarted(&self, boot: BootId) -> bool {
        let mut state = self.lock();
        let has_restarted = state.machine.has_restarted(boot);
        if has_restarted {
            state.finish(SessionEnd::Restarted);
        }
        has_restarted
    }

    /// Whether the session has ended; its driver may still run.
    pub(crate) fn has_ended(&self) -> bool {
        self.lock().machine.end().is_some()
    }

    /// Since when the session, which has begun, has no usable path. None if its next one
    /// waits for the driver.
    pub(crate) fn parked_since(&self) -> Option<Moment> {
        let state = self.lock();
        state.machine.parked_since().filter(|_| state.attaches.is_empty())
    }

    /// The peer attaches on a stream, which is refused if the session has ended or has no
    /// driver, or too many wait already.
    pub(crate) fn attach(&self, hello: Hello, stream: DuplexStream) -> Result<(), (DuplexStream, Refusal)> {
        let mut state = self.lock();
        if state.machine.end().is_some() || state.machine.is_plain() {
            return Err((stream, Refusal::Unknown));
        }
        if state.attaches.len() >= MAX_ATTACHES {
            return Err((stream, Refusal::Limited));
        }
        state.attaches.push((hello, stream));
        state.wake_driver();
        Ok(())
    }

    /// The session, which has ended or is plain from now on, has no driver any more: streams
    /// that wait for it end, and no more are taken.
    pub(crate) fn without_driver(&self, is_plain: bool) {
        let mut state = self.lock();
        if is_plain {
            state.machine.begin_plain();
        }
        let waiting = std::mem::take(&mut state.attaches);
        drop(state);
        drop(waiting);
    }

    /// Ends the session, for a cause beside its paths.
    pub(crate) fn finish(&self, end: SessionEnd) {
        self.lock().finish(end);
    }

    /// How the session, which is over, has ended, and what it did.
    pub(crate) fn ended(&self) -> (SessionEnd, SessionStats) {
        let state = self.lock();
        (state.machine.end().unwrap_or(SessionEnd::Dropped), state.machine.stats())
    }

    pub(crate) fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    /// Has the driver woken at the owner's next doing.
    pub(crate) fn wait_for_owner(&mut self, cx: &Context<'_>) {
        if !self.driver.as_ref().is_some_and(|waker| waker.will_wake(cx.waker())) {
            self.driver = Some(cx.waker().clone());
        }
    }

    fn finish(&mut self, end: SessionEnd) {
        self.machine.finish(end);
        self.wake_driver();
        self.wake_owner();
    }

    fn wake_driver(&mut self) {
        if let Some(waker) = &self.driver {
            waker.wake_by_ref();
        }
    }

    /// Wakes the owner if it can go on.
    pub(crate) fn wake_owner(&mut self) {
        let ended = self.machine.end().is_some();
        let (available, at_end) = self.machine.readable();
        if (available > 0 || at_end || ended)
            && let Some(waker) = self.reader.take()
        {
            waker.wake();
        }
        if (!self.machine.is_full() || ended)
            && let Some(waker) = self.writer.take()
        {
            waker.wake();
        }
    }

    fn failure(&self) -> Option<io::Error> {
        let kind = match self.machine.end()? {
            SessionEnd::Closed => return None,
            SessionEnd::NoPath => io::ErrorKind::TimedOut,
            SessionEnd::Violation(_) => io::ErrorKind::InvalidData,
            _ => io::ErrorKind::ConnectionReset,
        };
        self.machine.end().map(|end| io::Error::new(kind, format!("the session has ended: {end}")))
    }
}

/// The owner's side of a session. Dropping it ends the session; bytes that were written
/// before a shutdown are still delivered.
pub(crate) struct SessionStream(pub(crate) Arc<Cell>);

impl AsyncRead for SessionStream {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let mut state = self.0.lock();
        let (available, at_end) = state.machine.readable();
        if available > 0 {
            let most = buf.remaining();
            state.machine.read(most, |bytes| buf.put_slice(bytes));
            if state.machine.is_limit_due() {
                state.wake_driver();
            }
            return Poll::Ready(Ok(()));
        }
        if at_end || state.machine.end() == Some(SessionEnd::Closed) {
            return Poll::Ready(Ok(()));
        }
        if let Some(failure) = state.failure() {
            return Poll::Ready(Err(failure));
        }
        state.reader = Some(cx.waker().clone());
        Poll::Pending
    }
}

impl AsyncWrite for SessionStream {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        let mut state = self.0.lock();
        if let Some(failure) = state.failure() {
            return Poll::Ready(Err(failure));
        }
        if state.machine.is_write_closed() {
            return Poll::Ready(Err(io::ErrorKind::BrokenPipe.into()));
        }
        let taken = state.machine.write(buf);
        if taken == 0 && !buf.is_empty() {
            state.writer = Some(cx.waker().clone());
            return Poll::Pending;
        }
        state.wake_driver();
        Poll::Ready(Ok(taken))
    }

    /// Whatever was written is sent without being asked for.
    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        let mut state = self.0.lock();
        if let Some(failure) = state.failure() {
            return Poll::Ready(Err(failure));
        }
        state.machine.close_write();
        state.wake_driver();
        Poll::Ready(Ok(()))
    }
}

impl Drop for SessionStream {
    fn drop(&mut self) {
        let now = self.0.now();
        let mut state = self.0.lock();
        state.machine.abandon(now);
        state.wake_driver();
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use kaspath_domain::{ConnectInfo, Direction, Path, PathWatch, PeerIdentity, Transport, synthetic_address};

    use super::*;
    use crate::{budget::Budget, wire::SessionId};

    #[tokio::test]
    async fn a_stream_that_no_driver_takes_is_given_back() {
        let peer = PeerIdentity::from_bytes(&[0, 1, 2]).unwrap();
        let (remote, synthetic) = ("192.0.2.1:1".parse().unwrap(), synthetic_address(&peer));
        let info = ConnectInfo { peer: Some(peer), direction: Direction::Inbound, remote, synthetic };
        let path = Path::Direct { transport: Transport::Tcp };
        let (session, boot, clock) = (SessionId([7; 16]), BootId(1), MonotonicClock::start());
        let hello = Hello { session, boot, epoch: 3, received: 0, limit: 0, is_opener: false, begins: false };
        let attach = |cell: &Arc<Cell>| {
            let stream = DuplexStream::new(tokio::io::duplex(1).0, info.clone(), PathWatch::fixed(path.clone()));
            cell.attach(hello, stream).is_ok()
        };
        let begun = || Cell::new(Machine::open(session, boot, &Budget::new(0), clock.now()), clock);
        let (ended, plain) = (begun(), begun());
        assert!(attach(&ended) && attach(&plain));
        ended.finish(SessionEnd::NoPath);
        plain.without_driver(true);
        assert!(!attach(&ended) && !attach(&plain));
        ended.without_driver(false);
        assert!(ended.lock().attaches.is_empty() && plain.lock().attaches.is_empty(), "nor does one wait");
    }
}
