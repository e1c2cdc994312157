//! The streams of one session: what comes is given to its machine, what it wants is
//! written.

use std::{
    cell::RefCell,
    io,
    pin::Pin,
    task::{Context, Poll},
};

use kaspath_domain::{DuplexStream, Moment};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use crate::{
    cell::State,
    machine::{Machine, PathId, Transmit},
};

/// Bytes read at once.
const CHUNK: usize = 64 * 1024;
/// Chunks, or frames, before others get their turn.
const TURN: usize = 16;

thread_local! {
    static SCRATCH: RefCell<Box<[u8]>> = RefCell::new(vec![0; CHUNK].into_boxed_slice());
}

/// One stream.
pub(crate) struct PathStream {
    pub(crate) id: PathId,
    pub(crate) stream: DuplexStream,
    unflushed: bool,
    is_closed: bool,
    /// The peer has ended it, or it has failed.
    pub(crate) has_ended: bool,
    /// The transport was told that it is suspect.
    pub(crate) is_suspect: bool,
}

impl PathStream {
    pub(crate) fn new(id: PathId, stream: DuplexStream) -> Self {
        Self { id, stream, unflushed: false, is_closed: false, has_ended: false, is_suspect: false }
    }

    /// Moves what can be moved now. Whether there may be more at once.
    pub(crate) fn poll(&mut self, cx: &mut Context<'_>, state: &mut State, now: Moment) -> io::Result<bool> {
        let (reads_more, at_end) = self.poll_read(cx, &mut state.machine, now)?;
        let writes_more = self.poll_write(cx, &mut state.machine, now)?;
        if at_end {
            self.has_ended = true;
            state.machine.ended(self.id, now);
        }
        Ok(reads_more || writes_more)
    }

    fn poll_read(&mut self, cx: &mut Context<'_>, machine: &mut Machine, now: Moment) -> io::Result<(bool, bool)> {
        SCRATCH.with_borrow_mut(|scratch| {
            for _ in 0..TURN {
                let mut buffer = ReadBuf::new(scratch);
                match Pin::new(&mut self.stream).poll_read(cx, &mut buffer) {
                    Poll::Pending => return Ok((false, false)),
                    Poll::Ready(read) => read?,
                }
                if buffer.filled().is_empty() {
                    return Ok((false, true));
                }
                machine.received(self.id, buffer.filled(), now);
                if !machine.has_path(self.id) {
                    return Ok((false, false));
                }
            }
            Ok((true, false))
        })
    }

    fn poll_write(&mut self, cx: &mut Context<'_>, machine: &mut Machine, now: Moment) -> io::Result<bool> {
        for _ in 0..TURN {
            match machine.transmit(self.id, now) {
                Transmit::Bytes(bytes) => match Pin::new(&mut self.stream).poll_write(cx, bytes) {
                    Poll::Pending => return Ok(false),
                    Poll::Ready(Ok(0)) => return Err(io::ErrorKind::WriteZero.into()),
                    Poll::Ready(written) => {
                        machine.wrote(self.id, written?);
                        self.unflushed = true;
                    }
                },
                Transmit::Idle => {
                    if self.unflushed && Pin::new(&mut self.stream).poll_flush(cx)?.is_ready() {
                        self.unflushed = false;
                    }
                    return Ok(false);
                }
                Transmit::Close => {
                    if !self.is_closed && Pin::new(&mut self.stream).poll_shutdown(cx)?.is_ready() {
                        self.is_closed = true;
                    }
                    return Ok(false);
                }
            }
        }
        Ok(true)
    }

    /// Whether its write side is closed.
    pub(crate) fn is_closed(&self) -> bool {
        self.is_closed
    }
}
