//! The bytes of a circuit, both ways.
//!
//! Circuits are quiet for most of the time. Bytes are read into a buffer that all
//! circuits of a thread share and written on at once; only what the other end does
//! not take is kept, at most one chunk a direction. An idle circuit has no buffer.

use std::{
    cell::Cell,
    future::poll_fn,
    io,
    pin::Pin,
    task::{Context, Poll, ready},
};

use futures::{AsyncRead, AsyncWrite};

use super::meter::{Meter, Side};
use crate::CircuitEnd;

/// Bytes read at once, and at most kept for an end that does not take them.
const CHUNK: usize = 32 * 1024;
/// Chunks before other tasks get their turn.
const TURN: usize = 16;

thread_local! {
    static SCRATCH: Cell<Option<Box<[u8]>>> = const { Cell::new(None) };
}

/// Copies both ways until both sides have ended, one fails, or `max_bytes` have been
/// read, both ways together; 0 is unlimited. The end of one direction is passed on, and
/// the other one goes on.
pub(super) async fn copy<S, D>(mut source: S, mut destination: D, max_bytes: u64, meter: &Meter) -> CircuitEnd
where
    S: AsyncRead + AsyncWrite + Unpin,
    D: AsyncRead + AsyncWrite + Unpin,
{
    let mut left = if max_bytes == 0 { u64::MAX } else { max_bytes };
    let (mut forth, mut back) = (Direction::new(Side::Source), Direction::new(Side::Destination));
    poll_fn(|cx| {
        let forth = forth.poll(cx, &mut source, &mut destination, &mut left, meter);
        let back = back.poll(cx, &mut destination, &mut source, &mut left, meter);
        match (forth, back) {
            (Poll::Ready(Err(end)), _) | (_, Poll::Ready(Err(end))) => Poll::Ready(end),
            (Poll::Ready(Ok(())), Poll::Ready(Ok(()))) => Poll::Ready(CircuitEnd::Closed),
            _ => Poll::Pending,
        }
    })
    .await
}

struct Direction {
    from: Side,
    /// Read, and not yet taken by the other end.
    kept: Box<[u8]>,
    kept_from: usize,
    unflushed: bool,
    at_end: bool,
    finished: bool,
}

impl Direction {
    fn new(from: Side) -> Self {
        Self { from, kept: Box::default(), kept_from: 0, unflushed: false, at_end: false, finished: false }
    }

    /// Moves what can be moved. Ready when the reader has ended and the writer is closed.
    fn poll<R, W>(
        &mut self,
        cx: &mut Context<'_>,
        reader: &mut R,
        writer: &mut W,
        left: &mut u64,
        meter: &Meter,
    ) -> Poll<Result<(), CircuitEnd>>
    where
        R: AsyncRead + Unpin,
        W: AsyncWrite + Unpin,
    {
        if self.finished {
            return Poll::Ready(Ok(()));
        }
        let mut scratch = SCRATCH.take().unwrap_or_else(|| vec![0; CHUNK].into());
        let polled = self.poll_with(cx, &mut scratch, reader, writer, left, meter);
        SCRATCH.set(Some(scratch));
        polled
    }

    fn poll_with<R, W>(
        &mut self,
        cx: &mut Context<'_>,
        scratch: &mut [u8],
        reader: &mut R,
        writer: &mut W,
        left: &mut u64,
        meter: &Meter,
    ) -> Poll<Result<(), CircuitEnd>>
    where
        R: AsyncRead + Unpin,
        W: AsyncWrite + Unpin,
    {
        for _ in 0..TURN {
            while self.kept_from < self.kept.len() {
                self.kept_from += ready!(self.poll_write(cx, writer, &self.kept[self.kept_from..], meter))?;
            }
            (self.kept, self.kept_from) = (Box::default(), 0);
            if self.at_end {
                ready!(Pin::new(&mut *writer).poll_close(cx)).map_err(failed)?;
                self.finished = true;
                return Poll::Ready(Ok(()));
            }
            let Poll::Ready(read) = self.poll_read(cx, scratch, reader, left)? else {
                if self.unflushed {
                    ready!(Pin::new(&mut *writer).poll_flush(cx)).map_err(failed)?;
                    self.unflushed = false;
                }
                return Poll::Pending;
            };
            let mut rest = &scratch[..read];
            while !rest.is_empty() {
                match self.poll_write(cx, writer, rest, meter)? {
                    Poll::Ready(written) => rest = &rest[written..],
                    Poll::Pending => {
                        self.kept = rest.into();
                        return Poll::Pending;
                    }
                }
            }
        }
        cx.waker().wake_by_ref();
        Poll::Pending
    }

