//! Texts of records on a terminal: without characters that a terminal or a reader does not show as
//! what they are. Pure.

use serde_json::Value;

/// A text for a terminal: characters that move the cursor, change the direction of the text or cannot be
/// seen are escapes (`\n`, `\u{1b}`, `\u{202e}`).
pub fn shown(text: &str) -> String {
    let mut shown = String::with_capacity(text.len());
    for char in text.chars() {
        if is_hidden(char) {
            shown.extend(char.escape_default());
        } else {
            shown.push(char);
        }
    }
    shown
}

/// A time in UTC, in whole seconds, for a table.
pub fn shown_time(ms: i64) -> String {
    jiff::Timestamp::from_millisecond(ms)
        .map_or_else(|_| ms.to_string(), |time| time.strftime("%F %TZ").to_string())
}

/// A time in UTC as RFC 3339, for JSON.
pub fn json_time(ms: i64) -> String {
    jiff::Timestamp::from_millisecond(ms)
        .map_or_else(|_| ms.to_string(), |time| time.strftime("%FT%T%.3fZ").to_string())
}

/// One line of JSON. The same characters are JSON escapes, so that the line is the same value.
pub fn json_line(value: &Value) -> String {
    let plain = value.to_string();
    let mut line = String::with_capacity(plain.len());
    for char in plain.chars() {
        if is_hidden(char) {
            // Outside of strings, JSON has none of them.
            for unit in char.encode_utf16(&mut [0; 2]) {
                line.push_str(&format!("\\u{unit:04x}"));
            }
        } else {
            line.push(char);
        }
    }
    line
}

/// Whether a character controls a terminal or the direction of a text, or cannot be seen.
fn is_hidden(char: char) -> bool {
    char.is_control()
        || matches!(
            char,
            '\u{ad}'
                | '\u{61c}'
                | '\u{115f}'..='\u{1160}'
                | '\u{180b}'..='\u{180f}'
                | '\u{200b}'..='\u{200f}'
                | '\u{2028}'..='\u{202e}'
                | '\u{2060}'..='\u{206f}'
                | '\u{3164}'
                | '\u{fe00}'..='\u{fe0f}'
                | '\u{feff}'
                | '\u{ffa0}'
                | '\u{fff0}'..='\u{fffb}'
                | '\u{e0000}'..='\u{e0fff}'
        )
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn characters_that_control_a_terminal_are_escapes_and_others_are_unchanged() {
        assert_eq!(shown("Grüße, 世界 \"a\" \\ b"), "Grüße, 世界 \"a\" \\ b");
        assert_eq!(shown("a\u{1b}[2Jb"), "a\\u{1b}[2Jb");
        assert_eq!(shown("a\r\n\tb\u{7f}\u{9b}"), "a\\r\\n\\tb\\u{7f}\\u{9b}");
        assert_eq!(shown("\u{202e}txt\u{2066}\u{200b}"), "\\u{202e}txt\\u{2066}\\u{200b}");
        let line = json_line(&"a\u{202e}\u{e0041}\u{9b}\u{1b}".into());
        assert_eq!(line, r#""a\u202e\udb40\udc41\u009b\u001b""#);
    }

    #[test]
    fn a_time_is_in_utc_and_one_that_no_calendar_has_is_a_number() {
        assert_eq!(shown_time(1_764_000_000_123), "2025-11-24 16:00:00Z");
        assert_eq!(json_time(1_764_000_000_123), "2025-11-24T16:00:00.123Z");
        assert_eq!(json_time(i64::MIN), i64::MIN.to_string());
    }

    proptest! {
        #[test]
        fn a_line_of_json_hides_nothing_and_is_the_same_value(text: String) {
            let line = json_line(&text.clone().into());
            prop_assert!(!line.chars().any(is_hidden), "{line:?}");
            prop_assert_eq!(&serde_json::from_str::<String>(&line).unwrap(), &text);
            prop_assert!(!shown(&text).chars().any(is_hidden));
        }
    }
}
