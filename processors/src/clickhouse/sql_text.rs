//! Texts of an operator inside a query. Pure.

/// A string literal of ClickHouse that holds `text`, for any content. Every byte but letters, digits and
/// a few signs is an escape: so the literal has no quote, no backslash of the text, no `?` (the client
/// would bind it) and no brace.
pub fn quoted(text: &str) -> String {
    let mut literal = String::with_capacity(text.len() + 2);
    literal.push('\'');
    for byte in text.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b' ' | b'.' | b'_' | b'-' | b':' => {
                literal.push(char::from(byte));
            }
            other => literal.push_str(&format!("\\x{other:02X}")),
        }
    }
    literal.push('\'');
    literal
}

/// As [`quoted`], for a name of our own settings: readable, with escapes for quotes and backslashes only.
pub(crate) fn literal(text: &str) -> String {
    format!("'{}'", text.replace('\\', "\\\\").replace('\'', "\\'"))
}

/// `column IN (…)` of these texts; `None` without a text.
pub fn is_one_of<'a>(column: &str, texts: impl IntoIterator<Item = &'a str>) -> Option<String> {
    let literals: Vec<String> = texts.into_iter().map(quoted).collect();
    (!literals.is_empty()).then(|| format!("{column} IN ({})", literals.join(", ")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_literal_holds_any_text_and_no_sign_that_ends_or_binds_it() {
        assert_eq!(quoted("clicks.raw.v1"), "'clicks.raw.v1'");
        assert_eq!(quoted("a'b"), r"'a\x27b'");
        assert_eq!(quoted(r"a\b"), r"'a\x5Cb'");
        assert_eq!(quoted("a?fields {x:String} ??"), r"'a\x3Ffields \x7Bx:String\x7D \x3F\x3F'");
        assert_eq!(quoted("ü\0\n"), r"'\xC3\xBC\x00\x0A'");
        assert_eq!(literal(r"/a'b\c"), r"'/a\'b\\c'");
        assert_eq!(is_one_of("code", []), None);
        assert_eq!(is_one_of("code", ["a", "b'"]).as_deref(), Some(r"code IN ('a', 'b\x27')"));
    }
}