    /// Reads no more than what is left; nothing read is the end.
    fn poll_read<R: AsyncRead + Unpin>(
        &mut self,
        cx: &mut Context<'_>,
        scratch: &mut [u8],
        reader: &mut R,
        left: &mut u64,
    ) -> Poll<Result<usize, CircuitEnd>> {
        let permitted = usize::try_from(*left).map_or(scratch.len(), |left| left.min(scratch.len()));
        if permitted == 0 {
            return Poll::Ready(Err(CircuitEnd::ByteLimit));
        }
        let read = ready!(Pin::new(reader).poll_read(cx, &mut scratch[..permitted])).map_err(failed)?;
        *left -= read as u64;
        self.at_end = read == 0;
        self.unflushed |= read > 0;
        Poll::Ready(Ok(read))
    }

    fn poll_write<W: AsyncWrite + Unpin>(
        &self,
        cx: &mut Context<'_>,
        writer: &mut W,
        bytes: &[u8],
        meter: &Meter,
    ) -> Poll<Result<usize, CircuitEnd>> {
        let written = ready!(Pin::new(writer).poll_write(cx, bytes)).map_err(failed)?;
        if written == 0 {
            return Poll::Ready(Err(CircuitEnd::Failed));
        }
        meter.count(self.from, written);
        Poll::Ready(Ok(written))
    }
}

