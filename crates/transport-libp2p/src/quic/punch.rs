//! Opens a NAT with random packets and waits for the peer to come in.

use std::{
    io,
    net::{SocketAddr, UdpSocket},
    sync::Arc,
    time::Duration,
};

use futures::{StreamExt, stream::FuturesUnordered};
use libp2p::PeerId;
use rand::random;
use tokio::{
    sync::mpsc,
    time::{Instant, sleep_until},
};

use super::{error::Error, handshake::Handshake, muxer::Connection};

/// Bytes of a packet: too few for anybody to answer it, with a stateless reset say
/// (RFC 9000, section 10.3).
const PACKET: usize = 20;
/// Packets of one punch, hence 800 bytes.
const MAX_PACKETS: u32 = 40;
/// The time between two packets in milliseconds, as DCUtR's specification has it.
const GAP: std::ops::Range<u64> = 10..200;

/// Sends random packets to `remote` until `peer` has connected from there, or until
/// `timeout`. Whoever else connects from there (the address can be forged) does not
/// end the punch. Dropping the future ends it.
pub(super) async fn punch(
    socket: Arc<UdpSocket>,
    remote: SocketAddr,
    peer: PeerId,
    mut arrivals: mpsc::Receiver<Handshake>,
    timeout: Duration,
) -> Result<(PeerId, Connection), Error> {
    let deadline = Instant::now() + timeout;
    let mut next = Instant::now();
    let mut sent = 0;
    let mut handshakes = FuturesUnordered::new();
    let mut failure = Error::HandshakeTimeout;
    loop {
        tokio::select! {
            Some(handshake) = arrivals.recv() => handshakes.push(handshake),
            Some(end) = handshakes.next() => match end {
                Ok((found, connection)) if found == peer => return Ok((found, connection)),
                Ok((found, _)) => failure = Error::WrongPeer(found),
                Err(error) => failure = error,
            },
            () = sleep_until(next), if sent < MAX_PACKETS => {
                match send(&socket, remote) {
                    Ok(()) => sent += 1,
                    Err(error) if handshakes.is_empty() => return Err(error),
                    // The remote is here already, and needs no more of these.
                    Err(_) => sent = MAX_PACKETS,
                }
                next = Instant::now() + Duration::from_millis(GAP.start + random::<u64>() % (GAP.end - GAP.start));
            }
            // A handshake that has begun has a deadline of its own.
            () = sleep_until(deadline), if handshakes.is_empty() => return Err(failure),
        }
    }
}

fn send(socket: &UdpSocket, remote: SocketAddr) -> Result<(), Error> {
    match socket.send_to(&random::<[u8; PACKET]>(), remote) {
        Ok(_) => Ok(()),
        // A full buffer loses this one; a refusal of the last one says nothing of a NAT.
        Err(error) if matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::ConnectionRefused) => Ok(()),
        Err(error) => Err(error.into()),
    }
}
