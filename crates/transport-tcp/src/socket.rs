//! Turning a connected socket into a domain stream.

use std::{
    io,
    net::SocketAddr,
    pin::Pin,
    task::{Context, Poll},
    time::Duration,
};

use kaspath_domain::{
    ConnectInfo, Direction, DuplexStream, Path, PathWatch, PeerAddress, PeerLocator, Transport, TransportAddress,
};
use socket2::{SockRef, TcpKeepalive};
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::TcpStream,
};

use crate::limits::Permit;

/// A socket that gives its place in the limits back when it is dropped.
struct Limited {
    socket: TcpStream,
    _permit: Permit,
}

pub(crate) fn set_options(socket: &TcpStream, keepalive: Option<Duration>) -> io::Result<()> {
    socket.set_nodelay(true)?;
    if let Some(idle) = keepalive {
        let keepalive = TcpKeepalive::new().with_time(idle).with_interval(idle);
        SockRef::from(socket).set_tcp_keepalive(&keepalive)?;
    }
    Ok(())
}

pub(crate) fn into_stream(socket: TcpStream, remote: SocketAddr, direction: Direction, permit: Permit) -> DuplexStream {
    let locator = PeerLocator { peer: None, address: PeerAddress::Direct(TransportAddress::tcp(remote)) };
    let info = ConnectInfo { peer: None, direction, remote: locator, synthetic: remote };
    let path = PathWatch::fixed(Path::Direct { transport: Transport::Tcp });
    DuplexStream::new(Limited { socket, _permit: permit }, info, path)
}

impl AsyncRead for Limited {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.socket).poll_read(cx, buf)
    }
}

impl AsyncWrite for Limited {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.socket).poll_write(cx, buf)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.socket).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.socket).poll_shutdown(cx)
    }
}
