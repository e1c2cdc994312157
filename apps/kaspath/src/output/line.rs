//! An event as a line.

use kaspath_domain::wall_clock;
use serde::Serialize;
use serde_json::{Value, json};

use super::{safe, stamp::stamped};
use crate::level::{Level, Subsystem};

/// A text of one line, for systemd's journal or another reader.
pub(super) fn text(level: Level, text: &str, redact: bool, is_journal: bool) -> String {
    stamped(level, &safe::line(text, redact), is_journal)
}

/// A text of several lines, of which nothing comes from a remote.
pub(super) fn texts(level: Level, text: &str, redact: bool, is_journal: bool) -> String {
    stamped(level, &safe::lines(text, redact), is_journal)
}

/// JSON: the event's own fields, with its time in seconds since 1970, its level, the
/// subsystem and, if there is one, its sentence.
pub(super) fn json(level: Level, of: Subsystem, event: &impl Serialize, sentence: Option<&str>, redact: bool) -> String {
    let mut value = json!(event);
    if let Some(fields) = value.as_object_mut() {
        // A cause says each thing once, as in a sentence.
        for field in fields.iter_mut().filter(|(name, _)| *name == "cause").map(|(_, value)| value) {
            if let Value::String(cause) = field {
                *cause = safe::tidy(cause);
            }
        }
        fields.insert("time".into(), json!(wall_clock().since_epoch().as_secs_f64()));
        fields.insert("level".into(), json!(level));
        fields.insert("subsystem".into(), json!(of));
        if let Some(sentence) = sentence {
            fields.insert("text".into(), json!(sentence));
        }
    }
    safe::json(value, redact)
}
