//! yamux over a secured connection (libp2p specs/yamux), with bounded windows.
//!
//! libp2p-yamux does not let the windows be bounded: a stream's window doubles while its
//! remote reads fast, up to 1 GiB a connection, and stays when the remote stops.

use std::{
    future::{Ready, ready},
    iter,
    pin::Pin,
    task::{Context, Poll},
};

use futures::{AsyncRead, AsyncWrite};
use libp2p::core::{
    UpgradeInfo,
    muxing::{StreamMuxer, StreamMuxerEvent},
    upgrade::{InboundConnectionUpgrade, OutboundConnectionUpgrade},
};
use yamux::{Config, Connection, ConnectionError, Mode, Stream};

use super::coalesced::{Coalesced, Due};

/// Streams of one connection. More than a relay allows circuits to one peer (64) and from
/// it (16), for a remote that opens more loses the connection.
const STREAMS: usize = 128;
/// What every stream may receive before it is read, by the specification.
const FIRST_WINDOW: usize = 256 << 10;

/// Negotiates yamux.
#[derive(Clone, Debug)]
pub(crate) struct Upgrade(Config);

impl Upgrade {
    /// All streams of a connection together may receive `growth` bytes unread beyond
    /// their first windows.
    pub(crate) fn new(growth: usize) -> Self {
        let mut config = Config::default();
        config.set_max_num_streams(STREAMS);
        config.set_max_connection_receive_window(Some(STREAMS * FIRST_WINDOW + growth));
        // What a stream's remote sent before the connection ended is not a whole answer.
        config.set_read_after_close(false);
        Self(config)
    }
}

impl UpgradeInfo for Upgrade {
    type Info = &'static str;
    type InfoIter = iter::Once<Self::Info>;

    fn protocol_info(&self) -> Self::InfoIter {
        iter::once("/yamux/1.0.0")
    }
}

impl<C: AsyncRead + AsyncWrite + Unpin> InboundConnectionUpgrade<C> for Upgrade {
    type Output = Muxer<C>;
    type Error = ConnectionError;
    type Future = Ready<Result<Self::Output, Self::Error>>;

    fn upgrade_inbound(self, socket: C, _: Self::Info) -> Self::Future {
        ready(Ok(Muxer::new(socket, self.0, Mode::Server)))
    }
}

impl<C: AsyncRead + AsyncWrite + Unpin> OutboundConnectionUpgrade<C> for Upgrade {
    type Output = Muxer<C>;
    type Error = ConnectionError;
    type Future = Ready<Result<Self::Output, Self::Error>>;

    fn upgrade_outbound(self, socket: C, _: Self::Info) -> Self::Future {
        ready(Ok(Muxer::new(socket, self.0, Mode::Client)))
    }
}

/// A connection's streams. Reading for inbound streams drives all of it, so
/// [`super::Bounded`] asks for them all the time, and [`StreamMuxer::poll`] does nothing.
pub(crate) struct Muxer<C> {
    connection: Connection<Coalesced<C>>,
    due: Due,
}

impl<C: AsyncRead + AsyncWrite + Unpin> Muxer<C> {
    fn new(socket: C, config: Config, mode: Mode) -> Self {
        let due = Due::default();
        Self { connection: Connection::new(Coalesced::new(socket, due.clone()), config, mode), due }
    }
}

impl<C: AsyncRead + AsyncWrite + Unpin> StreamMuxer for Muxer<C> {
    type Substream = Stream;
    type Error = ConnectionError;

    fn poll_inbound(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<Stream, ConnectionError>> {
        loop {
            match self.connection.poll_next_inbound(cx) {
                // A flush was put off; nothing else would wake us for it.
                Poll::Pending if self.due.take() => {}
                polled => return polled.map(|next| next.unwrap_or(Err(ConnectionError::Closed))),
            }
        }
    }

    fn poll_outbound(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<Stream, ConnectionError>> {
        self.connection.poll_new_outbound(cx)
    }

    fn poll_close(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<(), ConnectionError>> {
        self.connection.poll_close(cx)
    }

    fn poll(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Result<StreamMuxerEvent, ConnectionError>> {
        Poll::Pending
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use futures::{AsyncReadExt, AsyncWriteExt, FutureExt, future::poll_fn};
    use tokio::{io::duplex, task::yield_now, time::sleep};
    use tokio_util::compat::TokioAsyncReadCompatExt;

    use super::*;

    const PIPE: usize = 64 << 10;
    const CHUNK: usize = 32 << 10;

    /// What a remote can have us keep: the stream is read fast, so that its window grows,
    /// and then not at all. Everything runs in this task, so what cannot move is stuck.
    async fn unread_after_fast_reading(growth: usize, read: usize) -> usize {
        let (near, far) = duplex(PIPE);
        let mut ours = Upgrade::new(growth).upgrade_inbound(near.compat(), "").await.unwrap();
        // The remote bounds nothing.
        let mut theirs = Muxer::new(far.compat(), Config::default(), Mode::Client);
        let mut sender = poll_fn(|cx| Pin::new(&mut theirs).poll_outbound(cx)).await.unwrap();
        let chunk = vec![7; CHUNK];
        let (mut sent, mut received, mut stuck, mut late) = (0, 0, 0, 10);
        let mut receiver = None;
        let mut buffer = vec![0; CHUNK];
        // Long enough for every window update that is on its way.
        while stuck < 100 {
            let before = (sent, received);
            // A write that cannot end at once has moved nothing.
            if let Some(written) = sender.write(&chunk).now_or_never() {
                sent += written.unwrap();
            }
            let _ = sender.flush().now_or_never();
            if late > 0 && receiver.is_some() {
                // The remote answers our ping late: the round trip seems to be long, and
                // everything that is read seems to be read within it.
                late -= 1;
                sleep(Duration::from_millis(20)).await;
            }
            let _ = poll_fn(|cx| Pin::new(&mut theirs).poll_inbound(cx)).now_or_never();
            if let Some(Ok(stream)) = poll_fn(|cx| Pin::new(&mut ours).poll_inbound(cx)).now_or_never() {
                receiver = Some(stream);
            }
            if let Some(stream) = receiver.as_mut()
                && received < read
                && let Some(bytes) = stream.read(&mut buffer).now_or_never()
            {
                received += bytes.unwrap();
            }
            // tokio lets a task do only so much at a time.
            yield_now().await;
            stuck = if before == (sent, received) { stuck + 1 } else { 0 };
        }
        assert!(received >= read, "{received}: the remote reads fast at first");
        sent - received
    }

    #[tokio::test]
    async fn who_reads_fast_and_then_stops_leaves_a_bounded_amount_unread() {
        let growth = 256 << 10;
        let unread = unread_after_fast_reading(growth, 8 << 20).await;
        assert!(unread >= FIRST_WINDOW / 2, "{unread}: the remote was not even stuck");
        // The pipe and yamux's own queue of frames are beside the window.
        assert!(unread <= FIRST_WINDOW + growth + 2 * PIPE + 8 * CHUNK, "{unread}");
    }
}
