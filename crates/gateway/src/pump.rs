//! Bytes from one end to the other, without a buffer of its own while idle.
//!
//! A gateway holds many sessions that are quiet for most of the time. Bytes are
//! read into a buffer that all sessions of a thread share and written on at once;
//! only what the other end does not take is kept, and only for so long.

use std::{
    cell::RefCell,
    io,
    pin::Pin,
    task::{Context, Poll, ready},
};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// Bytes moved at once, and at most kept for an end that does not take them.
const CHUNK: usize = 64 * 1024;
/// Chunks before others get their turn.
const TURN: usize = 16;

thread_local! {
    static SCRATCH: RefCell<Box<[u8]>> = RefCell::new(vec![0; CHUNK].into_boxed_slice());
}

/// One direction.
#[derive(Default)]
pub(crate) struct Pump {
    kept: Box<[u8]>,
    kept_from: usize,
    unflushed: bool,
    at_end: bool,
    finished: bool,
}

impl Pump {
    /// Moves what can be moved. Ready when the reader has ended and the writer
    /// has been shut down.
    pub(crate) fn poll<R, W>(&mut self, cx: &mut Context<'_>, reader: &mut R, writer: &mut W) -> Poll<io::Result<()>>
    where
        R: AsyncRead + Unpin,
        W: AsyncWrite + Unpin,
    {
        if self.finished {
            return Poll::Ready(Ok(()));
        }
        for _ in 0..TURN {
            ready!(self.poll_kept(cx, writer))?;
            if self.at_end {
                ready!(Pin::new(&mut *writer).poll_shutdown(cx))?;
                self.finished = true;
                return Poll::Ready(Ok(()));
            }
            let read = SCRATCH.with_borrow_mut(|scratch| {
                let mut buffer = ReadBuf::new(scratch);
                ready!(Pin::new(&mut *reader).poll_read(cx, &mut buffer))?;
                let bytes = buffer.filled();
                if bytes.is_empty() {
                    self.at_end = true;
                    return Poll::Ready(Ok(()));
                }
                self.unflushed = true;
                let written = match Pin::new(&mut *writer).poll_write(cx, bytes) {
                    Poll::Ready(written) => written?,
                    Poll::Pending => 0,
                };
                self.kept = bytes[written..].into();
                self.kept_from = 0;
                Poll::Ready(io::Result::Ok(()))
            });
            match read {
                Poll::Ready(result) => result?,
                Poll::Pending => {
                    if self.unflushed {
                        ready!(Pin::new(&mut *writer).poll_flush(cx))?;
                        self.unflushed = false;
                    }
                    return Poll::Pending;
                }
            }
        }
        cx.waker().wake_by_ref();
        Poll::Pending
    }

    fn poll_kept<W: AsyncWrite + Unpin>(&mut self, cx: &mut Context<'_>, writer: &mut W) -> Poll<io::Result<()>> {
        while self.kept_from < self.kept.len() {
            let written = ready!(Pin::new(&mut *writer).poll_write(cx, &self.kept[self.kept_from..]))?;
            if written == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            self.kept_from += written;
        }
        self.kept = Box::default();
        self.kept_from = 0;
        Poll::Ready(Ok(()))
    }
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;

    use tokio::io::{AsyncReadExt, AsyncWriteExt, duplex};

    use super::*;

    #[tokio::test]
    async fn every_byte_arrives_in_order_through_a_narrow_end_and_nothing_is_kept() {
        let sent: Vec<u8> = (0..1_000_000u32).map(|n| (n % 251) as u8).collect();
        let (mut from, mut reader) = duplex(100_000);
        let (mut writer, mut to) = duplex(7);
        let mut pump = Pump::default();
        let expected = sent.clone();
        let feeding = async move {
            from.write_all(&sent).await.unwrap();
            drop(from);
        };
        let receiving = async move {
            let mut got = Vec::new();
            to.read_to_end(&mut got).await.unwrap();
            got
        };
        let pumping = poll_fn(|cx| pump.poll(cx, &mut reader, &mut writer));
        let ((), pumped, got) = tokio::join!(feeding, pumping, receiving);
        pumped.unwrap();
        assert!(got == expected, "the bytes differ");
        assert!(pump.finished && pump.kept.is_empty());
    }

    #[tokio::test]
    async fn a_writer_that_has_gone_is_an_error() {
        let (mut from, mut reader) = duplex(64);
        let (mut writer, to) = duplex(64);
        drop(to);
        from.write_all(b"lost").await.unwrap();
        let mut pump = Pump::default();
        assert!(poll_fn(|cx| pump.poll(cx, &mut reader, &mut writer)).await.is_err());
    }
}
