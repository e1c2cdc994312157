//! A session on one plain stream, with a peer that does not speak the protocol.

use std::{
    io,
    pin::Pin,
    task::{Context, Poll},
};

use kaspath_domain::{DuplexStream, Path};
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    sync::watch,
};

use crate::{
    cell::{Cell, State},
    driver::show,
    machine::SessionEnd,
    timer::Timer,
};

const CHUNK: usize = 16 * 1024;

/// Carries the bytes of a session that is plain as they are, until both sides are done. The
/// owner is told of the stream's path, which need not be the one on which the peer was asked.
pub(crate) async fn carry(cell: &Cell, mut stream: DuplexStream, shown: &watch::Sender<Path>) {
    show(shown, stream.path());
    let mut path = stream.path_watch();
    let following = async {
        while let Some(path) = path.changed().await {
            show(shown, path);
        }
        std::future::pending().await
    };
    let (mut closed, mut timer) = (false, Timer::default());
    let moving = std::future::poll_fn(|cx| {
        let mut state = cell.lock();
        state.wait_for_owner(cx);
        let moved = write(&mut state, &mut stream, &mut closed, cx).and_then(|()| read(&mut state, &mut stream, cx));
        if moved.is_err() {
            state.machine.finish(SessionEnd::Reset);
        }
        let now = cell.now();
        state.machine.tick(now);
        state.wake_owner();
        timer.wake_at(state.machine.deadline(), now, cx);
        if state.machine.end().is_some() { Poll::Ready(()) } else { Poll::Pending }
    });
    tokio::select! {
        () = moving => {}
        () = following => {}
    }
}

fn write(state: &mut State, stream: &mut DuplexStream, closed: &mut bool, cx: &mut Context<'_>) -> io::Result<()> {
    let mut stream = Pin::new(stream);
    while !state.machine.plain_pending().is_empty() {
        let Poll::Ready(written) = stream.as_mut().poll_write(cx, state.machine.plain_pending())? else { return Ok(()) };
        if written == 0 {
            return Err(io::ErrorKind::WriteZero.into());
        }
        state.machine.plain_wrote(written);
    }
    if state.machine.is_plain_written() && !*closed {
        if stream.poll_shutdown(cx)?.is_ready() {
            *closed = true;
            state.machine.plain_closed();
        }
        return Ok(());
    }
    match stream.poll_flush(cx) {
        Poll::Ready(flushed) => flushed,
        Poll::Pending => Ok(()),
    }
}

fn read(state: &mut State, stream: &mut DuplexStream, cx: &mut Context<'_>) -> io::Result<()> {
    let mut chunk = [0; CHUNK];
    while !state.machine.readable().1 {
        let room = state.machine.plain_room().min(CHUNK);
        if room == 0 {
            return Ok(());
        }
        let mut buffer = ReadBuf::new(&mut chunk[..room]);
        match Pin::new(&mut *stream).poll_read(cx, &mut buffer) {
            Poll::Pending => return Ok(()),
            Poll::Ready(read) => read?,
        }
        state.machine.plain_received(buffer.filled());
    }
    Ok(())
}
