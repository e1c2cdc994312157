//! A domain stream as hyper and tonic take it, with a way to end it from outside.

use std::{
    fmt, io,
    pin::Pin,
    sync::{Arc, Mutex, PoisonError, atomic::AtomicBool},
    task::{Context, Poll},
};

use kaspath_domain::{ByteCounters, ConnectInfo, DuplexStream, PathWatch};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio_util::sync::{CancellationToken, WaitForCancellationFutureOwned};
use tonic::transport::server::Connected;

use crate::session::PendingSlot;

/// What a session knows of its stream: an extension of each tonic request.
#[derive(Clone, Debug)]
pub struct StreamInfo {
    /// Whom the stream reaches.
    pub info: Arc<ConnectInfo>,
    /// How it travels.
    pub path: PathWatch,
    /// Its byte counters.
    pub bytes: Arc<ByteCounters>,
    /// Ends the stream, whatever HTTP/2 still wants of it.
    pub(crate) cut: CancellationToken,
    /// A message stream was opened on it.
    pub(crate) in_use: Arc<AtomicBool>,
    /// Its slot among the handshakes under way, until the handshake or the
    /// connection ends.
    pub(crate) pending: Arc<Mutex<Option<PendingSlot>>>,
}

impl StreamInfo {
    /// Its handshake is over, or it has ended.
    pub(crate) fn leave_pending(&self) {
        drop(self.pending.lock().unwrap_or_else(PoisonError::into_inner).take());
    }
}

/// A domain stream that ends when its token is cancelled.
pub struct CuttableIo {
    stream: DuplexStream,
    cut: Pin<Box<WaitForCancellationFutureOwned>>,
    info: StreamInfo,
}

impl CuttableIo {
    pub(crate) fn new(stream: DuplexStream) -> Self {
        let cut = CancellationToken::new();
        let info = StreamInfo {
            info: stream.info().clone(),
            path: stream.path_watch(),
            bytes: stream.counters(),
            cut: cut.clone(),
            in_use: Arc::default(),
            pending: Arc::default(),
        };
        Self { stream, cut: Box::pin(cut.cancelled_owned()), info }
    }

    /// Gives it a slot among the handshakes under way.
    pub(crate) fn with_slot(self, slot: PendingSlot) -> Self {
        *self.info.pending.lock().unwrap_or_else(PoisonError::into_inner) = Some(slot);
        self
    }

    pub(crate) fn info(&self) -> &StreamInfo {
        &self.info
    }

    fn poll_cut(&mut self, cx: &mut Context<'_>) -> bool {
        // A cancelled token's future must not be polled again once it is ready.
        self.info.cut.is_cancelled() || self.cut.as_mut().poll(cx).is_ready()
    }
}

impl Drop for CuttableIo {
    fn drop(&mut self) {
        self.info.leave_pending();
    }
}

impl fmt::Debug for CuttableIo {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.stream.fmt(f)
    }
}

impl Connected for CuttableIo {
    type ConnectInfo = StreamInfo;

    fn connect_info(&self) -> StreamInfo {
        self.info.clone()
    }
}

impl AsyncRead for CuttableIo {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        if self.poll_cut(cx) {
            return Poll::Ready(Ok(()));
        }
        Pin::new(&mut self.stream).poll_read(cx, buf)
    }
}

impl AsyncWrite for CuttableIo {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        if self.poll_cut(cx) {
            return Poll::Ready(Err(io::ErrorKind::BrokenPipe.into()));
        }
        Pin::new(&mut self.stream).poll_write(cx, buf)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.poll_cut(cx) {
            return Poll::Ready(Err(io::ErrorKind::BrokenPipe.into()));
        }
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.poll_cut(cx) {
            return Poll::Ready(Ok(()));
        }
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}
