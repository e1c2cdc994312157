//! The bytes of a circuit, both ways.
//!
//! Circuits are quiet for most of the time. Bytes are read into a buffer that all
//! circuits of a thread share and written on at once; only what the other end does
//! not take is kept, at most one chunk a direction. An idle circuit has no buffer.
//!
//! A circuit that is over its rate does not read, and so its sender waits: nothing is kept
//! for it, and nothing lost.

use std::{
    cell::Cell,
    future::poll_fn,
    io,
    pin::Pin,
    task::{Context, Poll, ready},
};

use futures::{AsyncRead, AsyncWrite};
use tokio::time::{Instant, Sleep, sleep};

use super::{
    flow::{Flow, MAX_WAIT, Pause},
    meter::{Meter, Side},
};
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
/// the other one goes on. What is read is charged to `flow`.
pub(super) async fn copy<S, D>(mut source: S, mut destination: D, max_bytes: u64, meter: &Meter, flow: &Flow) -> CircuitEnd
where
    S: AsyncRead + AsyncWrite + Unpin,
    D: AsyncRead + AsyncWrite + Unpin,
{
    let left = if max_bytes == 0 { u64::MAX } else { max_bytes };
    let mut account = Account { left, meter, flow };
    let (mut forth, mut back) = (Direction::new(Side::Source), Direction::new(Side::Destination));
    let mut timer: Option<Pin<Box<Sleep>>> = None;
    poll_fn(|cx| {
        loop {
            let sent = forth.poll(cx, &mut source, &mut destination, &mut account);
            let answered = back.poll(cx, &mut destination, &mut source, &mut account);
            match (sent, answered) {
                (Poll::Ready(Err(end)), _) | (_, Poll::Ready(Err(end))) => return Poll::Ready(end),
                (Poll::Ready(Ok(())), Poll::Ready(Ok(()))) => return Poll::Ready(CircuitEnd::Closed),
                _ => {}
            }
            let pauses = [&forth, &back].into_iter().filter_map(|direction| direction.pause.filter(|_| direction.is_paused));
            let Some(wait) = pauses.map(|pause| flow.left(pause).unwrap_or_default()).min() else {
                timer = None;
                return Poll::Pending;
            };
            let at = Instant::now() + wait.min(MAX_WAIT);
            let timer = timer.get_or_insert_with(|| Box::pin(sleep(wait)));
            timer.as_mut().reset(at);
            ready!(timer.as_mut().poll(cx));
        }
    })
    .await
}

/// What both directions of a circuit share.
struct Account<'a> {
    /// Bytes that may still be read.
    left: u64,
    meter: &'a Meter,
    flow: &'a Flow,
}

struct Direction {
    from: Side,
    /// Read, and not yet taken by the other end.
    kept: Box<[u8]>,
    kept_from: usize,
    unflushed: bool,
    at_end: bool,
    finished: bool,
    /// Nothing is read before its end.
    pause: Option<Pause>,
    /// That is what it waits for now.
    is_paused: bool,
}

impl Direction {
    fn new(from: Side) -> Self {
        Self {
            from,
            kept: Box::default(),
            kept_from: 0,
            unflushed: false,
            at_end: false,
            finished: false,
            pause: None,
            is_paused: false,
        }
    }

    /// Moves what can be moved. Ready when the reader has ended and the writer is closed.
    fn poll<R, W>(
        &mut self,
        cx: &mut Context<'_>,
        reader: &mut R,
        writer: &mut W,
        account: &mut Account<'_>,
    ) -> Poll<Result<(), CircuitEnd>>
    where
        R: AsyncRead + Unpin,
        W: AsyncWrite + Unpin,
    {
        self.is_paused = false;
        if self.finished {
            return Poll::Ready(Ok(()));
        }
        let mut scratch = SCRATCH.take().unwrap_or_else(|| vec![0; CHUNK].into());
        let polled = self.poll_with(cx, &mut scratch, reader, writer, account);
        SCRATCH.set(Some(scratch));
        polled
    }

    fn poll_with<R, W>(
        &mut self,
        cx: &mut Context<'_>,
        scratch: &mut [u8],
        reader: &mut R,
        writer: &mut W,
        account: &mut Account<'_>,
    ) -> Poll<Result<(), CircuitEnd>>
    where
        R: AsyncRead + Unpin,
        W: AsyncWrite + Unpin,
    {
        for _ in 0..TURN {
            while self.kept_from < self.kept.len() {
                self.kept_from += ready!(self.poll_write(cx, writer, &self.kept[self.kept_from..], account.meter))?;
            }
            (self.kept, self.kept_from) = (Box::default(), 0);
            if self.at_end {
                ready!(Pin::new(&mut *writer).poll_close(cx)).map_err(failed)?;
                self.finished = true;
                return Poll::Ready(Ok(()));
            }
            let Poll::Ready(read) = self.poll_read(cx, scratch, reader, account)? else {
                if self.unflushed {
                    ready!(Pin::new(&mut *writer).poll_flush(cx)).map_err(failed)?;
                    self.unflushed = false;
                }
                return Poll::Pending;
            };
            let mut rest = &scratch[..read];
            while !rest.is_empty() {
                match self.poll_write(cx, writer, rest, account.meter)? {
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

    /// Reads no more than what is left, and nothing during a pause; nothing read is the end.
    fn poll_read<R: AsyncRead + Unpin>(
        &mut self,
        cx: &mut Context<'_>,
        scratch: &mut [u8],
        reader: &mut R,
        account: &mut Account<'_>,
    ) -> Poll<Result<usize, CircuitEnd>> {
        self.pause = self.pause.filter(|pause| account.flow.left(*pause).is_some());
        if self.pause.is_some() {
            self.is_paused = true;
            return Poll::Pending;
        }
        let left = usize::try_from(account.left).unwrap_or(usize::MAX);
        let permitted = left.min(account.flow.chunk()).min(scratch.len());
        if permitted == 0 {
            return Poll::Ready(Err(CircuitEnd::ByteLimit));
        }
        let read = ready!(Pin::new(reader).poll_read(cx, &mut scratch[..permitted])).map_err(failed)?;
        account.left -= read as u64;
        self.at_end = read == 0;
        if read > 0 {
            self.unflushed = true;
            self.pause = account.flow.charge(read).map_err(|_| CircuitEnd::Quota)?;
        }
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
mod tests;
