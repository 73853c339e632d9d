//! The string literals of a text in ClickHouse's SQL.

use std::ops::Range;

/// The bytes of each literal in single quotes, with its quotes; comments and quoted names are skipped. One that does
/// not end reaches to the end of the text.
#[must_use]
pub(crate) fn literals(sql: &str) -> Vec<Range<usize>> {
    let bytes = sql.as_bytes();
    let (mut found, mut at) = (Vec::new(), 0);
    while at < bytes.len() {
        let end = match bytes[at] {
            quote @ (b'\'' | b'"' | b'`') => {
                let end = quoted_end(bytes, at);
                if quote == b'\'' {
                    found.push(at..end);
                }
                end
            }
            b'-' if sql[at..].starts_with("--") => {
                at + sql[at..].find('\n').unwrap_or(sql.len() - at)
            }
            b'/' if sql[at..].starts_with("/*") => {
                at + sql[at..].find("*/").map_or(sql.len() - at, |length| length + 2)
            }
            _ => at + sql[at..].chars().next().map_or(1, char::len_utf8),
        };
        at = end;
    }
    found
}

/// The end of what a quote opens: a backslash or a second quote before the last one escapes it.
fn quoted_end(bytes: &[u8], start: usize) -> usize {
    let quote = bytes[start];
    let mut at = start + 1;
    while at < bytes.len() {
        at += match bytes[at] {
            b'\\' => 2,
            byte if byte != quote => 1,
            _ if bytes.get(at + 1) == Some(&quote) => 2,
            _ => return at + 1,
        };
    }
    bytes.len()
}

/// The text with `''` for each literal: equal for two texts that differ within literals only.
#[must_use]
pub(crate) fn without_literals(sql: &str) -> String {
    let (mut kept, mut at) = (String::new(), 0);
    for literal in literals(sql) {
        kept += &sql[at..literal.start];
        kept += "''";
        at = literal.end;
    }
    kept + &sql[at..]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn literals_end_where_clickhouse_ends_them() {
        for (sql, rest) in [
            ("a = 'b' AND c = ''", "a = '' AND c = ''"),
            (r"f('it\'s', 'a''b', '\\')", "f('', '', '')"),
            ("\"a'b\" `c'd` 'e'", "\"a'b\" `c'd` ''"),
            ("a -- it's\n'b' /* 'c' */", "a -- it's\n'' /* 'c' */"),
            (r"'a\", "''"),
            ("ü 'ß'", "ü ''"),
        ] {
            assert_eq!(without_literals(sql), rest, "{sql}");
        }
    }
}
