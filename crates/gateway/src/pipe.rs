use std::{net::Ipv4Addr, time::Instant};

use kaspath_domain::{Direction, DuplexStream, PeerIdentity};
use tokio::{io::copy_bidirectional_with_sizes, net::TcpStream};

use crate::{GatewayEvent, sessions::Place};

/// Bytes in flight each way within the gateway, per session: an idle peer costs
/// these and little else.
const BUFFER: usize = 16 * 1024;

/// Who is joined to kaspad.
pub(crate) struct Ends {
    pub(crate) peer: PeerIdentity,
    pub(crate) address: Ipv4Addr,
    pub(crate) direction: Direction,
}

/// Passes bytes both ways until one end closes or another session takes over.
pub(crate) async fn run(
    ends: Ends,
    mut stream: DuplexStream,
    mut kaspad: TcpStream,
    place: Place,
    report: impl Fn(GatewayEvent),
) {
    let Ends { peer, address, direction } = ends;
    let begin = Instant::now();
    let counters = stream.counters();
    report(GatewayEvent::GatewayOpened { peer: peer.clone(), address, direction, path: stream.path() });
    tokio::select! {
        copied = copy_bidirectional_with_sizes(&mut stream, &mut kaspad, BUFFER, BUFFER) => {
            if let Err(error) = copied {
                tracing::debug!(%error, peer = %peer.short(), "session ended");
            }
        }
        () = place.superseded() => {}
    }
    drop(place);
    let (to_kaspad, to_peer) = (counters.received(), counters.sent());
    report(GatewayEvent::GatewayClosed { peer, address, after: begin.elapsed(), to_kaspad, to_peer });
}
