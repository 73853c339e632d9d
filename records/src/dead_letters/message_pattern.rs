//! The pattern of an error message: dead letters of one cause have the same pattern, although their
//! messages quote different records. Pure.

use schemas::SchemaId;
use sha2::{Digest as _, Sha256};

/// Replaces a number.
const NUMBER: &str = "#";
/// Replaces a quoted text.
const QUOTED: &str = "\"…\"";
/// Digits of a UUID, its dashes included.
const UUID_BYTES: usize = 36;
/// A word of hexadecimal digits that has this many of them, and a decimal one among them, is a number.
const HEX_DIGITS_MIN: usize = 8;

/// `message` with each number, hexadecimal number and UUID replaced by `#`, and each quoted text by
/// `"…"`.
pub fn pattern(message: &str) -> String {
    let mut pattern = String::with_capacity(message.len());
    let (mut rest, mut before, mut is_inside_word) = (message, None, false);
    while let Some(first) = rest.chars().next() {
        let quoted = match first {
            // A message that was cut may end within a quoted text.
            '"' => Some(quoted_bytes(rest, '"').unwrap_or(rest.len())),
            '\'' if !is_inside_word => quoted_bytes(rest, '\''),
            _ => None,
        };
        let is_sign = !before.is_some_and(is_of_word);
        let number = if is_inside_word { None } else { number_bytes(rest, is_sign) };
        let bytes = if let Some(bytes) = quoted {
            pattern.push_str(QUOTED);
            bytes
        } else if let Some(bytes) = number {
            pattern.push_str(NUMBER);
            bytes
        } else {
            pattern.push(first);
            first.len_utf8()
        };
        // The unit behind a number is a word.
        is_inside_word = quoted.or(number).is_none() && is_of_word(first);
        before = rest[..bytes].chars().next_back();
        rest = &rest[bytes..];
    }
    pattern
}

/// Names the group of dead letters with one code, pattern and schema id: 8 hexadecimal digits.
pub fn group_id(code: &str, pattern: &str, schema_id: Option<SchemaId>) -> String {
    let schema_id = schema_id.map(|id| id.to_string()).unwrap_or_default();
    let hash = Sha256::digest(format!("{code}\0{pattern}\0{schema_id}"));
    hash.iter().take(4).map(|byte| format!("{byte:02x}")).collect()
}

fn is_of_word(letter: char) -> bool {
    letter.is_alphanumeric() || letter == '_'
}

/// Bytes of the text in quotes at the start of `text`, if there is one. A backslash escapes a quote. An
/// apostrophe within a word closes nothing.
fn quoted_bytes(text: &str, quote: char) -> Option<usize> {
    let inside = text.strip_prefix(quote)?;
    let mut letters = inside.char_indices().peekable();
    while let Some((at, letter)) = letters.next() {
        if letter == '\\' {
            letters.next();
        } else if letter == quote {
            let is_apostrophe =
                quote == '\'' && letters.peek().is_some_and(|(_, l)| is_of_word(*l));
            if !is_apostrophe {
                return Some(at + 2 * quote.len_utf8());
            }
        }
    }
    None
}

/// Bytes of the number at the start of `text`, if there is one. A unit behind it, as in `30ms`, does not
/// belong to it; a sign before it does, unless `is_sign` is false, as in `2-3`.
fn number_bytes(text: &str, is_sign: bool) -> Option<usize> {
    let unsigned =
        text.strip_prefix(['-', '+']).filter(|rest| is_sign && rest.starts_with(is_digit));
    let sign = usize::from(unsigned.is_some());
    let text = unsigned.unwrap_or(text);
    let word = text.split(|letter| !is_of_word(letter)).next().filter(|word| !word.is_empty())?;
    if let Some(uuid) = text.get(..UUID_BYTES)
        && is_uuid(uuid)
        && !text[UUID_BYTES..].starts_with(is_of_word)
    {
        return Some(sign + UUID_BYTES);
    }
    let is_hex = |digits: &str| digits.bytes().all(|byte| byte.is_ascii_hexdigit());
    let is_long_hex = word.len() >= HEX_DIGITS_MIN && is_hex(word) && word.contains(is_digit);
    if is_long_hex || word.strip_prefix("0x").is_some_and(is_hex) {
        return Some(sign + word.len());
    }
    let unit = word.trim_start_matches(is_digit);
    let digits = word.len() - unit.len();
    let bytes = if unit.contains(is_digit) { word.len() } else { digits };
    (digits > 0).then_some(sign + bytes)
}

