//! Where all lines of the process come together: one limit, two streams, and no
//! printer that waits for a reader.

use std::{
    fs::File,
    os::fd::AsFd,
    sync::{LazyLock, Mutex, MutexGuard, OnceLock, PoisonError},
    time::Duration,
};

use kaspath_domain::MonotonicClock;
use serde_json::json;

use super::{
    limit::{Class, LineLimits, Rate},
    pipe::Pipe,
};
use crate::cli::LogFormat;

/// Events. All three together stay below 200 lines a second over five seconds, bursts included.
const EVENTS: Rate = Rate { burst: 100, per_second: 140 };
/// Warnings of ours.
const WARNINGS: Rate = Rate { burst: 20, per_second: 10 };
/// Logs, most of which dependencies write as often as a remote wants.
const LOGS: Rate = Rate { burst: 20, per_second: 10 };
/// Logs where they are asked for.
const DEBUG_LOGS: Rate = Rate { burst: 2000, per_second: 1000 };
/// At the end, for a reader that is slow.
const FLUSH: Duration = Duration::from_secs(1);

static CONSOLE: LazyLock<Console> = LazyLock::new(Console::start);

/// Which of the process's streams.
#[derive(Clone, Copy)]
pub(super) enum Stream {
    Out,
    Err,
}

/// What printers and logs share.
pub(super) struct Console {
    clock: MonotonicClock,
    format: OnceLock<LogFormat>,
    limits: Mutex<LineLimits>,
    out: Pipe,
    err: Pipe,
}

pub(super) fn console() -> &'static Console {
    &CONSOLE
}

impl Console {
    fn start() -> Self {
        // Not std's handles: their locks would be held by a writer that is stuck.
        let file = |stream: std::io::Result<std::os::fd::OwnedFd>| {
            stream.map(File::from).or_else(|_| File::options().write(true).open("/dev/null"))
        };
        let pipe = |name: &str, stream| match file(stream) {
            Ok(file) => Pipe::start(name, file),
            Err(_) => Pipe::start(name, std::io::sink()),
        };
        Self {
            clock: MonotonicClock::start(),
            format: OnceLock::new(),
            limits: Mutex::new(LineLimits::new(EVENTS, WARNINGS, LOGS)),
            out: pipe("stdout", std::io::stdout().as_fd().try_clone_to_owned()),
            err: pipe("stderr", std::io::stderr().as_fd().try_clone_to_owned()),
        }
    }

    fn limits(&self) -> MutexGuard<'_, LineLimits> {
        self.limits.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Seconds since the program began.
    pub(super) fn elapsed(&self) -> f64 {
        self.clock.now().since_start().as_secs_f64()
    }

    /// The format of the lines that the console writes by itself.
    pub(super) fn set_format(&self, format: LogFormat) {
        let _ = self.format.set(format);
    }

    pub(super) fn more_logs(&self) {
        self.limits().set_log(DEBUG_LOGS);
    }

    /// Whether this very warning was given less than `within` ago.
    pub(super) fn is_repeated(&self, class: Class, text: &str, within: Duration) -> bool {
        self.limits().is_repeated(class, text, within, self.clock.now())
    }

    /// Prints what `line` makes, if the limit of its class allows it. It is made
    /// only then: work comes after the limit.
    pub(super) fn limited(&self, class: Class, stream: Stream, line: impl FnOnce() -> String) {
        let now = self.clock.now();
        let mut limits = self.limits();
        if !limits.allow(class, now) {
            return;
        }
        limits.count(class, self.pipe(stream).take_lost());
        let left_out = limits.due(class, now);
        drop(limits);
        if let Some(count) = left_out {
            self.report_left_out(stream, count);
        }
        self.always(stream, &line());
    }

    fn report_left_out(&self, stream: Stream, count: u64) {
        self.always(
            stream,
            &match self.format.get() {
                Some(LogFormat::Json) => json!({ "event": "lines-left-out", "count": count }).to_string(),
                _ => format!("           ({count} lines left out)"),
            },
        );
    }

    /// Prints a line without a limit, for there can be few of its kind.
    pub(super) fn always(&self, stream: Stream, line: &str) {
        self.pipe(stream).push(format!("{line}\n"));
    }

    /// Reports what was left out since the last report, and writes what is queued, but
    /// does not wait long.
    pub(super) fn flush(&self) {
        for (class, stream) in [(Class::Event, Stream::Out), (Class::Warning, Stream::Out), (Class::Log, Stream::Err)] {
            let count = self.limits().take_left_out(class);
            if count > 0 {
                self.report_left_out(stream, count);
            }
        }
        self.out.flush(FLUSH);
        self.err.flush(FLUSH);
    }

    fn pipe(&self, stream: Stream) -> &Pipe {
        match stream {
            Stream::Out => &self.out,
            Stream::Err => &self.err,
        }
    }
}
