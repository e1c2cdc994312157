//! Logs on standard error.

use std::{fmt, time::Duration};

use kaspath_domain::clean;
use serde_json::{Map, Value, json};
use tracing::{Event, Subscriber, field::Field};
use tracing_subscriber::{
    EnvFilter, Layer,
    field::Visit,
    layer::{Context, SubscriberExt},
    util::SubscriberInitExt,
};

use super::{
    console::{Stream, console},
    limit::Class,
    line,
    settings::OutputSettings,
};
use crate::{
    cli::LogFormat,
    level::{Level, Subsystem},
};

/// A warning that repeats, such as of a full disk, is given once in this time.
const REPEATED_AFTER: Duration = Duration::from_secs(60);
/// Bytes of one field.
const MAX_FIELD: usize = 4096;
/// What a log has as JSON beside what every event has.
#[cfg(test)]
pub(super) const FIELDS: [&str; 3] = ["target", "message", "fields"];
/// Fields of one log.
const MAX_FIELDS: usize = 32;

/// Logs go to standard error; RUST_LOG decides if it is set. More logs than the default
/// also have a higher limit.
pub(crate) fn start_logs(settings: OutputSettings) {
    console().begin(settings);
    let from_environment = EnvFilter::try_from_default_env();
    if from_environment.is_ok() {
        console().more_logs();
    }
    let filter = from_environment.unwrap_or_else(|_| EnvFilter::new(settings.filter.to_string()));
    tracing_subscriber::registry().with(filter).with(Logs(settings)).init();
}

/// Prints logs.
struct Logs(OutputSettings);

impl<S: Subscriber> Layer<S> for Logs {
    fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
        let log = Log::read(event);
        let (class, level) = (log.class(), log.level);
        let text = log.text();
        if class == Class::Warning && console().is_repeated(class, &text, REPEATED_AFTER) {
            return;
        }
        let OutputSettings { format, redact, .. } = self.0;
        console().limited(class, Stream::Err, || match format {
            LogFormat::Text => line::text(level, &text, redact, console().is_journal(Stream::Err)),
            LogFormat::Json => line::json(level, log.subsystem, &log.value(), None, redact),
        });
    }
}

/// One log.
struct Log {
    level: Level,
    subsystem: Subsystem,
    target: String,
    message: String,
    fields: Map<String, Value>,
}

impl Log {
    fn read(event: &Event<'_>) -> Self {
        let mut log = Self {
            level: (*event.metadata().level()).into(),
            subsystem: Subsystem::Libraries,
            target: event.metadata().target().to_owned(),
            message: String::new(),
            fields: Map::new(),
        };
        event.record(&mut log);
        log.subsystem = Subsystem::of_target(&log.target);
        log
    }

    /// Dependencies warn of what peers do, as often as peers do it.
    fn class(&self) -> Class {
        if self.subsystem != Subsystem::Libraries && self.level <= Level::Warn { Class::Warning } else { Class::Log }
    }

    fn text(&self) -> String {
        let whose = match self.subsystem {
            Subsystem::Libraries => &self.target,
            of => of.name(),
        };
        let plain = |value: &Value| value.as_str().map_or_else(|| value.to_string(), str::to_owned);
        let fields: String = self.fields.iter().map(|(name, value)| format!(" {name}={}", plain(value))).collect();
        format!("{whose}: {}{fields}", self.message)
    }

    fn value(&self) -> Value {
        json!({ "event": "log", "target": self.target, "message": self.message, "fields": self.fields })
    }

    fn keep(&mut self, field: &Field, value: Value) {
        match (field.name(), value) {
            ("message", Value::String(text)) => self.message = text,
            // Of a log by the `log` crate, which has all one target here.
            ("log.target", Value::String(text)) => self.target = text,
            (name, _) if name.starts_with("log.") => {}
            (name, value) if self.fields.len() < MAX_FIELDS => drop(self.fields.insert(name.to_owned(), value)),
            _ => {}
        }
    }
}

impl Visit for Log {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.keep(field, Value::String(clean(&format!("{value:?}"), MAX_FIELD)));
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        self.keep(field, Value::String(clean(value, MAX_FIELD)));
    }

    fn record_i64(&mut self, field: &Field, value: i64) {
        self.keep(field, value.into());
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        self.keep(field, value.into());
    }

    fn record_f64(&mut self, field: &Field, value: f64) {
        self.keep(field, value.into());
    }

    fn record_bool(&mut self, field: &Field, value: bool) {
        self.keep(field, value.into());
    }
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
        start_logs(OutputSettings::default());
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
        let class = |target: &str, level| {
            let subsystem = Subsystem::of_target(target);
            Log { level, subsystem, target: target.to_owned(), message: String::new(), fields: Map::new() }.class()
        };
        assert_eq!(class("kaspath_peer_store::store", Level::Warn), Class::Warning);
        assert_eq!(class("kaspath", Level::Debug), Class::Log);
        assert_eq!(class("libp2p_identify::behaviour", Level::Warn), Class::Log);
        assert_eq!(class("quinn_proto", Level::Error), Class::Log);
    }

    #[test]
    fn a_log_is_one_line_with_its_subsystem_and_fields() {
        struct Keep(std::sync::Mutex<Vec<Log>>);
        impl<S: Subscriber> Layer<S> for &'static Keep {
            fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
                self.0.lock().unwrap().push(Log::read(event));
            }
        }
        let keep: &'static Keep = Box::leak(Box::new(Keep(Vec::new().into())));
        tracing::subscriber::with_default(tracing_subscriber::registry().with(keep), || {
            tracing::warn!(target: "kaspath_peer_store::store", error = %"disk\nfull", count = 3, "not written");
            tracing::warn!(target: "quinn", "lost");
        });
        let logs = keep.0.lock().unwrap();
        assert_eq!(logs[0].text(), "book: not written count=3 error=disk full");
        assert_eq!(logs[1].text(), "quinn: lost");
        assert_eq!(logs[0].value()["fields"]["count"], 3);
    }
}