fn is_digit(letter: char) -> bool {
    letter.is_ascii_digit()
}

fn is_uuid(text: &str) -> bool {
    text.bytes().enumerate().all(|(at, byte)| match at {
        8 | 13 | 18 | 23 => byte == b'-',
        _ => byte.is_ascii_hexdigit(),
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::error::RecordError;

    #[test]
    fn what_differs_from_record_to_record_is_replaced() {
        for (message, expected) in [
            ("", ""),
            ("the record has no value", "the record has no value"),
            ("magic byte is 123, not 0: x", "magic byte is #, not #: x"),
            ("-5, +5, --5, 5 - 3, 2-3, a-5, 1.5e3", "#, #, -#, # - #, #-#, a-#, #.#"),
            ("after 30ms of 2000", "after #ms of #"),
            ("0xFFab of 0x", "# of #"),
            ("id deadbeef0 of deadbeef, v1 utf8 int32", "id # of deadbeef, v1 utf8 int32"),
            ("3f2504e0-4f89-41d3-9a0c-0305e82c3301!", "#!"),
            ("event 3f2504e0-4f89-41d3-9a0c-0305e82c3301x", "event #-#-#-#-#"),
            ("7f3a9_x of _7", "# of _7"),
            (r#"source "a \"b\" 1" is 'c' and 'it's d'"#, r#"source "…" is "…" and "…""#),
            ("can't and 'won't", "can't and 'won't"),
            (r#"cut "in the midd"#, r#"cut "…""#),
            ("\u{fc}1 \u{663} 1\u{fc}", "\u{fc}1 \u{663} #\u{fc}"),
        ] {
            assert_eq!(pattern(message), expected, "{message}");
        }
    }

    #[test]
    fn dead_letters_of_one_cause_form_a_group_and_of_two_causes_two() {
        let of = |occurred_at_us, source: &str| {
            let error = RecordError::OccurredAtOutOfBounds {
                occurred_at_us,
                logged_at_ms: 1_764_000_000_000,
                bound: schemas::bounds::OutOfBounds::TooFarAhead,
                click_source: source.into(),
            };
            group_id(error.code(), &pattern(&error.to_string()), Some(SchemaId(1)))
        };
        assert_eq!(of(1, "host-1"), of(-77, "another \"host\" 9"));
        let groups: std::collections::BTreeSet<_> = [
            ("code", "pattern", Some(1)),
            ("code", "pattern", Some(2)),
            ("code", "pattern", Some(0)),
            ("code", "pattern", None),
            ("code", "other", None),
            ("codepattern", "", None),
        ]
        .map(|(code, pattern, id)| group_id(code, pattern, id.map(SchemaId)))
        .into();
        assert_eq!(groups.len(), 6);
        assert!(groups.iter().all(|id| id.len() == 8), "{groups:?}");
        // Of `a\0b\0` and of `a\0b\07`, by `sha256sum`.
        assert_eq!(group_id("a", "b", None), "8fb20ef6");
        assert_eq!(group_id("a", "b", Some(SchemaId(7))), "d9477edd");
    }

    proptest! {
        #[test]
        fn any_message_has_a_pattern_of_bounded_length(message in "[-+'\"\\\\0-9a-fx_ ü]{0,80}|.{0,40}") {
            let found = pattern(&message);
            prop_assert!(found.len() <= 5 * message.len(), "{message:?}: {found:?}");
        }
    }
}
