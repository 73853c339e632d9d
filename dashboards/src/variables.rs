//! Variables in a text, as Grafana's page replaces them: `$name`, `${name}`, `${name:format}`, `[[name]]`.

use std::fmt::Write as _;
use std::ops::Range;

use crate::expand_error::ExpandError;

/// A place of a text where a variable is used.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reference<'a> {
    /// The variable.
    pub name: &'a str,
    /// What follows its name after a dot, such as `fields.country`.
    pub path: Option<&'a str>,
    /// The format of its value.
    pub format: Option<&'a str>,
    /// The bytes of the text that it takes.
    pub range: Range<usize>,
}

/// All variables and macros of a text, in its order.
#[must_use]
pub fn references(text: &str) -> Vec<Reference<'_>> {
    let mut found = Vec::new();
    let mut at = 0;
    while let Some(next) = text[at..].find(['$', '[']) {
        let start = at + next;
        match reference(text, start) {
            Some(reference) => {
                at = reference.range.end;
                found.push(reference);
            }
            None => at = start + 1,
        }
    }
    found
}

/// The variable whose use starts at a byte of a text.
fn reference(text: &str, start: usize) -> Option<Reference<'_>> {
    let rest = &text[start..];
    let (open, close) = if rest.starts_with("${") {
        ("${", "}")
    } else if rest.starts_with("[[") {
        ("[[", "]]")
    } else {
        let name = word(rest.strip_prefix('$')?);
        let range = start..start + 1 + name.len();
        return (!name.is_empty()).then_some(Reference { name, path: None, format: None, range });
    };
    let inner = &rest[open.len()..];
    let length = inner.find(close)?;
    let inner = &inner[..length];
    let name = word(inner);
    let (path, format) = match inner[name.len()..].split_at_checked(1) {
        None => (None, None),
        Some((":", format)) => (None, Some(format)),
        Some((".", rest)) if open == "${" => match rest.split_once(':') {
            Some((path, format)) => (Some(path), Some(format)),
            None => (Some(rest), None),
        },
        Some(_) => return None,
    };
    let range = start..start + open.len() + length + close.len();
    let empty = path.is_some_and(str::is_empty) || format.is_some_and(str::is_empty);
    (!name.is_empty() && !empty).then_some(Reference { name, path, format, range })
}

/// The letters, digits and underscores at the start of a text.
fn word(text: &str) -> &str {
    let end = text.find(|letter: char| !letter.is_ascii_alphanumeric() && letter != '_');
    &text[..end.unwrap_or(text.len())]
}

/// How Grafana writes the value of a variable into a text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// Several values as `{a,b}`.
    Glob,
    /// Several values as `'a','b'`: what the ClickHouse plugin takes where the text names no format.
    Quoted,
    /// Several values as `a,b`.
    Csv,
    /// As `csv`.
    Raw,
    /// Several values as `a|b`.
    Pipe,
    /// The signs of a regular expression escaped, several values as `(a|b)`.
    Regex,
    /// What the Prometheus data source takes where the text names no format: one value with its backslashes and single quotes
    /// escaped, and with its double quotes as they are.
    Promql,
    /// Encoded as a part of an address, several values as those of `{a,b}`.
    PercentEncode,
    /// `var-name=value`, encoded.
    QueryParam,
    /// `'a','b'` with `\'` for each quote.
    SingleQuote,
    /// `"a","b"` with `\"` for each quote.
    DoubleQuote,
    /// `'a','b'` with `''` for each quote.
    SqlString,
    /// Several values as a list of JSON.
    Json,
    /// Several values as `a + b`.
    Text,
}

impl Format {
    /// A format by its name in a text.
    ///
    /// # Errors
    /// When the name is of no format that is supported here; Grafana would use `glob`.
    pub fn named(name: &str, variable: &str) -> Result<Self, ExpandError> {
        Ok(match name {
            "glob" => Self::Glob,
            "csv" => Self::Csv,
            "raw" => Self::Raw,
            "pipe" => Self::Pipe,
            "regex" => Self::Regex,
            "percentencode" => Self::PercentEncode,
            "queryparam" => Self::QueryParam,
            "singlequote" => Self::SingleQuote,
            "doublequote" => Self::DoubleQuote,
            "sqlstring" => Self::SqlString,
            "json" => Self::Json,
            "text" => Self::Text,
            _ => {
                return Err(ExpandError::UnknownFormat {
                    name: variable.to_owned(),
                    format: name.to_owned(),
                });
            }
        })
    }

