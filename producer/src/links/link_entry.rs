//! A link entry: a checked link, as the store and JSON lines hold it.
//!
//! Pure: it reads entries from JSON lines and writes them.

use schemas::{LINK_VERSION_MAX, RawLink};
use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::links::target::{self, TargetError};
use crate::route::is_reserved;

/// Longest slug of a link. A request may have a longer one, which no link has.
pub const SLUG_BYTES_MAX: usize = 256;
/// Longest id: a domain, a slash, a slug.
pub const ID_BYTES_MAX: usize = 512;

/// How a link redirects.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Status {
    /// 302: caches do not keep the answer, so each visit is recorded.
    #[default]
    Found,
    /// 301: caches keep the answer for a day, and visits that they answer are not recorded.
    Moved,
}

/// One version of one link.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LinkEntry {
    /// Stable name of the link in analytics.
    pub id: String,
    /// Grows by one with each change.
    pub version: i64,
    /// Host of the link; empty for any host.
    pub domain: String,
    /// Path without the leading slash.
    pub slug: String,
    /// Target of the redirect, checked; empty for a deleted link.
    pub target: String,
    /// Status of the redirect.
    pub status: Status,
    /// Whether it is switched off.
    pub disabled: bool,
    /// Time at which it stops redirecting, microseconds since 1970.
    pub expires_at: Option<i64>,
    /// Whether the visitor's query is appended to the query of the target.
    pub pass_query: bool,
    /// Whether clicks on it record nothing about their visitors, if the operator's policy applies this.
    pub opt_out: bool,
    /// Whether it is a tombstone, which keeps the version of a deleted link.
    pub deleted: bool,
    /// When this version was made, microseconds since 1970.
    pub changed_at: i64,
}

/// The fault of a link as it was entered.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[expect(missing_docs, reason = "the message of each variant describes it")]
pub enum LinkError {
    #[error(
        "not a JSON object of a link, such as {{\"slug\":\"a\",\"url\":\"https://example.com/\"}}: {0}"
    )]
    Json(String),
    #[error("slug {0:?}: use 1 to 256 of a-z A-Z 0-9 - _ . ~ and / (no slash at either end)")]
    Slug(String),
    #[error("slug {0:?} is reserved")]
    Reserved(String),
    #[error("domain {0:?}: use a host name in lower case, without port")]
    Domain(String),
    #[error("id is empty")]
    Id,
    #[error("id {0:?}: use at most 512 bytes, without control characters")]
    IdText(String),
    #[error("version {0}: use a number from 1 to {LINK_VERSION_MAX}")]
    Version(i64),
    #[error(transparent)]
    Target(#[from] TargetError),
    #[error("status {0}: use 302 or 301")]
    Status(u16),
    #[error("expires {0:?}: use a time such as 2027-01-31T12:00:00Z")]
    Expires(String),
    #[error("line {line} has the same slug")]
    Twice { line: u32 },
    #[error(
        "line {line} has a slug that differs only in case, which --slug-case insensitive ignores"
    )]
    TwiceButForCase { line: u32 },
    #[error("cannot be read: {0}")]
    Unreadable(String),
}

/// A link in JSON.
#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct LinkJson {
    slug: String,
    url: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    id: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    version: Option<i64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    domain: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    status: Option<u16>,
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    disabled: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    expires: Option<String>,
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pass_query: bool,
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    opt_out: bool,
}

impl LinkEntry {
    /// Reads one JSON object. The default of the id is domain and slug, and that of the version is the first
    /// one; `changed_at` stays 0.
    ///
    /// # Errors
    /// [`LinkError`].
    pub fn parse(text: &str) -> Result<Self, LinkError> {
        let written: LinkJson =
            serde_json::from_str(text).map_err(|error| LinkError::Json(error.to_string()))?;
        let slug = slug(written.slug)?;
        let domain = domain(written.domain.unwrap_or_default())?;
        let target = target::check(&written.url, &domain, &slug)?;
        let version = match written.version.unwrap_or(1) {
            version @ 1..=LINK_VERSION_MAX => version,
            version => return Err(LinkError::Version(version)),
        };
        Ok(Self {
            id: written.id.map_or_else(|| Ok(named(&domain, &slug)), id)?,
            version,
            target,
            status: written.status.map_or(Ok(Status::Found), Status::parse)?,
            disabled: written.disabled,
            expires_at: written.expires.as_deref().map(expires).transpose()?,
            pass_query: written.pass_query,
            opt_out: written.opt_out,
            deleted: false,
            changed_at: 0,
            domain,
            slug,
        })
    }

    /// The JSON line of the entry, which [`LinkEntry::parse`] reads.
    pub fn line(&self) -> String {
        let own = |text: &String| (!text.is_empty()).then(|| text.clone());
        let written = LinkJson {
            slug: self.slug.clone(),
            url: self.target.clone(),
            id: Some(self.id.clone()),
            version: Some(self.version),
            domain: own(&self.domain),
            status: (self.status != Status::Found).then_some(self.status.code()),
            disabled: self.disabled,
            expires: self.expires_at.map(written_time),
            pass_query: self.pass_query,
            opt_out: self.opt_out,
        };
        serde_json::to_string(&written).unwrap_or_default()
    }

    /// The record of the entry for the topic.
    pub fn raw(&self) -> RawLink<'_> {
        RawLink {
            id: &self.id,
            version: self.version,
            domain: &self.domain,
            slug: &self.slug,
            target: &self.target,
            status: i32::from(self.status.code()),
            disabled: self.disabled,
            expires_at: self.expires_at,
            pass_query: self.pass_query,
            opt_out: self.opt_out,
            deleted: self.deleted,
            changed_at: self.changed_at,
        }
    }

    /// Whether both redirect alike, in any versions.
    pub fn redirects_like(&self, other: &Self) -> bool {
        let facts = |entry: &Self| {
            let LinkEntry { status, disabled, expires_at, pass_query, opt_out, deleted, .. } =
                entry;
            (*status, *disabled, *expires_at, *pass_query, *opt_out, *deleted)
        };
        facts(self) == facts(other) && self.target == other.target
    }
}

