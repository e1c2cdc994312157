//! One session, from its beginning to its end.

use std::{
    future::poll_fn,
    task::Poll,
    time::{Duration, Instant},
};

use kaspath_domain::{Activity, Direction, DuplexStream, MonotonicClock, Path};
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt},
    net::TcpStream,
    time::{sleep, timeout},
};

use crate::{
    CloseReason, GatewayEvent, Hold,
    activity::{Noting, has_begun},
    half_closed::HalfClosed,
    pump::Pump,
    sessions::SessionSlot,
    shared::Shared,
};

/// Time for both sides' first bytes. kaspad gives a handshake 4 s + 4 s + 8 s, but
/// only from the peer's request on: it waits for ever for that. A gateway of an earlier
/// version may open its stream 15 s before its kaspad comes.
const FIRST_BYTES: Duration = Duration::from_secs(20);
/// A peer that sends nothing for so long is gone: kaspad pings every 120 s and ends
/// the session itself if no answer comes in another 120 s. A stream may wait 90 s for a
/// path beside that.
const IDLE: Duration = Duration::from_secs(300);
/// Time for both ends to take note of a session's end.
pub(crate) const CLOSING: Duration = Duration::from_secs(1);

/// A peer and kaspad, joined.
pub(crate) struct Session {
    pub(crate) hold: Hold,
    pub(crate) direction: Direction,
    pub(crate) slot: SessionSlot,
}

/// How a session ended.
pub(crate) struct Ending {
    begin: Instant,
    reason: CloseReason,
    cause: Option<String>,
}

impl Session {
    /// Runs `copying` until it ends, the session must end, or the peer says nothing.
    pub(crate) async fn run(&self, shared: &Shared, path: Path, copying: impl Future<Output = Result<(), String>>) -> Ending {
        let (peer, address, direction) = (self.hold.peer().clone(), self.hold.address(), self.direction);
        let begin = Instant::now();
        shared.report(GatewayEvent::GatewayOpened { peer, address, direction, path });
        let activity = self.slot.activity();
        let (reason, cause) = tokio::select! {
            copied = copying => (CloseReason::Closed, copied.err()),
            reason = self.slot.ended() => (reason, None),
            reason = silence(&activity, shared.parts.clock) => (reason, None),
        };
        Ending { begin, reason, cause }
    }

    /// Parts the two. Both see an end and no reset, as far as they take note in time.
    pub(crate) async fn close(self, shared: &Shared, ending: Ending, mut stream: DuplexStream, mut kaspad: TcpStream) {
        let _ = timeout(CLOSING, async { tokio::join!(close(&mut stream), close(&mut kaspad)) }).await;
        drop((stream, kaspad));
        let Self { hold, slot, .. } = self;
        let (to_kaspad, to_peer) = slot.activity().bytes();
        drop(slot);
        let Ending { begin, reason, cause } = ending;
        let (peer, address, after) = (hold.peer().clone(), hold.address(), begin.elapsed());
        shared.report(GatewayEvent::GatewayClosed { peer, address, reason, cause, after, to_kaspad, to_peer });
    }
}

/// Passes bytes both ways until one end closes.
pub(crate) async fn copy(stream: &mut DuplexStream, kaspad: &mut TcpStream, mut noting: Noting) -> Result<(), String> {
    let (mut inwards, mut outwards) = (Pump::default(), Pump::default());
    let mut half_closed = HalfClosed::default();
    let copied = poll_fn(|cx| {
        let inwards_done = inwards.poll(cx, stream, kaspad)?.is_ready();
        noting.note();
        let outwards_done = outwards.poll(cx, kaspad, stream)?.is_ready();
        if inwards_done && outwards_done {
            return Poll::Ready(Ok(()));
        }
        if !(inwards_done || outwards_done) {
            return Poll::Pending;
        }
        half_closed.poll(cx).map(Ok)
    });
    copied.await.map_err(|error: std::io::Error| error.to_string())
}

/// Returns when the peer has been silent for too long; why.
async fn silence(activity: &Activity, clock: MonotonicClock) -> CloseReason {
    sleep(FIRST_BYTES).await;
    if !has_begun(activity) {
        return CloseReason::NoHandshake;
    }
    loop {
        let idle = clock.now().since(activity.last().unwrap_or(activity.since()));
        let Some(left) = IDLE.checked_sub(idle).filter(|left| !left.is_zero()) else { return CloseReason::Idle };
        sleep(left).await;
    }
}

/// Ends our side, then waits for the other's end; what still comes is dropped.
async fn close(end: &mut (impl AsyncRead + AsyncWrite + Unpin)) {
    if end.shutdown().await.is_ok() {
        let mut rest = [0; 1024];
        while end.read(&mut rest).await.is_ok_and(|read| read > 0) {}
    }
}
