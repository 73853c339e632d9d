//! The parameters of a query, in every spelling in which links carry them.
//!
//! A name counts in any case. Besides `&`, these separate two parameters where the name of a known one
//! and `=` follow: a second `?` (appended to an address that had one), `;` (`&amp;` of a page's source),
//! and `%3F`, `%26`, `%3B` (encoded twice). Elsewhere they are part of a value.

use std::borrow::Cow;

use url::form_urlencoded;

/// Bytes of the longest name that is looked for after such a separator.
const NAME_BYTES_MAX: usize = 40;
/// The text after the `&` of an ampersand in a page's source.
const ENTITIES: [&str; 4] = ["amp;", "amp%3B", "amp%3b", "#38;"];

/// Name and value of each parameter of `query`: the name decoded and in lower case, the value as sent.
/// `is_known` returns whether a name is known.
pub(super) fn parameters<'q>(
    query: &'q str,
    is_known: impl Fn(&str) -> bool,
) -> impl Iterator<Item = (Cow<'q, str>, &'q str)> {
    let mut parts = query.split('&');
    let mut rest = None;
    std::iter::from_fn(move || {
        let (parameter, after) = split(rest.take().or_else(|| parts.next())?, &is_known);
        rest = after;
        let (name, value) = parameter.split_once('=').unwrap_or((parameter, ""));
        Some((plain_name(name), value))
    })
}

/// Splits before the first known parameter that another separator than `&` begins.
fn split(text: &str, is_known: impl Fn(&str) -> bool) -> (&str, Option<&str>) {
    for (at, _) in text.match_indices(['?', ';', '%']) {
        let length = match &text.as_bytes()[at..] {
            [b'?' | b';', ..] => 1,
            [b'%', b'3', b'f' | b'F' | b'b' | b'B', ..] | [b'%', b'2', b'6', ..] => 3,
            _ => continue,
        };
        let rest = &text[at + length..];
        let entity = ENTITIES.iter().find_map(|entity| rest.strip_prefix(entity));
        let rest = entity.unwrap_or(rest);
        let end = rest.bytes().take(NAME_BYTES_MAX).position(|byte| byte == b'=');
        if end.is_some_and(|end| is_known(&plain_name(&rest[..end]))) {
            return (&text[..at], Some(rest));
        }
    }
    (text, None)
}

fn plain_name(name: &str) -> Cow<'_, str> {
    let name = decoded(name);
    let is_plain = |byte: u8| !byte.is_ascii_uppercase() && !byte.is_ascii_whitespace();
    if name.bytes().all(is_plain) { name } else { Cow::Owned(name.trim().to_ascii_lowercase()) }
}

/// A name or a value without its escapes.
pub(super) fn decoded(text: &str) -> Cow<'_, str> {
    if !text.contains(['%', '+']) {
        return Cow::Borrowed(text);
    }
    // The text has no `&`: it is one name or one value.
    form_urlencoded::parse(text.as_bytes()).next().map_or(Cow::Borrowed(""), |(name, rest)| {
        if rest.is_empty() { name } else { Cow::Owned(format!("{name}={rest}")) }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn all(query: &str) -> Vec<(String, String)> {
        let known = ["utm_source", "utm_medium", "fbclid", "ref"];
        parameters(query, |name| known.contains(&name))
            .filter(|(name, _)| !name.is_empty())
            .map(|(name, value)| (name.into_owned(), value.to_owned()))
            .collect()
    }

    #[test]
    fn another_separator_counts_only_before_a_known_name() {
        for (query, expected) in [
            ("a=1&b", &[("a", "1"), ("b", "")][..]),
            ("a=1?b=2", &[("a", "1?b=2")]),
            ("a=1;b=2", &[("a", "1;b=2")]),
            ("a=1%26b=2", &[("a", "1%26b=2")]),
            ("a=1?ref=2", &[("a", "1"), ("ref", "2")]),
            ("a=1?ref", &[("a", "1?ref")]),
            ("a=what?now&ref=2", &[("a", "what?now"), ("ref", "2")]),
            ("?ref=1?Utm_Source=2", &[("ref", "1"), ("utm_source", "2")]),
            ("ref=1%26amp%3Bfbclid=2", &[("ref", "1"), ("fbclid", "2")]),
            ("u=https%3A%2F%2Fa.example%3Fref%3D1", &[("u", "https%3A%2F%2Fa.example%3Fref%3D1")]),
            ("%%3&%3=%2", &[("%%3", ""), ("%3", "%2")]),
            ("ü=?ü;é%26ref=1", &[("ü", "?ü;é"), ("ref", "1")]),
        ] {
            let expected: Vec<_> = expected
                .iter()
                .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
                .collect();
            assert_eq!(all(query), expected, "{query}");
        }
    }
}
