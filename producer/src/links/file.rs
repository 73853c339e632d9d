//! A file of links: JSON lines, read whole or not at all.
//!
//! Pure: text in, entries out; every line that cannot be a link is an error that names file, line
//! and cause.

use std::collections::HashMap;
use std::collections::hash_map::Entry as Place;

use thiserror::Error;

use super::entry::{Entry, LinkCause};
use super::{Link, Links};

/// Why a file of links cannot be used. Nothing of it is.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("{file}:{line}: {cause}")]
pub struct LinkError {
    /// As given.
    pub file: String,
    /// Counted from 1.
    pub line: usize,
    /// What is wrong with it.
    pub cause: LinkCause,
}

/// Reads one JSON object a line; blank lines and lines that begin with `#` are skipped.
///
/// # Errors
/// The first line that is not a link, or whose slug stood there before.
pub fn entries(text: &str, file: &str) -> Result<Vec<Entry>, LinkError> {
    let mut entries = Vec::new();
    let mut lines: HashMap<(String, String), usize> = HashMap::new();
    for (line, text) in (1..).zip(text.lines()) {
        let text = text.trim();
        if text.is_empty() || text.starts_with('#') {
            continue;
        }
        let error = |cause| LinkError { file: file.to_owned(), line, cause };
        let entry = Entry::parse(text).map_err(error)?;
        match lines.entry((entry.domain.clone(), entry.slug.clone())) {
            Place::Occupied(first) => {
                let cause = LinkCause::Twice { slug: entry.slug, line: *first.get() };
                return Err(error(cause));
            }
            Place::Vacant(vacant) => vacant.insert(line),
        };
        entries.push(entry);
    }
    Ok(entries)
}

impl Links {
    /// A table of the links of a file, and of no others.
    ///
    /// # Errors
    /// As [`entries`].
    pub fn parse(text: &str, file: &str) -> Result<Self, LinkError> {
        let links = Self::default();
        for link in entries(text, file)?.iter().filter_map(Link::of) {
            links.apply(link);
        }
        links.set_whole();
        Ok(links)
    }
}

#[cfg(test)]
mod tests {
    use super::super::Resolution;
    use super::*;

    const FILE: &str = r#"
# a comment
{"slug":"a","url":"https://example.com/x y?q=ü"}
{"slug":"a","url":"https://go.example/","domain":"go.example","id":"go-a","version":7}
{"slug":"off","url":"http://x/","disabled":true}
{"slug":"old/one","url":"http://x/","expires":"2020-01-01T00:00:00Z"}
"#;

    #[test]
    fn a_slug_means_its_link_on_its_domain() {
        let links = Links::parse(FILE, "f").unwrap();
        assert_eq!(links.count(), 4);
        let id = |domain, slug| match links.resolve(domain, slug, 1_600_000_000_000_000) {
            Resolution::Redirect(link) => format!("{} {}", link.id(), link.version()),
            Resolution::Disabled(link) => format!("disabled {}", link.id()),
            Resolution::Expired(link) => format!("expired {}", link.id()),
            Resolution::Unknown => "unknown".to_owned(),
            Resolution::NotYet => "not yet".to_owned(),
        };
        for (domain, slug, meaning) in [
            (None, "a", "a 1"),
            (Some("other.example"), "a", "a 1"),
            (Some("go.example"), "a", "go-a 7"),
            (Some("go.example"), "off", "disabled off"),
            (None, "old/one", "expired old/one"),
            (None, "A", "unknown"),
            (None, "", "unknown"),
        ] {
            assert_eq!(id(domain, slug), meaning, "{domain:?} {slug}");
        }
        let Resolution::Redirect(link) = links.resolve(None, "old/one", 0) else { panic!() };
        assert_eq!(link.expires_at(), Some(1_577_836_800_000_000));
        let target = "https://example.com/x%20y?q=%C3%BC";
        assert_eq!(links.named(None, "a").unwrap().target(), target);
    }

    #[test]
    fn a_line_that_is_no_link_is_named_with_its_cause() {
        let with = |url: &str| format!(r#"{{"slug":"a","url":"{url}"}}"#);
        for (line, part) in [
            ("{".to_owned(), "not a link in JSON"),
            (r#"{"slug":"a"}"#.to_owned(), "missing field `url`"),
            (r#"{"slug":"a","url":"http://x/","extra":1}"#.to_owned(), "unknown field `extra`"),
            (r#"{"slug":"a b","url":"http://x/"}"#.to_owned(), "slug \"a b\""),
            (r#"{"slug":"/a","url":"http://x/"}"#.to_owned(), "no slash"),
            (r#"{"slug":"robots.txt","url":"http://x/"}"#.to_owned(), "is reserved"),
            (r#"{"slug":"a","url":"http://x/","domain":"A:80"}"#.to_owned(), "domain \"A:80\""),
            (r#"{"slug":"a","url":"http://x/","id":""}"#.to_owned(), "id is empty"),
            (r#"{"slug":"a","url":"http://x/","expires":"soon"}"#.to_owned(), "expires \"soon\""),
            (with("javascript:alert(1)"), "only http and https"),
            (with("//x/"), "not an absolute URL"),
            (with("https://bank.example@evil.example/"), "user name"),
            (with("https://x/\\r\\nSet-Cookie: a"), "control character"),
            (with(&format!("https://x/{}", "a".repeat(2048))), "2048"),
            (with(&format!("https://x/{}", "ü".repeat(400))), "2048"),
        ] {
            let error = Links::parse(&format!("\n{line}\n"), "links.jsonl").unwrap_err();
            let text = error.to_string();
            assert!(text.starts_with("links.jsonl:2: ") && text.contains(part), "{text}");
        }
    }

    #[test]
    fn a_slug_that_stands_twice_is_named_with_both_lines() {
        let text = "{\"slug\":\"a\",\"url\":\"http://x/\"}\n".repeat(2);
        let error = Links::parse(&text, "f").unwrap_err();
        assert_eq!(error.to_string(), "f:2: slug \"a\" is there already, in line 1");
    }
}
