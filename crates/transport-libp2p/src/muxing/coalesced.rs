//! Frames that are written at one time leave in one piece.
//!
//! yamux flushes after each frame, and a flush is a Noise message and a packet. TCP counts
//! packets when it decides what may be under way: ten at first and after each pause (RFC 6928,
//! RFC 5681 §4.1), however small. Opening a few streams at once takes so many, and the last
//! of them would wait a round trip.

use std::{
    io,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    task::{Context, Poll},
};

use futures::{AsyncRead, AsyncWrite, ready};

/// A flush of so many bytes is not put off. Fewer may share a Noise message with a long frame,
/// and are read only when all of it has come.
const ENOUGH: usize = 4 << 10;

/// Whether a flush was put off. Whoever polls the muxer polls it again then, before it waits.
#[derive(Clone, Default)]
pub(super) struct Due(Arc<AtomicBool>);

impl Due {
    /// Whether the muxer is to be polled again.
    pub(super) fn take(&self) -> bool {
        self.0.swap(false, Ordering::Relaxed)
    }
}

/// A secured connection under yamux: a flush right after a write is put off until the muxer
/// has nothing more to write now.
pub(super) struct Coalesced<C> {
    inner: C,
    unflushed: usize,
    /// Something was written since a flush was asked for.
    is_new: bool,
    due: Due,
}

impl<C> Coalesced<C> {
    pub(super) fn new(inner: C, due: Due) -> Self {
        Self { inner, unflushed: 0, is_new: false, due }
    }
}

impl<C: AsyncRead + Unpin> AsyncRead for Coalesced<C> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut [u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.inner).poll_read(cx, buf)
    }
}

impl<C: AsyncWrite + Unpin> AsyncWrite for Coalesced<C> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        let written = ready!(Pin::new(&mut self.inner).poll_write(cx, buf))?;
        self.unflushed = self.unflushed.saturating_add(written);
        self.is_new = true;
        Poll::Ready(Ok(written))
    }

    /// Pending without a waker if the flush is put off: see [`Due`].
    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if std::mem::take(&mut self.is_new) && self.unflushed < ENOUGH {
            self.due.0.store(true, Ordering::Relaxed);
            return Poll::Pending;
        }
        ready!(Pin::new(&mut self.inner).poll_flush(cx))?;
        self.unflushed = 0;
        Poll::Ready(Ok(()))
    }

    fn poll_close(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_close(cx)
    }
}

#[cfg(test)]
mod tests {
    use std::{future::poll_fn, mem::take, sync::atomic::AtomicUsize};

    use futures::{AsyncReadExt, AsyncWriteExt, FutureExt};
    use libp2p::core::{muxing::StreamMuxer, upgrade::OutboundConnectionUpgrade};
    use tokio::io::{DuplexStream, duplex};
    use tokio_util::compat::{Compat, TokioAsyncReadCompatExt};

    use super::{super::yamux::Upgrade, *};

    /// Keeps what is written until it is flushed, as Noise does, and counts what leaves.
    struct Packets {
        wire: Compat<DuplexStream>,
        buffer: Vec<u8>,
        sent: Arc<AtomicUsize>,
    }

    impl AsyncRead for Packets {
        fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut [u8]) -> Poll<io::Result<usize>> {
            Pin::new(&mut self.wire).poll_read(cx, buf)
        }
    }

    impl AsyncWrite for Packets {
        fn poll_write(mut self: Pin<&mut Self>, _: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
            self.buffer.extend(buf);
            Poll::Ready(Ok(buf.len()))
        }

        fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
            let packet = take(&mut self.buffer);
            if packet.is_empty() {
                return Poll::Ready(Ok(()));
            }
            self.sent.fetch_add(1, Ordering::Relaxed);
            // Never more than the pipe holds.
            Pin::new(&mut self.wire).poll_write(cx, &packet).map_ok(|written| assert_eq!(written, packet.len()))
        }

        fn poll_close(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
            ready!(self.as_mut().poll_flush(cx))?;
            Pin::new(&mut self.wire).poll_close(cx)
        }
    }

    /// Our end, the other one, and how many packets have left.
    fn pair() -> (Packets, Compat<DuplexStream>, Arc<AtomicUsize>) {
        let (near, far) = duplex(1 << 20);
        let sent = Arc::<AtomicUsize>::default();
        (Packets { wire: near.compat(), buffer: Vec::new(), sent: sent.clone() }, far.compat(), sent)
    }

    /// What has come by now.
    async fn packet(far: &mut Compat<DuplexStream>) -> usize {
        let mut buffer = vec![0; 1 << 20];
        far.read(&mut buffer).now_or_never().map_or(0, |read| read.unwrap())
    }

    #[tokio::test]
    async fn pieces_leave_together_and_much_leaves_at_once() {
        let (near, mut far, _) = pair();
        let due = Due::default();
        let mut ours = Coalesced::new(near, due.clone());
        for _ in 0..3 {
            ours.write_all(b"piece").await.unwrap();
            assert!(ours.flush().now_or_never().is_none() && due.take());
        }
        assert_eq!(packet(&mut far).await, 0);
        ours.flush().now_or_never().unwrap().unwrap();
        assert_eq!((packet(&mut far).await, due.take()), (15, false));
        ours.write_all(&[7; ENOUGH]).await.unwrap();
        ours.flush().now_or_never().unwrap().unwrap();
        assert_eq!(packet(&mut far).await, ENOUGH);
        ours.write_all(b"piece").await.unwrap();
        ours.close().await.unwrap();
        assert_eq!(packet(&mut far).await, 5);
    }

    #[tokio::test]
    async fn streams_that_are_opened_together_cost_one_packet() {
        let (near, mut far, sent) = pair();
        let mut muxer = Upgrade::new(0).upgrade_outbound(near, "").await.unwrap();
        let mut streams = Vec::new();
        for _ in 0..8 {
            let mut stream = poll_fn(|cx| Pin::new(&mut muxer).poll_outbound(cx)).await.unwrap();
            stream.write_all(b"proposal").await.unwrap();
            streams.push(stream);
        }
        // One poll is enough: nobody would wake it.
        assert!(poll_fn(|cx| Pin::new(&mut muxer).poll_inbound(cx)).now_or_never().is_none());
        // A header of 12 bytes each, and yamux's ping.
        assert_eq!((packet(&mut far).await, sent.load(Ordering::Relaxed)), (8 * (12 + 8) + 12, 1));
    }
}
