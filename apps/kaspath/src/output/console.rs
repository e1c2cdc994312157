//! Where all lines of the process come together: one limit, two streams, and no
//! printer that waits for a reader.

use std::{
    fs::File,
    os::fd::AsFd,
    sync::{LazyLock, Mutex, MutexGuard, OnceLock, PoisonError},
    time::Duration,
};

use kaspath_domain::MonotonicClock;

use super::{
    limit::{Class, LineLimits, Quota, Rate},
    line,
    own::ProgramEvent,
    pipe::Pipe,
    settings::OutputSettings,
    stamp::is_journal,
};
use crate::{cli::LogFormat, level::Subsystem};

/// Events. All three together stay below 200 lines a second over five seconds, bursts included,
/// and, since a remote may make events for years, at 8 KiB a second in the long run: 675 MiB a day.
const EVENTS: Quota = Quota { lines: Rate { burst: 100, per_second: 140 }, bytes: Rate { burst: 32 << 20, per_second: 6 << 10 } };
/// Warnings of ours.
const WARNINGS: Quota = Quota { lines: Rate { burst: 20, per_second: 10 }, bytes: Rate { burst: 2 << 20, per_second: 1 << 10 } };
/// Logs, most of which dependencies write as often as a remote wants.
const LOGS: Quota = Quota { lines: Rate { burst: 20, per_second: 10 }, bytes: Rate { burst: 2 << 20, per_second: 1 << 10 } };
/// Logs where they are asked for: 5.3 GiB a day.
const DEBUG_LOGS: Quota =
    Quota { lines: Rate { burst: 2000, per_second: 1000 }, bytes: Rate { burst: 64 << 20, per_second: 64 << 10 } };
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
    /// Of a program that runs; other commands have none.
    settings: OnceLock<OutputSettings>,
    /// Which of the two streams are the journal's.
    journal: [bool; 2],
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
        let journal = std::env::var("JOURNAL_STREAM").ok();
        let pipe = |name: &str, stream| match file(stream) {
            Ok(file) => (is_journal(&file, journal.as_deref()), Pipe::start(name, file)),
            Err(_) => (false, Pipe::start(name, std::io::sink())),
        };
        let (out_is_journal, out) = pipe("stdout", std::io::stdout().as_fd().try_clone_to_owned());
        let (err_is_journal, err) = pipe("stderr", std::io::stderr().as_fd().try_clone_to_owned());
        Self {
            clock: MonotonicClock::start(),
            settings: OnceLock::new(),
            journal: [out_is_journal, err_is_journal],
            limits: Mutex::new(LineLimits::new(EVENTS, WARNINGS, LOGS)),
            out,
            err,
        }
    }

    fn limits(&self) -> MutexGuard<'_, LineLimits> {
        self.limits.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Since the program began.
    pub(super) fn elapsed(&self) -> Duration {
        self.clock.now().since_start()
    }

    /// How a program that runs prints, from now on.
    pub(super) fn begin(&self, settings: OutputSettings) {
        let _ = self.settings.set(settings);
        if settings.filter.is_verbose() {
            self.more_logs();
        }
    }

    /// How this program prints, if it is one that runs.
    pub(super) fn settings(&self) -> Option<OutputSettings> {
        self.settings.get().copied()
    }

    /// Whether the stream is systemd's journal.
    pub(super) fn is_journal(&self, stream: Stream) -> bool {
        self.journal[stream as usize]
    }

    pub(super) fn more_logs(&self) {
        self.limits().set_log(DEBUG_LOGS);
    }

    /// Whether this very warning was given less than `within` ago.
    pub(super) fn is_repeated(&self, class: Class, text: &str, within: Duration) -> bool {
        self.limits().is_repeated(class, text, within, self.clock.now())
    }

    /// Prints what `line` makes, if the limits of its class allow it. It is made only
    /// when a line of any length would be allowed: work comes after the limit.
    pub(super) fn limited(&self, class: Class, stream: Stream, line: impl FnOnce() -> String) {
        let now = self.clock.now();
        let lost = self.pipe(stream).take_lost();
        let mut limits = self.limits();
        limits.count(class, lost);
        if !limits.allow(class, now) {
            return;
        }
        let left_out = limits.due(class, now);
        drop(limits);
        if let Some(count) = left_out {
            self.report_left_out(stream, count);
        }
        let line = line();
        // Others may have used the bytes meanwhile.
        if self.limits().spend(class, line.len() + 1, now) {
            self.always(stream, &line);
        }
    }

    fn report_left_out(&self, stream: Stream, count: u64) {
        let event = ProgramEvent::LinesLeftOut { count };
        let (level, sentence) = (event.level(), event.sentence());
        let line = match self.settings.get() {
            Some(OutputSettings { format: LogFormat::Json, .. }) => {
                line::json(level, Subsystem::Program, &event, Some(&sentence), false)
            }
            _ => line::text(level, &sentence, false, self.is_journal(stream)),
        };
        self.always(stream, &line);
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_documented_size_of_a_days_lines_is_what_the_limits_allow() {
        let mib = |quotas: &[Quota], of: fn(&Quota) -> u64| quotas.iter().map(of).sum::<u64>() >> 20;
        let usual = [EVENTS, WARNINGS, LOGS];
        let per_day = |quota: &Quota| u64::from(quota.bytes.per_second) * 86_400;
        let (day, burst) = (mib(&usual, per_day), mib(&usual, |quota| quota.bytes.burst.into()));
        let documented = include_str!("../../../../docs/events.md").replace('\n', " ");
        assert!(documented.contains(&format!("at most {day} MiB a day, and {burst} MiB once")), "{day} {burst}");
        #[allow(clippy::cast_precision_loss)]
        let debug = mib(&[EVENTS, WARNINGS, DEBUG_LOGS], per_day) as f64 / 1024.0;
        assert!(documented.contains(&format!("with debug logs {debug:.1} GiB a day")), "{debug}");
    }
}
