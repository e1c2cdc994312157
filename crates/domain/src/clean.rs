//! Text from a remote, made fit for logs, events and terminals.

/// `text` without anything that could change how the text around it looks:
/// at most `max` bytes, cut between characters.
///
/// Line breaks and tabs become spaces. Other control characters (terminal
/// escapes among them) and invisible format characters (bidirectional overrides,
/// zero-width characters, tags) are removed. The result cleans to itself.
///
/// Every text that a remote chose goes through this before it enters an error, an
/// event or a log: user agents, reject reasons, gRPC messages, close reasons.
pub fn clean(text: &str, max: usize) -> String {
    let mut cleaned = String::with_capacity(text.len().min(max));
    for c in text.chars() {
        let c = if breaks_a_line(c) { ' ' } else { c };
        if c.is_control() || is_invisible(c) {
            continue;
        }
        if cleaned.len() + c.len_utf8() > max {
            break;
        }
        cleaned.push(c);
    }
    cleaned
}

fn breaks_a_line(c: char) -> bool {
    matches!(c, '\t'..='\r' | '\u{85}' | '\u{2028}' | '\u{2029}')
}

/// Unicode's format characters (category Cf) outside scripts that need them to
/// be read, and other characters that show nothing or hide what follows.
fn is_invisible(c: char) -> bool {
    matches!(
        c,
        '\u{ad}'
            | '\u{34f}'
            | '\u{61c}'
            | '\u{115f}'..='\u{1160}'
            | '\u{17b4}'..='\u{17b5}'
            | '\u{180b}'..='\u{180f}'
            | '\u{200b}'..='\u{200f}'
            | '\u{202a}'..='\u{202e}'
            | '\u{2060}'..='\u{206f}'
            | '\u{3164}'
            | '\u{fe00}'..='\u{fe0f}'
            | '\u{feff}'
            | '\u{ffa0}'
            | '\u{fff0}'..='\u{fffb}'
            | '\u{1bca0}'..='\u{1bca3}'
            | '\u{1d173}'..='\u{1d17a}'
            | '\u{e0000}'..='\u{e0fff}'
    )
}

#[cfg(test)]
mod tests {
    use super::clean;

    #[test]
    fn ordinary_text_of_any_script_stays() {
        for text in ["/kaspad:2.1.0/kaspad:2.1.0(comment)/", "Zażółć gęślą jaźń", "カスパ", "שלום", "a \u{1f680} b"]
        {
            assert_eq!(clean(text, 100), text);
        }
    }

    #[test]
    fn terminal_escapes_and_line_breaks_cannot_leave() {
        assert_eq!(clean("\x1b[2J\x1b]0;owned\x07ok\x7f\u{9b}31m", 100), "[2J]0;ownedok31m");
        assert_eq!(clean("a\nERROR forged\r\nb\u{2028}c\u{85}d", 100), "a ERROR forged  b c d");
    }

    #[test]
    fn nothing_can_reorder_or_hide_text() {
        assert_eq!(clean("a\u{202e}b\u{2066}c\u{200f}d\u{61c}e", 100), "abcde");
        assert_eq!(clean("\u{feff}x\u{200b}\u{200d}\u{2060}y\u{e0041}z\u{ad}", 100), "xyz");
    }

    #[test]
    fn the_length_is_bounded_in_bytes_between_characters() {
        assert_eq!(clean("żżżż", 5), "żż");
        assert_eq!(clean(&"x".repeat(10_000), 64).len(), 64);
        assert_eq!(clean("\x00\x01ab", 2), "ab", "what is removed does not count");
        assert_eq!(clean("ab", 0), "");
    }

    #[test]
    fn every_character_alone_cleans_to_itself_or_to_nothing_visible() {
        for c in char::MIN..=char::MAX {
            let once = clean(&c.to_string(), 4);
            assert!(!once.chars().any(char::is_control), "{c:?}");
            assert_eq!(clean(&once, 4), once, "{c:?}");
        }
    }
}
