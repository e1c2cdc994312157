use std::{
    future::poll_fn,
    io,
    task::Poll,
    time::{Duration, Instant},
};

use kaspath_domain::{Direction, DuplexStream};
use tokio::{
    net::TcpStream,
    time::{Sleep, sleep},
};

use crate::{GatewayEvent, Hold, pump::Pump, sessions::Place};

/// Once one end has closed, time for the other to finish: HTTP/2 has no use for
/// half a connection, and a peer must not hold a place with one.
const HALF_CLOSED: Duration = Duration::from_secs(10);

/// Passes bytes both ways until one end closes or the session must end.
pub(crate) async fn run(
    hold: Hold,
    direction: Direction,
    mut stream: DuplexStream,
    mut kaspad: TcpStream,
    place: Place,
    report: impl Fn(GatewayEvent),
) {
    let (peer, address) = (hold.peer().clone(), hold.address());
    let begin = Instant::now();
    let counters = stream.counters();
    report(GatewayEvent::GatewayOpened { peer: peer.clone(), address, direction, path: stream.path() });
    tokio::select! {
        copied = copy(&mut stream, &mut kaspad) => {
            if let Err(error) = copied {
                tracing::debug!(%error, peer = %peer.short(), "session ended");
            }
        }
        () = place.ended() => {}
    }
    drop((stream, kaspad));
    drop(place);
    let (to_kaspad, to_peer) = (counters.received(), counters.sent());
    report(GatewayEvent::GatewayClosed { peer, address, after: begin.elapsed(), to_kaspad, to_peer });
}

async fn copy(stream: &mut DuplexStream, kaspad: &mut TcpStream) -> io::Result<()> {
    let (mut inwards, mut outwards) = (Pump::default(), Pump::default());
    let mut half_closed: Option<std::pin::Pin<Box<Sleep>>> = None;
    poll_fn(|cx| {
        let inwards_done = inwards.poll(cx, stream, kaspad)?.is_ready();
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
