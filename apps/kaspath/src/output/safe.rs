//! What makes a text fit to print.

use kaspath_domain::clean;
use serde_json::Value;

use super::redact::redact;

/// Bytes of one text. Longer ones are a remote's.
const MAX_TEXT: usize = 4096;
/// Bytes of one JSON line.
const MAX_LINE: usize = 64 << 10;
/// Bytes of a text that are looked at.
const MAX_LOOKED_AT: usize = 64 << 10;
/// Errors of one text.
const MAX_ERRORS: usize = 64;
/// Bytes of one cause.
const MAX_CAUSE: usize = 400;

/// One line: without control characters, redacted if asked, bounded.
pub(super) fn line(text: &str, redacted: bool) -> String {
    // Cleaned before it is redacted, or an invisible character could hide an
    // address; cut after it, or half an address could stay.
    let text = clean(text, MAX_LOOKED_AT);
    clean(&if redacted { redact(&text) } else { text }, MAX_TEXT)
}

/// Several lines of our own making.
pub(super) fn lines(text: &str, redacted: bool) -> String {
    text.lines().map(|text| line(text, redacted)).collect::<Vec<_>>().join("\n")
}

/// The same for every text in a value, as one line.
pub(super) fn json(mut value: Value, redacted: bool) -> String {
    make_safe(&mut value, redacted);
    let line = value.to_string();
    if line.len() <= MAX_LINE {
        return line;
    }
    serde_json::json!({ "event": value["event"], "time": value["time"], "left-out": "it is too long" }).to_string()
}

fn make_safe(value: &mut Value, redacted: bool) {
    match value {
        Value::String(text) => *text = line(text, redacted),
        Value::Array(values) => values.iter_mut().for_each(|value| make_safe(value, redacted)),
        Value::Object(fields) => fields.values_mut().for_each(|value| make_safe(value, redacted)),
        Value::Null | Value::Bool(_) | Value::Number(_) => {}
    }
}

/// A cause as [`tidy`] makes it, of a length that fits into a sentence.
pub(super) fn cause(text: &str) -> String {
    clean(&tidy(text), MAX_CAUSE)
}

/// An error with its causes (`what: why: why; what: why`), put together by several
/// hands: each part once, none empty, and what failed for one reason named together.
pub(super) fn tidy(text: &str) -> String {
    let text = clean(text, MAX_LOOKED_AT);
    let mut errors: Vec<Vec<String>> = Vec::new();
    for error in text.split("; ").take(MAX_ERRORS) {
        let mut steps: Vec<String> = Vec::new();
        for step in error.split(": ").map(|step| step.trim().trim_end_matches([':', '.'])).filter(|step| !step.is_empty()) {
            // Many an error's text ends with its source's, or begins with the address before it.
            if steps.last().is_some_and(|last| last.starts_with('/') && step.starts_with(last.as_str())) {
                steps.pop();
            }
            if !steps.iter().any(|known| known.ends_with(step)) {
                steps.push(step.to_owned());
            }
        }
        match steps.split_first() {
            None => {}
            _ if errors.iter().any(|known| known.ends_with(&steps)) => {}
            Some((what, why)) => {
                let same = |known: &&mut Vec<String>| !why.is_empty() && known.len() > why.len() && known.ends_with(why);
                match errors.iter_mut().find(same) {
                    Some(known) => {
                        let at = known.len() - why.len() - 1;
                        known[at].push_str(" and ");
                        known[at].push_str(what);
                    }
                    None => errors.push(steps),
                }
            }
        }
    }
    errors.iter().map(|steps| steps.join(": ")).collect::<Vec<_>>().join("; ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_text_moves_the_cursor_or_begins_a_line() {
        let hostile = "closed: \x1b[2J\x1b]0;title\x07\r\n   0.000  peer ok\u{9b}31m\u{202e}\u{2028}";
        for line in [line(hostile, false), line(hostile, true), cause(hostile)] {
            assert!(!line.chars().any(|c| c.is_control() || matches!(c, '\u{2028}' | '\u{202e}')), "{line:?}");
        }
        let json = json(serde_json::json!({ "event": "x", "list": [hostile, { "cause": hostile }] }), false);
        assert!(!json.contains("u001b") && !json.chars().any(char::is_control) && !json.contains("\\n"), "{json}");
    }

    #[test]
    fn the_length_of_a_line_is_bounded() {
        let long = "x".repeat(1 << 20);
        assert!(line(&long, true).len() <= MAX_TEXT && cause(&long).len() <= MAX_CAUSE);
        let json = json(serde_json::json!({ "event": "x", "list": vec![long; 100] }), false);
        assert!(json.len() <= MAX_LINE && json.contains("\"event\":\"x\""), "{}", json.len());
    }

    #[test]
    fn an_invisible_character_hides_no_address() {
        assert!(!line("at 203.0.\u{200b}113.7", true).contains("113.7"));
    }

    #[test]
    fn a_cause_is_named_once_and_without_stray_colons() {
        assert_eq!(cause(": Connection refused (os error 111)"), "Connection refused (os error 111)");
        assert_eq!(cause("Handshake failed: : timed out: timed out"), "Handshake failed: timed out");
        let once = "relay X cannot be reached: refused";
        assert_eq!(cause(&format!("{once}; {once}; {once}: refused")), once);
        assert_eq!(cause("/ip6/::1/tcp/1: refused"), "/ip6/::1/tcp/1: refused");
        assert_eq!(cause("no circuit: It failed.: No reservation."), "no circuit: It failed: No reservation");
        let address = "/ip4/127.0.0.1/tcp/9: /ip4/127.0.0.1/tcp/9/p2p/X cannot be reached: refused";
        assert_eq!(cause(address), "/ip4/127.0.0.1/tcp/9/p2p/X cannot be reached: refused");
        let both = "peer P cannot be reached: a punch through R: R cannot be reached: : refused; R/p2p-circuit: R cannot be reached: refused";
        let together = "peer P cannot be reached: a punch through R and R/p2p-circuit: R cannot be reached: refused";
        assert_eq!(tidy(both), together);
    }
}
