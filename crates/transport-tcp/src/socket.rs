//! Turning a connected socket into a domain stream.

use std::{io, net::SocketAddr, time::Duration};

use kaspath_domain::{
    ConnectInfo, Direction, DuplexStream, IpPrefix, Path, PathWatch, PeerAddress, PeerLocator, Slot, Transport, TransportAddress,
};
use socket2::{SockRef, TcpKeepalive};
use tokio::net::TcpStream;

/// Idle time before the first keepalive probe, and between probes, as of kaspad's client.
const KEEPALIVE: Duration = Duration::from_secs(10);

/// The stream of a socket, whose `slot` is free again when the stream is dropped.
pub(crate) fn into_stream(
    socket: TcpStream,
    remote: SocketAddr,
    direction: Direction,
    slot: Slot<IpPrefix>,
) -> io::Result<DuplexStream> {
    socket.set_nodelay(true)?;
    SockRef::from(&socket).set_tcp_keepalive(&TcpKeepalive::new().with_time(KEEPALIVE).with_interval(KEEPALIVE))?;
    let locator = PeerLocator { peer: None, address: PeerAddress::Direct(TransportAddress::tcp(remote)) };
    let info = ConnectInfo { peer: None, direction, remote: locator, synthetic: remote };
    Ok(DuplexStream::new(socket, info, PathWatch::fixed(Path::Direct { transport: Transport::Tcp })).holding(slot))
}
