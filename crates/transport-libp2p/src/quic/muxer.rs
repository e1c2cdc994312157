//! An established connection and its streams.

use std::{
    io,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    task::{Context, Poll},
};

use futures::{AsyncRead, AsyncWrite, FutureExt, future::BoxFuture, ready};
use libp2p::core::muxing::{StreamMuxer, StreamMuxerEvent};
use quinn::{ConnectionError, RecvStream, SendStream, VarInt};

use super::{config::USED_AFTER, error::Error, gate::Permit};

type Opened = Result<(SendStream, RecvStream), ConnectionError>;

/// One libp2p stream per bidirectional QUIC stream. Dropping it closes the connection
/// as soon as its streams are gone too.
pub(crate) struct Connection {
    connection: quinn::Connection,
    accepting: Option<BoxFuture<'static, Opened>>,
    opening: Option<BoxFuture<'static, Opened>>,
    closing: Option<BoxFuture<'static, ConnectionError>>,
    unused: Arc<Unused>,
    /// An inbound one's slot at the gate.
    _permit: Option<Permit>,
}

/// A connection of which little was read so far.
struct Unused {
    connection: quinn::Connection,
    window: u32,
    read: AtomicU64,
}

impl Unused {
    /// Counts bytes that were read; whether the connection is in use by now, and has
    /// its whole window.
    fn read(&self, bytes: usize) -> bool {
        let bytes = bytes as u64;
        let before = self.read.fetch_add(bytes, Ordering::Relaxed);
        if before < USED_AFTER && before + bytes >= USED_AFTER {
            self.connection.set_receive_window(self.window.into());
        }
        before + bytes >= USED_AFTER
    }
}

impl Connection {
    pub(super) fn new(connection: quinn::Connection, window: u32, permit: Option<Permit>) -> Self {
        let unused = Arc::new(Unused { connection: connection.clone(), window, read: AtomicU64::new(0) });
        Self { connection, accepting: None, opening: None, closing: None, unused, _permit: permit }
    }
}

/// Polls the future in `slot`, which `start` makes if there is none; a finished one is removed.
fn poll_in<T>(
    slot: &mut Option<BoxFuture<'static, T>>,
    cx: &mut Context<'_>,
    start: impl FnOnce() -> BoxFuture<'static, T>,
) -> Poll<T> {
    let result = ready!(slot.get_or_insert_with(start).poll_unpin(cx));
    *slot = None;
    Poll::Ready(result)
}

impl StreamMuxer for Connection {
    type Substream = Stream;
    type Error = Error;

    fn poll_inbound(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<Stream, Error>> {
        let connection = self.connection.clone();
        let start = || async move { connection.accept_bi().await }.boxed();
        let opened = ready!(poll_in(&mut self.accepting, cx, start));
        Poll::Ready(opened.map(|both| Stream::new(both, &self.unused)).map_err(Error::from))
    }

    fn poll_outbound(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<Stream, Error>> {
        let connection = self.connection.clone();
        let start = || async move { connection.open_bi().await }.boxed();
        let opened = ready!(poll_in(&mut self.opening, cx, start));
        Poll::Ready(opened.map(|both| Stream::new(both, &self.unused)).map_err(Error::from))
    }

    /// Sends CONNECTION_CLOSE at the first call.
    fn poll_close(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<(), Error>> {
        let connection = self.connection.clone();
        let start = || {
            connection.close(VarInt::from_u32(0), &[]);
            async move { connection.closed().await }.boxed()
        };
        match ready!(poll_in(&mut self.closing, cx, start)) {
            ConnectionError::LocallyClosed => Poll::Ready(Ok(())),
            error => Poll::Ready(Err(error.into())),
        }
    }

    /// A remote's address cannot change: migration is off.
    fn poll(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Result<StreamMuxerEvent, Error>> {
        Poll::Pending
    }
}

/// One stream. Closing ends our direction only. Dropping it finishes what was written
/// and has the remote stop sending.
pub(crate) struct Stream {
    send: SendStream,
    recv: RecvStream,
    /// The connection, as long as it has its first window.
    unused: Option<Arc<Unused>>,
    /// Our direction has ended.
    finished: bool,
}

impl Stream {
    fn new((send, recv): (SendStream, RecvStream), unused: &Arc<Unused>) -> Self {
        Self { send, recv, unused: Some(unused.clone()), finished: false }
    }
}

impl AsyncRead for Stream {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut [u8]) -> Poll<io::Result<usize>> {
        let read = ready!(self.recv.poll_read(cx, buffer))?;
        if self.unused.as_ref().is_some_and(|unused| unused.read(read)) {
            self.unused = None;
        }
        Poll::Ready(Ok(read))
    }
}

impl AsyncWrite for Stream {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.send).poll_write(cx, buffer).map_err(io::Error::from)
    }

    /// quinn sends what it has without being asked.
    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_close(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        if !self.finished {
            self.send.finish().map_err(io::Error::from)?;
            self.finished = true;
        }
        Poll::Ready(Ok(()))
    }
}
