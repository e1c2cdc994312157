//! How a text line begins: when it was, and how much it asks for attention.

use std::{fs::File, os::unix::fs::MetadataExt};

use chrono::{Local, SecondsFormat};

use crate::level::Level;

/// Puts the time and the level before each line of a text. The journal has the time
/// already, and gets the priority in the form that it takes from standard streams.
pub(super) fn stamped(level: Level, text: &str, is_journal: bool) -> String {
    let begin = if is_journal { format!("<{}>", level.priority()) } else { format!("{}  ", now()) };
    text.lines().map(|line| format!("{begin}{:<5}  {line}", level.name())).collect::<Vec<_>>().join("\n")
}

/// By RFC 3339, in this machine's zone. chrono reads the zone's file itself: asking libc
/// would not be sound beside threads.
fn now() -> String {
    Local::now().to_rfc3339_opts(SecondsFormat::Millis, false)
}

/// Whether the stream is systemd's journal: by `JOURNAL_STREAM`, which a program that the
/// journal's reader starts inherits, so that the device and the inode count.
pub(super) fn is_journal(stream: &File, variable: Option<&str>) -> bool {
    let named = variable.and_then(|text| text.split_once(':'));
    let named = named.and_then(|(device, inode)| Some((device.parse::<u64>().ok()?, inode.parse::<u64>().ok()?)));
    named.is_some_and(|named| stream.metadata().is_ok_and(|is| (is.dev(), is.ino()) == named))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_line_has_the_time_with_its_zone_and_the_level() {
        let text = stamped(Level::Warn, "first\n    second", false);
        let lines: Vec<&str> = text.lines().collect();
        for line in &lines {
            let (time, rest) = line.split_once("  ").unwrap();
            let parsed = chrono::DateTime::parse_from_rfc3339(time).unwrap();
            assert!((Local::now().timestamp() - parsed.timestamp()).abs() < 60, "{time}");
            assert!(rest.starts_with("warn   "), "{rest}");
        }
        assert!(lines.len() == 2 && lines[1].ends_with("    second"));
    }

    #[test]
    fn the_journal_gets_a_priority_and_no_time() {
        assert_eq!(stamped(Level::Error, "a\nb", true), "<3>error  a\n<3>error  b");
        let file = tempfile::tempfile().unwrap();
        let metadata = file.metadata().unwrap();
        let named = format!("{}:{}", metadata.dev(), metadata.ino());
        assert!(is_journal(&file, Some(&named)));
        assert!(!is_journal(&file, Some("1:2")) && !is_journal(&file, Some("x")) && !is_journal(&file, None));
    }
}