    /// The values of a variable in this format. One value is that of a variable with a single value.
    #[must_use]
    pub fn write(self, name: &str, values: &[String]) -> String {
        let joined = |separator: &str| values.join(separator);
        let quoted = |quote: char, escaped: &str| {
            let value = |value: &String| format!("{quote}{}{quote}", value.replace(quote, escaped));
            values.iter().map(value).collect::<Vec<_>>().join(",")
        };
        let several = values.len() > 1;
        match self {
            Self::Glob if several => format!("{{{}}}", joined(",")),
            Self::Quoted if several => format!("'{}'", joined("','")),
            Self::Json if several => serde_json::Value::from(values).to_string(),
            Self::PercentEncode if several => percent_encoded(&format!("{{{}}}", joined(","))),
            Self::PercentEncode => percent_encoded(&joined("")),
            Self::QueryParam if values.is_empty() => format!("var-{name}="),
            Self::QueryParam => {
                let pair = |value: &String| format!("var-{name}={}", percent_encoded(value));
                values.iter().map(pair).collect::<Vec<_>>().join("&")
            }
            Self::Pipe => joined("|"),
            Self::Regex if several => format!("({})", escaped_values(values).join("|")),
            Self::Regex => escaped_values(values).concat(),
            Self::Promql => joined(",").replace('\\', r"\\").replace('\'', r"\\'"),
            Self::SingleQuote => quoted('\'', "\\'"),
            Self::DoubleQuote => quoted('"', "\\\""),
            Self::SqlString => quoted('\'', "''").replace('"', "\\\""),
            Self::Text => joined(" + "),
            Self::Glob | Self::Quoted | Self::Json | Self::Csv | Self::Raw => joined(","),
        }
    }
}

/// Values with a backslash before each sign that means something in a regular expression.
fn escaped_values(values: &[String]) -> Vec<String> {
    let escaped = |value: &String| {
        value.chars().fold(String::new(), |mut escaped, letter| {
            if r"\^$*+?.()|[]{}/".contains(letter) {
                escaped.push('\\');
            }
            escaped.push(letter);
            escaped
        })
    };
    values.iter().map(escaped).collect()
}

/// Encodes all bytes but letters, digits and `-_.~`, as Grafana's `percentencode` does.
#[must_use]
pub fn percent_encoded(text: &str) -> String {
    text.bytes().fold(String::new(), |mut encoded, byte| {
        match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'_' | b'.' | b'~' => {
                encoded.push(char::from(byte));
            }
            // Writing to a text does not fail.
            other => drop(write!(encoded, "%{other:02X}")),
        }
        encoded
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_syntax_of_a_variable_is_found() {
        let text = "$a ${b} ${c:percentencode} [[d]] [[e:raw]] ${__data.fields.country:percentencode} \
            ${f:date:YYYY-MM} $ $- ${} ${g [x] $1";
        let found: Vec<_> = references(text)
            .iter()
            .map(|found| (found.name, found.path, found.format, &text[found.range.clone()]))
            .collect();
        assert_eq!(
            found,
            [
                ("a", None, None, "$a"),
                ("b", None, None, "${b}"),
                ("c", None, Some("percentencode"), "${c:percentencode}"),
                ("d", None, None, "[[d]]"),
                ("e", None, Some("raw"), "[[e:raw]]"),
                (
                    "__data",
                    Some("fields.country"),
                    Some("percentencode"),
                    "${__data.fields.country:percentencode}"
                ),
                ("f", None, Some("date:YYYY-MM"), "${f:date:YYYY-MM}"),
                ("1", None, None, "$1"),
            ]
        );
    }

    #[test]
    fn values_are_written_as_grafana_formats_them() {
        let one = ["it's \"b\"\\".to_owned()];
        let two = ["a'".to_owned(), "b,c".to_owned()];
        for (name, single, several) in [
            ("glob", r#"it's "b"\"#, "{a',b,c}"),
            ("csv", r#"it's "b"\"#, "a',b,c"),
            ("raw", r#"it's "b"\"#, "a',b,c"),
            ("pipe", r#"it's "b"\"#, "a'|b,c"),
            ("regex", r#"it's "b"\\"#, "(a'|b,c)"),
            ("percentencode", "it%27s%20%22b%22%5C", "%7Ba%27%2Cb%2Cc%7D"),
            ("queryparam", "var-v=it%27s%20%22b%22%5C", "var-v=a%27&var-v=b%2Cc"),
            ("singlequote", r#"'it\'s "b"\'"#, r"'a\'','b,c'"),
            ("doublequote", r#""it's \"b\"\""#, r#""a'","b,c""#),
            ("sqlstring", r#"'it''s \"b\"\'"#, "'a''','b,c'"),
            ("json", r#"it's "b"\"#, r#"["a'","b,c"]"#),
            ("text", r#"it's "b"\"#, "a' + b,c"),
        ] {
            let format = Format::named(name, "v").unwrap();
            assert_eq!(format.write("v", &one), single, "{name}");
            assert_eq!(format.write("v", &two), several, "{name}");
        }
        assert_eq!(Format::Quoted.write("v", &two), "'a'','b,c'");
        assert_eq!(Format::Promql.write("v", &one), r#"it\\'s "b"\\"#);
        assert_eq!(Format::Regex.write("v", &["a.b/c".to_owned()]), r"a\.b\/c");
        assert_eq!(Format::QueryParam.write("v", &[]), "var-v=");
        assert!(Format::named("lucene2", "v").is_err());
    }

    #[test]
    fn an_encoded_value_holds_nothing_that_ends_a_literal() {
        for text in
            ["a'b\\c%d\"<script>", "') OR 1=1 --", "\\", "ü\u{1F600}", "!*()'", "{x,y}$__all"]
        {
            let encoded = percent_encoded(text);
            let safe = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.~%".contains(&byte);
            assert!(encoded.bytes().all(safe), "{encoded}");
        }
        assert_eq!(percent_encoded("ü!*'()"), "%C3%BC%21%2A%27%28%29");
    }
}
