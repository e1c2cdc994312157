use std::{
    future::poll_fn,
    io,
    task::Poll,
    time::{Duration, Instant},
};

use kaspath_domain::{Activity, Direction, DuplexStream, MonotonicClock};
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt},
    net::TcpStream,
    time::{Sleep, sleep, timeout},
};

use crate::{CloseReason, GatewayEvent, Hold, activity::has_begun, pump::Pump, sessions::SessionSlot};

/// Once one end has closed, time for the other to finish: HTTP/2 has no use for
/// half a connection, and a peer must not hold a slot with one. It does not begin while
/// a stream only waits for a path: that is no end.
const HALF_CLOSED: Duration = Duration::from_secs(10);
/// Time for both sides' first bytes. kaspad gives a handshake 4 s + 4 s + 8 s, but
/// only from the peer's request on: it waits for ever for that. A peer's gateway may
/// open its stream 15 s before its kaspad comes ([`crate::outbound`]).
const FIRST_BYTES: Duration = Duration::from_secs(20);
/// A peer that sends nothing for so long is gone: kaspad pings every 120 s and ends
/// the session itself if no answer comes in another 120 s. A stream may wait 90 s for a
/// path beside that.
const IDLE: Duration = Duration::from_secs(300);
/// Time for both ends to take note of a session's end.
const CLOSING: Duration = Duration::from_secs(1);

/// Passes bytes both ways until one end closes, the session must end, or the peer
/// says nothing.
pub(crate) async fn run(
    hold: Hold,
    direction: Direction,
    mut stream: DuplexStream,
    mut kaspad: TcpStream,
    slot: SessionSlot,
    clock: MonotonicClock,
    report: impl Fn(GatewayEvent),
) {
    let (peer, address) = (hold.peer().clone(), hold.address());
    let begin = Instant::now();
    let activity = slot.activity();
    report(GatewayEvent::GatewayOpened { peer: peer.clone(), address, direction, path: stream.path() });
    let reason = tokio::select! {
        copied = copy(&mut stream, &mut kaspad, &activity, clock) => {
            if let Err(error) = copied {
                tracing::debug!(%error, peer = %peer.short(), "session ended");
            }
            CloseReason::Closed
        }
        reason = slot.ended() => reason,
        reason = silence(&activity, clock) => reason,
    };
    // Both ends see an end and no reset, as far as they take note in time.
    let _ = timeout(CLOSING, async { tokio::join!(close(&mut stream), close(&mut kaspad)) }).await;
    drop((stream, kaspad));
    drop(slot);
    let (to_kaspad, to_peer) = activity.bytes();
    report(GatewayEvent::GatewayClosed { peer, address, reason, after: begin.elapsed(), to_kaspad, to_peer });
}

async fn copy(stream: &mut DuplexStream, kaspad: &mut TcpStream, activity: &Activity, clock: MonotonicClock) -> io::Result<()> {
    let (mut inwards, mut outwards) = (Pump::default(), Pump::default());
    let mut half_closed: Option<std::pin::Pin<Box<Sleep>>> = None;
    let mut received = 0;
    poll_fn(|cx| {
        let inwards_done = inwards.poll(cx, stream, kaspad)?.is_ready();
        if received != activity.bytes().0 {
            received = activity.bytes().0;
            activity.note(clock.now());
        }
        let outwards_done = outwards.poll(cx, kaspad, stream)?.is_ready();
        if inwards_done && outwards_done {
            return Poll::Ready(Ok(()));
        }
        if !(inwards_done || outwards_done) {
            return Poll::Pending;
        }
        half_closed.get_or_insert_with(|| Box::pin(sleep(HALF_CLOSED))).as_mut().poll(cx).map(Ok)
    })
    .await
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
