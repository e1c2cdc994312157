//! Limits for streams that a peer opens and does not negotiate.
//!
//! Until both sides agree on a protocol nobody reads a stream's data, and the muxer
//! keeps what comes: up to 256 KiB a stream over TCP (yamux's first window). The swarm
//! limits how many streams of one connection negotiate at once; beyond that the muxer
//! buffers, for each connection anew. Here all of them have one budget, with a share
//! for each remote address, and what exceeds it is reset before it costs anything.

mod budget;
mod coalesced;
mod negotiation;
pub(crate) mod yamux;

use std::{
    collections::VecDeque,
    io::{self, IoSlice, IoSliceMut},
    net::IpAddr,
    pin::Pin,
    task::{Context, Poll, Waker},
    time::Duration,
};

use futures::{AsyncRead, AsyncWrite, ready};
use kaspath_domain::{IpPrefix, Slot};
use libp2p::core::muxing::{StreamMuxer, StreamMuxerEvent};
use tokio::time::{Sleep, sleep};

pub(crate) use budget::StreamBudget;
pub(crate) use negotiation::MAX_NAME;
use negotiation::Negotiation;

/// A muxer whose inbound streams come out of a [`StreamBudget`].
pub(crate) struct Bounded<M: StreamMuxer> {
    muxer: M,
    remote: Option<IpAddr>,
    budget: StreamBudget,
    /// Streams that came while the swarm was not asking for any.
    waiting: VecDeque<Substream<M::Substream>>,
    waker: Option<Waker>,
    /// When a close that does not come to an end is given up.
    closing: Option<Pin<Box<Sleep>>>,
}

/// Time for the remote to take what is still to be sent. One that reads nothing would keep
/// a connection for ever that it was to lose.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(5);

impl<M: StreamMuxer + Unpin> Bounded<M> {
    /// `remote` is whose share of the budget counts; without one, only the whole does.
    pub(crate) fn new(muxer: M, remote: Option<IpAddr>, budget: StreamBudget) -> Self {
        Self { muxer, remote, budget, waiting: VecDeque::new(), waker: None, closing: None }
    }

    /// The next inbound stream that the budget allows; others are reset on the way.
    fn poll_admitted(&mut self, cx: &mut Context<'_>) -> Poll<Result<Substream<M::Substream>, M::Error>> {
        loop {
            let stream = ready!(Pin::new(&mut self.muxer).poll_inbound(cx))?;
            match self.budget.take(self.remote) {
                Some(slot) => {
                    let negotiating = Some(Box::new((slot, Negotiation::default())));
                    return Poll::Ready(Ok(Substream { stream, negotiating }));
                }
                None => tracing::debug!(remote = ?self.remote, "a stream is reset: too many are not negotiated"),
            }
        }
    }
}

impl<M> StreamMuxer for Bounded<M>
where
    M: StreamMuxer + Unpin,
    M::Substream: Unpin,
    M::Error: Send + Sync + 'static,
{
    type Substream = Substream<M::Substream>;
    type Error = io::Error;

    fn poll_inbound(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<Self::Substream>> {
        let this = self.get_mut();
        if let Some(stream) = this.waiting.pop_front() {
            return Poll::Ready(Ok(stream));
        }
        this.waker = Some(cx.waker().clone());
        this.poll_admitted(cx).map_err(io::Error::other)
    }

    fn poll_outbound(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<Self::Substream>> {
        let stream = ready!(Pin::new(&mut self.get_mut().muxer).poll_outbound(cx)).map_err(io::Error::other)?;
        Poll::Ready(Ok(Substream { stream, negotiating: None }))
    }

    fn poll_close(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        if let Poll::Ready(closed) = Pin::new(&mut this.muxer).poll_close(cx) {
            return Poll::Ready(closed.map_err(io::Error::other));
        }
        let closing = this.closing.get_or_insert_with(|| Box::pin(sleep(CLOSE_TIMEOUT)));
        ready!(closing.as_mut().poll(cx));
        Poll::Ready(Err(io::Error::new(io::ErrorKind::TimedOut, "the remote took nothing more")))
    }

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<StreamMuxerEvent>> {
        let this = self.get_mut();
        // Streams are taken out of the muxer even while the swarm wants none: the muxer
        // would keep them otherwise, without a budget.
        while let Poll::Ready(stream) = this.poll_admitted(cx) {
            this.waiting.push_back(stream.map_err(io::Error::other)?);
            if let Some(waker) = this.waker.take() {
                waker.wake();
            }
        }
        Pin::new(&mut this.muxer).poll(cx).map_err(io::Error::other)
    }
}

/// A stream that holds its slot until a protocol is agreed on.
pub(crate) struct Substream<S> {
    stream: S,
    negotiating: Option<Box<(Slot<IpPrefix>, Negotiation)>>,
}

impl<S: AsyncRead + Unpin> AsyncRead for Substream<S> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut [u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_read(cx, buf)
    }

    fn poll_read_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &mut [IoSliceMut<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_read_vectored(cx, bufs)
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Substream<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        let written = ready!(Pin::new(&mut self.stream).poll_write(cx, buf))?;
        let agreed = self.negotiating.as_mut().is_some_and(|negotiating| negotiating.1.agreed(&buf[..written]));
        if agreed {
            self.negotiating = None;
        }
        Poll::Ready(Ok(written))
    }

    fn poll_write_vectored(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bufs: &[IoSlice<'_>]) -> Poll<io::Result<usize>> {
        if self.negotiating.is_some() {
            let first = bufs.iter().find(|buf| !buf.is_empty()).map_or(&[][..], |buf| buf);
            return self.poll_write(cx, first);
        }
        Pin::new(&mut self.stream).poll_write_vectored(cx, bufs)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_close(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_close(cx)
    }
}
