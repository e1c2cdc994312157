use std::{
    collections::VecDeque,
    io::{ErrorKind, Write},
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

/// Bytes kept for a reader that does not read.
const MAX_QUEUED: usize = 1 << 20;
/// Between two attempts to write to a stream that would wait.
const RETRY: Duration = Duration::from_millis(20);

/// An output stream with its own thread. Printing never waits: while the
/// reader does not read, lines queue up to a bound, and are dropped and counted
/// beyond it. When the reader has gone, lines go nowhere.
pub(super) struct Pipe {
    shared: Arc<Shared>,
}

#[derive(Default)]
struct Shared {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Default)]
struct State {
    queue: VecDeque<String>,
    bytes: usize,
    writing: bool,
    /// The reader has closed its end.
    gone: bool,
    lost: u64,
}

impl Pipe {
    pub(super) fn start(name: &str, sink: impl Write + Send + 'static) -> Self {
        let shared = Arc::new(Shared::default());
        let theirs = shared.clone();
        let writer = std::thread::Builder::new().name(name.to_owned()).spawn(move || theirs.write_all(sink));
        if writer.is_err() {
            shared.lock().gone = true;
        }
        Self { shared }
    }

    /// Queues a line, or drops and counts it.
    pub(super) fn push(&self, line: String) {
        let mut state = self.shared.lock();
        if state.gone {
            return;
        }
        if state.bytes + line.len() > MAX_QUEUED {
            state.lost += 1;
            return;
        }
        state.bytes += line.len();
        state.queue.push_back(line);
        drop(state);
        self.shared.changed.notify_all();
    }

    /// How many lines were dropped since this was asked last.
    pub(super) fn take_lost(&self) -> u64 {
        std::mem::take(&mut self.shared.lock().lost)
    }

    /// Waits until all is written, but not longer than `patience`.
    pub(super) fn flush(&self, patience: Duration) {
        let end = Instant::now() + patience;
        let mut state = self.shared.lock();
        while (state.writing || !state.queue.is_empty()) && !state.gone {
            let left = end.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return;
            }
            state = self.shared.changed.wait_timeout(state, left).unwrap_or_else(PoisonError::into_inner).0;
        }
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn write_all(&self, mut sink: impl Write) {
        loop {
            let mut state = self.lock();
            while state.queue.is_empty() {
                state = self.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
            }
            let Some(line) = state.queue.pop_front() else { continue };
            state.bytes -= line.len();
            state.writing = true;
            drop(state);
            let written = write_line(&mut sink, line.as_bytes());
            let mut state = self.lock();
            state.writing = false;
            match written {
                Ok(()) => {}
                Err(error) if error.kind() == ErrorKind::BrokenPipe => {
                    state.gone = true;
                    state.queue.clear();
                }
                // A full disk may have room again.
                Err(_) => state.lost += 1,
            }
            let gone = state.gone;
            drop(state);
            self.changed.notify_all();
            if gone {
                return;
            }
        }
    }
}

/// Writes it all, also where somebody has made the stream one that does not wait.
fn write_line(sink: &mut impl Write, mut line: &[u8]) -> std::io::Result<()> {
    while !line.is_empty() {
        match sink.write(line) {
            Ok(0) => return Err(ErrorKind::WriteZero.into()),
            Ok(written) => line = &line[written..],
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) if error.kind() == ErrorKind::WouldBlock => std::thread::sleep(RETRY),
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::{io::Read, os::unix::net::UnixStream};

    use super::*;

    /// Longer than anything here takes.
    const PATIENCE: Duration = Duration::from_secs(20);

    #[test]
    fn a_reader_that_does_not_read_neither_blocks_nor_fills_memory() {
        let (sink, mut reader) = UnixStream::pair().unwrap();
        let pipe = Pipe::start("test", sink);
        let line = format!("{}\n", "x".repeat(1023));
        for _ in 0..10_000 {
            pipe.push(line.clone());
        }
        let state = pipe.shared.lock();
        assert!(state.bytes <= MAX_QUEUED && state.lost > 0, "{} bytes, {} lost", state.bytes, state.lost);
        drop(state);
        pipe.flush(Duration::from_millis(1));
        // When it reads again, whole lines come.
        let lost = pipe.take_lost();
        std::thread::scope(|scope| {
            scope.spawn(|| pipe.flush(PATIENCE));
            let mut all = vec![0; usize::try_from(10_000 - lost).unwrap() * 1024];
            reader.read_exact(&mut all).unwrap();
            assert!(all.chunks(1024).all(|chunk| chunk == line.as_bytes()));
        });
        assert_eq!(pipe.take_lost(), 0);
    }

    #[test]
    fn a_reader_that_has_gone_ends_the_writing_and_nothing_else() {
        let (sink, reader) = UnixStream::pair().unwrap();
        drop(reader);
        let pipe = Pipe::start("test", sink);
        pipe.push("a line\n".to_owned());
        pipe.flush(PATIENCE);
        pipe.push("another\n".to_owned());
        let state = pipe.shared.lock();
        assert!(state.gone && state.queue.is_empty());
    }
}
