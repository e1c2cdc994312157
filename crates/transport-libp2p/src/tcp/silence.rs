//! Connections that are reset, not closed, if their remote is silent when they are dropped.

use std::{
    io,
    pin::Pin,
    task::{Context, Poll},
    time::{Duration, Instant},
};

use futures::{AsyncRead, AsyncWrite};
use libp2p::tcp::tokio::TcpStream;
use socket2::SockRef;

/// A remote is silent if it has said nothing for so long after a write. Less than a probe's
/// timeout, so that a link that gave no answer is reset.
const SILENT: Duration = Duration::from_millis(600);

/// A connection that, when it is dropped while the remote is silent, is reset. Otherwise the
/// system would go on sending what was written for minutes, and until then no connection
/// from our listening port to the same remote could be made: a new one would leave from
/// another port, of which a relay's observation is no candidate.
pub(crate) struct Watched {
    inner: TcpStream,
    /// The first write since the remote said something.
    unanswered: Option<Instant>,
}

impl Watched {
    pub(crate) fn new(inner: TcpStream) -> Self {
        Self { inner, unanswered: None }
    }
}

impl Drop for Watched {
    fn drop(&mut self) {
        if self.unanswered.is_some_and(|since| since.elapsed() >= SILENT) {
            let _ = SockRef::from(&self.inner.0).set_linger(Some(Duration::ZERO));
        }
    }
}

impl AsyncRead for Watched {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut [u8]) -> Poll<io::Result<usize>> {
        let read = Pin::new(&mut self.inner).poll_read(cx, buf);
        if matches!(read, Poll::Ready(Ok(_))) {
            self.unanswered = None;
        }
        read
    }
}

impl AsyncWrite for Watched {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.inner).poll_write(cx, buf);
        if matches!(written, Poll::Ready(Ok(_))) {
            self.unanswered.get_or_insert_with(Instant::now);
        }
        written
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_flush(cx)
    }

    fn poll_close(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_close(cx)
    }
}

#[cfg(test)]
mod tests {
    use futures::AsyncWriteExt;
    use tokio::{
        io::AsyncReadExt,
        net::{TcpListener, TcpStream as Socket},
        time::sleep,
    };

    use super::*;

    /// How the remote sees the end of a connection that was written to, that long ago.
    async fn end_after(quiet: Duration) -> io::Result<usize> {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let ours = Socket::connect(listener.local_addr().unwrap()).await.unwrap();
        let (mut theirs, _) = listener.accept().await.unwrap();
        let mut watched = Watched::new(TcpStream(ours));
        watched.write_all(b"hello").await.unwrap();
        let mut bytes = [0; 5];
        theirs.read_exact(&mut bytes).await.unwrap();
        // Time is what is tested.
        sleep(quiet).await;
        drop(watched);
        theirs.read(&mut bytes).await
    }

    #[tokio::test]
    async fn only_a_connection_whose_remote_is_silent_is_reset() {
        assert_eq!(end_after(Duration::ZERO).await.unwrap(), 0);
        let reset = end_after(SILENT).await.unwrap_err();
        assert_eq!(reset.kind(), io::ErrorKind::ConnectionReset);
    }
}
