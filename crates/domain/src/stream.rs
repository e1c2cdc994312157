//! The duplex byte stream that every transport yields.

use std::{
    any::Any,
    fmt, io,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    task::{Context, Poll},
};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use crate::{ConnectInfo, Path, PathWatch};

/// What a [`DuplexStream`] wraps.
pub trait ByteStream: AsyncRead + AsyncWrite + Send + Unpin + 'static {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin + 'static> ByteStream for T {}

/// What the user of a stream notices of its path.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Health {
    /// An answer is late. The network may have changed.
    Suspect,
    /// An answer has come after all.
    Recovered,
    /// The user has left it for another path, and no answer has come.
    Dead,
    /// The user has left it for another path.
    Left,
}

/// Told what the user of a stream notices of its path.
pub trait PathHealth: Send + Sync {
    /// It has noticed this. Returns at once.
    fn report(&self, health: Health);
}

/// Nobody wants to know.
impl PathHealth for () {
    fn report(&self, _: Health) {}
}

/// Bytes moved over one stream, as its user sees them: without the transport's
/// own framing and encryption.
#[derive(Debug, Default)]
pub struct ByteCounters {
    received: AtomicU64,
    sent: AtomicU64,
}

impl ByteCounters {
    /// Bytes read from the stream so far.
    pub fn received(&self) -> u64 {
        self.received.load(Ordering::Relaxed)
    }

    /// Bytes written to the stream so far.
    pub fn sent(&self) -> u64 {
        self.sent.load(Ordering::Relaxed)
    }
}

/// An owned, boxed duplex byte stream to a peer, which knows whom it reaches
/// and how. Closing is by shutdown or by dropping it.
pub struct DuplexStream {
    inner: Box<dyn ByteStream>,
    info: Arc<ConnectInfo>,
    path: PathWatch,
    counters: Arc<ByteCounters>,
    health: Option<Arc<dyn PathHealth>>,
    _guard: Option<Box<dyn Any + Send>>,
}

impl DuplexStream {
    /// Wraps `inner`. `path` follows the stream's way over its life.
    pub fn new(inner: impl ByteStream, info: ConnectInfo, path: PathWatch) -> Self {
        let (inner, info) = (Box::new(inner), Arc::new(info));
        Self { inner, info, path, counters: Arc::default(), health: None, _guard: None }
    }

    /// The same stream with something that is dropped when the stream is, such as its
    /// slot in a limit.
    #[must_use]
    pub fn holding(self, guard: impl Send + 'static) -> Self {
        Self { _guard: Some(Box::new(guard)), ..self }
    }

    /// The same stream, for the session protocol. `health` is told what the session
    /// notices of the path.
    #[must_use]
    pub fn for_session(self, health: Arc<dyn PathHealth>) -> Self {
        Self { health: Some(health), ..self }
    }

    /// Whether the session protocol was negotiated on it, so that its bytes are frames
    /// of a session.
    pub fn carries_session(&self) -> bool {
        self.health.is_some()
    }

    /// Ends the stream, and then tells the transport what was noticed of the path.
    pub fn end(self, health: Health) {
        let receiver = self.health.clone();
        drop(self);
        receiver.into_iter().for_each(|receiver| receiver.report(health));
    }

    /// Tells the transport what was noticed of the path, if it wants to know.
    pub fn report(&self, health: Health) {
        if let Some(receiver) = &self.health {
            receiver.report(health);
        }
    }

    /// Whom the stream reaches.
    pub fn info(&self) -> &Arc<ConnectInfo> {
        &self.info
    }

    /// How it travels now.
    pub fn path(&self) -> Path {
        self.path.current()
    }

    /// A watch of how it travels.
    pub fn path_watch(&self) -> PathWatch {
        self.path.clone()
    }

    /// Its byte counters, which outlive it.
    pub fn counters(&self) -> Arc<ByteCounters> {
        self.counters.clone()
    }
}

impl fmt::Debug for DuplexStream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("DuplexStream").field("info", &self.info).field("path", &self.path()).finish_non_exhaustive()
    }
}

impl AsyncRead for DuplexStream {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let before = buf.filled().len();
        let result = Pin::new(&mut self.inner).poll_read(cx, buf);
        let read = buf.filled().len() - before;
        self.counters.received.fetch_add(read as u64, Ordering::Relaxed);
        result
    }
}

impl AsyncWrite for DuplexStream {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        let result = Pin::new(&mut self.inner).poll_write(cx, buf);
        if let Poll::Ready(Ok(written)) = result {
            self.counters.sent.fetch_add(written as u64, Ordering::Relaxed);
        }
        result
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_shutdown(cx)
    }
}