impl Status {
    /// The status of 302 or 301.
    ///
    /// # Errors
    /// [`LinkError::Status`] for any other.
    pub fn parse(code: u16) -> Result<Self, LinkError> {
        match code {
            302 => Ok(Self::Found),
            301 => Ok(Self::Moved),
            other => Err(LinkError::Status(other)),
        }
    }

    /// The status code of HTTP.
    pub fn code(self) -> u16 {
        match self {
            Self::Found => 302,
            Self::Moved => 301,
        }
    }
}

/// The version after this one; `None` if this is the last one.
pub fn next_version(version: i64) -> Option<i64> {
    version.checked_add(1).filter(|next| *next <= LINK_VERSION_MAX)
}

/// The id of a link that was entered without one.
pub fn named(domain: &str, slug: &str) -> String {
    match domain {
        "" => slug.to_owned(),
        domain => format!("{domain}/{slug}"),
    }
}

/// Reads a time such as `2027-01-31T12:00:00Z`, in microseconds since 1970.
///
/// # Errors
/// [`LinkError::Expires`].
pub fn expires(text: &str) -> Result<i64, LinkError> {
    let time = text.parse::<jiff::Timestamp>();
    Ok(time.map_err(|_| LinkError::Expires(text.to_owned()))?.as_microsecond())
}

fn written_time(microseconds: i64) -> String {
    jiff::Timestamp::from_microsecond(microseconds).unwrap_or_default().to_string()
}

fn id(id: String) -> Result<String, LinkError> {
    match id.len() {
        0 => Err(LinkError::Id),
        1..=ID_BYTES_MAX if !id.chars().any(char::is_control) => Ok(id),
        _ => Err(LinkError::IdText(id)),
    }
}

fn slug(slug: String) -> Result<String, LinkError> {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.~/".contains(&byte);
    let fits = (1..=SLUG_BYTES_MAX).contains(&slug.len())
        && slug.bytes().all(plain)
        && !slug.starts_with('/')
        && !slug.ends_with('/');
    if !fits {
        Err(LinkError::Slug(slug))
    } else if is_reserved(&slug) {
        Err(LinkError::Reserved(slug))
    } else {
        Ok(slug)
    }
}

fn domain(domain: String) -> Result<String, LinkError> {
    let plain = |byte: u8| {
        byte.is_ascii_lowercase() || byte.is_ascii_digit() || matches!(byte, b'-' | b'.')
    };
    if domain.len() <= 253 && domain.bytes().all(plain) {
        Ok(domain)
    } else {
        Err(LinkError::Domain(domain))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn exported_links_are_imported_unchanged() {
        for line in [
            r#"{"slug":"a","url":"https://example.com/x%20y","id":"a","version":1}"#,
            r#"{"slug":"a/b","url":"http://x/","id":"n","version":9,"domain":"go.example","status":301,"disabled":true,"expires":"2027-01-31T12:00:00Z","pass_query":true,"opt_out":true}"#,
        ] {
            assert_eq!(LinkEntry::parse(line).unwrap().line(), line);
        }
    }

    #[test]
    fn m12_a_version_beyond_the_last_one_is_refused_and_none_follows_it() {
        let parse = |version: &str| {
            LinkEntry::parse(&format!(r#"{{"slug":"a","url":"http://x/","version":{version}}}"#))
        };
        for version in ["9007199254740993", "1152921504606846976", "9223372036854775807", "-1"] {
            let error = parse(version).unwrap_err().to_string();
            assert!(error.contains("from 1 to 9007199254740992"), "{error}");
        }
        // A number of more than 64 bits is refused.
        assert!(matches!(parse("9223372036854775808"), Err(LinkError::Json(_))));
        assert_eq!(parse("9007199254740992").unwrap().version, LINK_VERSION_MAX);
        assert_eq!(next_version(LINK_VERSION_MAX - 1), Some(LINK_VERSION_MAX));
        for last in [LINK_VERSION_MAX, LINK_VERSION_MAX + 1, i64::MAX] {
            assert_eq!(next_version(last), None, "{last}");
        }
    }

    #[test]
    fn x8_an_expiry_is_the_same_moment_in_any_zone() {
        for time in
            ["2027-01-31T12:00:00Z", "2027-01-31T15:00:00+03:00", "2027-01-31T07:00:00-05:00"]
        {
            assert_eq!(expires(time), Ok(1_801_396_800_000_000), "{time}");
        }
    }

    #[test]
    fn x10_a_slug_of_other_characters_is_refused() {
        for slug in ["t\u{f6}", "a b", "a%7Eb", "a/", "/a", "a?b", "a#b", ""] {
            assert!(matches!(super::slug(slug.to_owned()), Err(LinkError::Slug(_))), "{slug}");
        }
    }

    #[test]
    fn a_status_version_or_id_that_cannot_be_is_refused() {
        for (more, part) in [
            (r#""status":307"#, "status 307: use 302 or 301"),
            (r#""version":0"#, "version 0"),
            (r#""id":"a\nb""#, "without control characters"),
        ] {
            let line = format!(r#"{{"slug":"a","url":"http://x/",{more}}}"#);
            let error = LinkEntry::parse(&line).unwrap_err().to_string();
            assert!(error.contains(part), "{error}");
        }
    }
}
