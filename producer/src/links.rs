//! The links a redirect may lead to: read from JSON lines, asked by host and slug.
//!
//! Pure: text in, table out; every line that cannot be a link is an error that
//! names file, line and cause. What a table holds is safe to send in a header.

use std::collections::HashMap;
use std::collections::hash_map::Entry;

use hyper::header::HeaderValue;
use serde::Deserialize;
use thiserror::Error;
use url::Url;

use crate::route::is_reserved;

/// Longest destination, after its escaping.
pub const TARGET_BYTES_MAX: usize = 2048;
/// Longest slug of a link (a request may ask for longer ones, in vain).
pub const SLUG_BYTES_MAX: usize = 256;

/// One short link.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Link {
    /// Stable name of the link in analytics.
    pub id: String,
    /// Grows with each change of the link.
    pub version: i64,
    /// Destination, ready for the header `Location`.
    pub location: HeaderValue,
    /// The same as text.
    pub target: String,
    /// Switched off.
    pub disabled: bool,
    /// Microseconds since 1970 from which on it leads nowhere.
    pub expires_at: Option<i64>,
    /// Its clicks say nothing of their visitors, as far as the operator's policy follows.
    pub opt_out: bool,
}

/// What a slug means at one moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Resolution<'a> {
    /// Go there.
    Redirect(&'a Link),
    /// There is a link, switched off.
    Disabled(&'a Link),
    /// There was a link.
    Expired(&'a Link),
    /// No such link.
    Unknown,
}

/// All links, immutable; a reload makes a new one.
#[derive(Debug, Default, Clone)]
pub struct Links {
    /// By domain (empty: any), then by slug.
    by_domain: HashMap<Box<str>, HashMap<Box<str>, Link>>,
    count: usize,
}

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

/// What is wrong with one line of links.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[expect(missing_docs, reason = "each variant's message says what it is")]
pub enum LinkCause {
    #[error("not a link in JSON, such as {{\"slug\":\"a\",\"url\":\"https://example.com/\"}}: {0}")]
    Json(String),
    #[error("slug {0:?}: use 1 to 256 of a-z A-Z 0-9 - _ . ~ and / (no slash at either end)")]
    Slug(String),
    #[error("slug {0:?} is reserved")]
    Reserved(String),
    #[error("domain {0:?}: use a host name in lower case, without port")]
    Domain(String),
    #[error("id is empty")]
    Id,
    #[error("url {url:?}: {why}")]
    Target { url: String, why: &'static str },
    #[error("expires {0:?}: use a time such as 2027-01-31T12:00:00Z")]
    Expires(String),
    #[error("slug {slug:?} is there already, in line {line}")]
    Twice { slug: String, line: usize },
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Entered {
    slug: String,
    url: String,
    id: Option<String>,
    version: Option<i64>,
    domain: Option<String>,
    #[serde(default)]
    disabled: bool,
    expires: Option<String>,
    #[serde(default)]
    opt_out: bool,
}

impl Links {
    /// Reads one JSON object a line; blank lines and lines that begin with `#` are skipped.
    ///
    /// # Errors
    /// The first line that is not a link.
    pub fn parse(text: &str, file: &str) -> Result<Self, LinkError> {
        let mut links = Self::default();
        let mut lines: HashMap<(Box<str>, Box<str>), usize> = HashMap::new();
        for (line, text) in (1..).zip(text.lines()) {
            let text = text.trim();
            if text.is_empty() || text.starts_with('#') {
                continue;
            }
            let error = |cause| LinkError { file: file.to_owned(), line, cause };
            let (domain, slug, link) = entry(text).map_err(error)?;
            match lines.entry((domain.clone(), slug.clone())) {
                Entry::Occupied(first) => {
                    let cause = LinkCause::Twice { slug: slug.into(), line: *first.get() };
                    return Err(error(cause));
                }
                Entry::Vacant(vacant) => vacant.insert(line),
            };
            links.by_domain.entry(domain).or_default().insert(slug, link);
            links.count += 1;
        }
        Ok(links)
    }

    /// The link of a slug, whatever its state: the domain's own first, then any domain's.
    pub fn named(&self, domain: Option<&str>, slug: &str) -> Option<&Link> {
        let of = |domain: &str| self.by_domain.get(domain)?.get(slug);
        domain.and_then(of).or_else(|| of(""))
    }

    /// What a slug means at `now` (microseconds since 1970).
    pub fn resolve(&self, domain: Option<&str>, slug: &str, now: i64) -> Resolution<'_> {
        match self.named(domain, slug) {
            None => Resolution::Unknown,
            Some(link) if link.disabled => Resolution::Disabled(link),
            Some(link) if link.expires_at.is_some_and(|at| at <= now) => Resolution::Expired(link),
            Some(link) => Resolution::Redirect(link),
        }
    }

    /// How many there are.
    pub fn count(&self) -> usize {
        self.count
    }
}

fn entry(text: &str) -> Result<(Box<str>, Box<str>, Link), LinkCause> {
    let entered: Entered =
        serde_json::from_str(text).map_err(|error| LinkCause::Json(error.to_string()))?;
    let slug = slug(entered.slug)?;
    let domain = domain(entered.domain.unwrap_or_default())?;
    let (target, location) = target(&entered.url)?;
    let id = match (entered.id, domain.as_str()) {
        (Some(id), _) if id.is_empty() => return Err(LinkCause::Id),
        (Some(id), _) => id,
        (None, "") => slug.clone(),
        (None, domain) => format!("{domain}/{slug}"),
    };
    let expires_at = entered.expires.map(expires).transpose()?;
    let version = entered.version.unwrap_or(1);
    let Entered { disabled, opt_out, .. } = entered;
    let link = Link { id, version, location, target, disabled, expires_at, opt_out };
    Ok((domain.into(), slug.into(), link))
}

fn slug(slug: String) -> Result<String, LinkCause> {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.~/".contains(&byte);
    let fits = (1..=SLUG_BYTES_MAX).contains(&slug.len())
        && slug.bytes().all(plain)
        && !slug.starts_with('/')
        && !slug.ends_with('/');
    match fits {
        true if is_reserved(&slug) => Err(LinkCause::Reserved(slug)),
        true => Ok(slug),
        false => Err(LinkCause::Slug(slug)),
    }
}

fn domain(domain: String) -> Result<String, LinkCause> {
    let plain = |byte: u8| {
        byte.is_ascii_lowercase() || byte.is_ascii_digit() || matches!(byte, b'-' | b'.')
    };
    match domain.len() <= 253 && domain.bytes().all(plain) {
        true => Ok(domain),
        false => Err(LinkCause::Domain(domain)),
    }
}

/// Checks a destination and writes it as the URL standard does (punycode, escapes).
fn target(given: &str) -> Result<(String, HeaderValue), LinkCause> {
    let error = |why| LinkCause::Target { url: given.to_owned(), why };
    // The URL parser drops line ends without a word; a target that has one is not what it seems.
    if given.chars().any(char::is_control) {
        return Err(error("has a control character"));
    }
    let url = Url::parse(given).map_err(|_| error("is not an absolute URL"))?;
    if !matches!(url.scheme(), "http" | "https") {
        return Err(error("only http and https are allowed"));
    }
    if !url.username().is_empty() || url.password().is_some() {
        return Err(error("a user name or password is not allowed"));
    }
    if url.host_str().is_none_or(str::is_empty) {
        return Err(error("has no host"));
    }
    let text = String::from(url);
    if text.len() > TARGET_BYTES_MAX {
        return Err(error("is longer than 2048 bytes"));
    }
    let location = HeaderValue::from_str(&text).map_err(|_| error("does not fit into a header"))?;
    Ok((text, location))
}

fn expires(text: String) -> Result<i64, LinkCause> {
    let time = text.parse::<jiff::Timestamp>().map_err(|_| LinkCause::Expires(text))?;
    Ok(time.as_microsecond())
}

#[cfg(test)]
mod tests {
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
            Resolution::Redirect(link) => format!("{} {}", link.id, link.version),
            Resolution::Disabled(link) => format!("disabled {}", link.id),
            Resolution::Expired(link) => format!("expired {}", link.id),
            Resolution::Unknown => "unknown".to_owned(),
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
        assert_eq!(link.expires_at, Some(1_577_836_800_000_000));
        assert_eq!(links.named(None, "a").unwrap().location, "https://example.com/x%20y?q=%C3%BC");
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
