//! Logs on standard error.

use std::{io::Write, time::Duration};

use serde_json::Value;
use tracing::{Level, Metadata};
use tracing_subscriber::{EnvFilter, fmt::MakeWriter};

use super::{
    OutputSettings,
    console::{Stream, console},
    limit::Class,
    safe,
};
use crate::cli::LogFormat;

/// A warning that repeats, such as of a full disk, is given once in this time.
const REPEATED_AFTER: Duration = Duration::from_secs(60);

/// Logs go to standard error; RUST_LOG decides if it is set. More logs than the default
/// also have a higher limit.
pub(crate) fn start_logs(settings: OutputSettings) {
    let ours = match settings.verbose {
        // yamux warns of every connection that is closed by the other side first.
        0 => "warn,yamux=error",
        1 => "warn,yamux=error,kaspath=debug,kaspath_transport_libp2p=debug,kaspath_kaspa_adaptor=debug,kaspath_policy=debug",
        _ => "debug,kaspath=trace,kaspath_transport_libp2p=trace",
    };
    console().set_format(settings.format);
    let from_environment = EnvFilter::try_from_default_env();
    if settings.verbose > 0 || from_environment.is_ok() {
        console().more_logs();
    }
    let filter = from_environment.unwrap_or_else(|_| EnvFilter::new(ours));
    let logs = tracing_subscriber::fmt().with_env_filter(filter).with_writer(Stderr(settings)).with_ansi(false);
    match settings.format {
        LogFormat::Text => logs.init(),
        LogFormat::Json => logs.json().init(),
    }
}

struct Stderr(OutputSettings);

struct LogLine {
    settings: OutputSettings,
    class: Class,
}

impl MakeWriter<'_> for Stderr {
    type Writer = LogLine;

    fn make_writer(&self) -> LogLine {
        LogLine { settings: self.0, class: Class::Log }
    }

    fn make_writer_for(&self, meta: &Metadata<'_>) -> LogLine {
        LogLine { settings: self.0, class: class(meta.target(), *meta.level()) }
    }
}

/// Dependencies warn of what peers do, as often as peers do it.
fn class(target: &str, level: Level) -> Class {
    if target.starts_with("kaspath") && level <= Level::WARN { Class::Warning } else { Class::Log }
}

impl Write for LogLine {
    // The subscriber writes each event by one call.
    fn write(&mut self, event: &[u8]) -> std::io::Result<usize> {
        let OutputSettings { format, redact, .. } = self.settings;
        let text = String::from_utf8_lossy(event);
        if self.class == Class::Warning && console().is_repeated(self.class, without_time(&text, format), REPEATED_AFTER) {
            return Ok(event.len());
        }
        console().limited(self.class, Stream::Err, || match serde_json::from_str::<Value>(&text) {
            Ok(value) if format == LogFormat::Json => safe::json(value, redact),
            _ => safe::line(text.trim_end(), redact),
        });
        Ok(event.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

/// The line without its time, which comes first.
fn without_time(line: &str, format: LogFormat) -> &str {
    let end = if format == LogFormat::Json { ',' } else { ' ' };
    line.split_once(end).map_or(line, |(_, rest)| rest)
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use super::*;

    const FLOOD: usize = 10_000;

    /// Not a test by itself: the next one runs it in its own process.
    #[test]
    #[ignore = "run by another test"]
    fn a_program_that_a_peer_makes_log() {
        start_logs(OutputSettings { format: LogFormat::Text, redact: false, verbose: 0 });
        for n in 0..FLOOD {
            tracing::warn!(target: "libp2p_identify::behaviour", "peer sent \x1b[2J {n}");
        }
        (0..FLOOD).for_each(|_| tracing::warn!("the disk is full"));
        crate::output::flush();
    }

    #[test]
    fn a_dependency_that_warns_whenever_a_peer_wants_neither_fills_the_log_nor_hides_our_warnings() {
        let args = ["--exact", "--ignored", "--nocapture", "output::logs::tests::a_program_that_a_peer_makes_log"];
        let mut command = Command::new(std::env::current_exe().unwrap());
        let output = command.args(args).env_remove("RUST_LOG").output().unwrap();
        let text = String::from_utf8_lossy(&output.stderr);
        let count = |part: &str| text.lines().filter(|line| line.contains(part)).count();
        // The burst, and the rate for as long as the flood takes on a slow machine.
        assert!((1..1000).contains(&count("libp2p_identify")), "{text}");
        assert_eq!(count("the disk is full"), 1, "{text}");
        assert!(count("lines left out") > 0 && !text.contains('\x1b'), "{text}");
    }

    #[test]
    fn only_our_own_warnings_have_the_limit_of_warnings() {
        assert_eq!(class("kaspath_peer_store::store", Level::WARN), Class::Warning);
        assert_eq!(class("kaspath", Level::DEBUG), Class::Log);
        assert_eq!(class("libp2p_identify::behaviour", Level::WARN), Class::Log);
        assert_eq!(class("quinn_proto", Level::ERROR), Class::Log);
    }

    #[test]
    fn a_repeated_log_is_known_in_spite_of_its_time() {
        let text = |time: &str| without_time(&format!("{time}  WARN kaspath: full"), LogFormat::Text).to_owned();
        assert_eq!(text("2026-01-01T00:00:00Z"), text("2026-01-01T00:00:01Z"));
        let json =
            |time: &str| without_time(&format!("{{\"timestamp\":\"{time}\",\"level\":\"WARN\"}}"), LogFormat::Json).to_owned();
        assert_eq!(json("1"), json("2"));
    }
}