/// What the error says may be a remote's text; that one side failed is enough.
fn failed(error: io::Error) -> CircuitEnd {
    tracing::debug!(kind = %error.kind(), "a circuit's stream failed");
    CircuitEnd::Failed
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use kaspath_domain::MonotonicClock;
    use tokio::{
        io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex},
        task::JoinHandle,
    };
    use tokio_util::compat::TokioAsyncReadCompatExt;

    use super::*;

    /// A circuit between the two that are given, whose ends hold `room` bytes.
    fn circuit(room: usize, max_bytes: u64) -> (DuplexStream, DuplexStream, JoinHandle<(CircuitEnd, [u64; 2])>) {
        let (source, near) = duplex(room);
        let (far, destination) = duplex(room);
        let task = tokio::spawn(async move {
            let meter = Meter::new(MonotonicClock::start());
            let end = copy(near.compat(), far.compat(), max_bytes, &meter).await;
            (end, [Side::Source, Side::Destination].map(|side| meter.bytes(side)))
        });
        (source, destination, task)
    }

    #[tokio::test]
    async fn every_byte_arrives_both_ways_through_narrow_ends_and_is_counted() {
        let bytes: Vec<u8> = (0..300_000_u32).map(|n| (n % 251) as u8).collect();
        let (source, destination, task) = circuit(7_000, 0);
        let ((from_source, mut to_source), (from_destination, mut to_destination)) =
            (tokio::io::split(source), tokio::io::split(destination));
        let (there, back) = (bytes.clone(), bytes[..100_000].to_vec());
        let sending = tokio::spawn(async move {
            to_source.write_all(&there).await.unwrap();
            to_source.shutdown().await.unwrap();
            to_source
        });
        let answering = tokio::spawn(async move {
            to_destination.write_all(&back).await.unwrap();
            to_destination.shutdown().await.unwrap();
            to_destination
        });
        let read = |mut half: tokio::io::ReadHalf<DuplexStream>| async move {
            let mut got = Vec::new();
            half.read_to_end(&mut got).await.unwrap();
            got
        };
        let (there, back) = tokio::join!(read(from_destination), read(from_source));
        assert!(there == bytes && back == bytes[..100_000], "the bytes differ");
        assert_eq!(task.await.unwrap(), (CircuitEnd::Closed, [300_000, 100_000]));
        drop((sending.await, answering.await));
    }

    #[tokio::test]
    async fn one_side_may_end_and_still_hear_the_other() {
        let (mut source, mut destination, task) = circuit(64, 0);
        source.write_all(b"question").await.unwrap();
        source.shutdown().await.unwrap();
        let mut question = Vec::new();
        destination.read_to_end(&mut question).await.unwrap();
        assert_eq!(question, b"question");
        destination.write_all(b"answer").await.unwrap();
        destination.shutdown().await.unwrap();
        let mut answer = Vec::new();
        source.read_to_end(&mut answer).await.unwrap();
        assert_eq!((answer.as_slice(), task.await.unwrap()), (&b"answer"[..], (CircuitEnd::Closed, [8, 6])));
    }

    #[tokio::test]
    async fn the_byte_limit_counts_both_ways_and_ends_the_circuit() {
        let (mut source, mut destination, task) = circuit(64, 10);
        let mut buffer = [0; 6];
        source.write_all(b"123456").await.unwrap();
        destination.read_exact(&mut buffer).await.unwrap();
        destination.write_all(b"7890 and more").await.unwrap();
        let mut rest = Vec::new();
        source.read_to_end(&mut rest).await.unwrap();
        assert_eq!((rest.as_slice(), task.await.unwrap()), (&b"7890"[..], (CircuitEnd::ByteLimit, [6, 4])));
    }

    #[tokio::test]
    async fn a_side_that_is_gone_ends_the_circuit_for_the_other() {
        let (mut source, destination, task) = circuit(64, 0);
        drop(destination);
        source.write_all(b"lost").await.unwrap();
        assert_eq!(task.await.unwrap().0, CircuitEnd::Failed);
        let mut rest = Vec::new();
        source.read_to_end(&mut rest).await.unwrap();
    }

    #[tokio::test(start_paused = true)]
    async fn a_side_that_reads_nothing_holds_the_other_back() {
        let (mut source, _destination, _task) = circuit(64, 0);
        // The clock is paused: it moves on when nothing else can.
        let stuck = tokio::time::timeout(Duration::from_secs(1), async {
            let mut pushed = 0;
            loop {
                source.write_all(&[0; 1024]).await.unwrap();
                pushed += 1024;
                assert!(pushed < 4 * CHUNK, "nobody holds the sender back");
            }
        });
        let stuck: Result<(), _> = stuck.await;
        stuck.unwrap_err();
    }

    #[tokio::test]
    async fn an_idle_direction_has_no_buffer() {
        let (mut from, reader) = duplex(CHUNK);
        let (writer, mut to) = duplex(16);
        let (mut reader, mut writer) = (reader.compat(), writer.compat());
        let mut direction = Direction::new(Side::Source);
        let (mut left, meter) = (u64::MAX, Meter::new(MonotonicClock::start()));
        from.write_all(&[7; 1000]).await.unwrap();
        let mut got = vec![0; 1000];
        let reading = async {
            to.read_exact(&mut got).await.unwrap();
        };
        let polling = poll_fn(|cx| direction.poll(cx, &mut reader, &mut writer, &mut left, &meter));
        tokio::select! {
            biased;
            ended = polling => panic!("{ended:?}"),
            () = reading => {}
        }
        let polled = futures::poll!(poll_fn(|cx| direction.poll(cx, &mut reader, &mut writer, &mut left, &meter)));
        assert!(polled.is_pending() && direction.kept.is_empty());
        assert_eq!((got, meter.bytes(Side::Source)), (vec![7; 1000], 1000));
    }
}
