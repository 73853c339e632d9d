//! A link in memory: bytes in a bucket that it shares with other links.
//!
//! Pure. It takes little memory: a bucket is one allocation, and an id that is derived from domain and
//! slug takes no bytes.

use std::sync::Arc;

use schemas::RawLink;

use crate::links::link_entry::{ID_BYTES_MAX, LinkEntry, SLUG_BYTES_MAX, Status, named};
use crate::links::target::TARGET_BYTES_MAX;

/// Bytes of version, expiry, flags, and the lengths of domain, slug, id and target.
const HEAD: usize = 8 + 8 + 1 + 1 + 2 + 2 + 2;
const DISABLED: u8 = 1;
const MOVED: u8 = 2;
const PASS_QUERY: u8 = 4;
const DELETED: u8 = 8;
const EXPIRES: u8 = 16;
const OPT_OUT: u8 = 32;
const DOMAIN_BYTES_MAX: usize = 253;

/// The links of one bucket of the table, one after the other.
#[derive(Debug, Default)]
pub(super) struct LinkBucket {
    /// The encoded links.
    pub(super) bytes: Box<[u8]>,
    /// The hash of the name of each link, and where the link begins; ordered by hash.
    pub(super) index: Box<[(u32, u32)]>,
}

/// One version of one link; clones share it.
#[derive(Clone)]
pub struct Link {
    bucket: Arc<LinkBucket>,
    at: u32,
}

impl std::fmt::Debug for Link {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} {} {}", self.id(), self.version(), self.target())
    }
}

impl PartialEq for Link {
    fn eq(&self, other: &Self) -> bool {
        self.as_bytes() == other.as_bytes()
    }
}

impl Eq for Link {}

impl Link {
    /// Encodes a link of the topic; `None` if one of its texts is too long, or its version is invalid.
    pub fn new(raw: &RawLink<'_>) -> Option<Self> {
        let derived = named(raw.domain, raw.slug) == raw.id;
        let id = if derived { "" } else { raw.id };
        let fits = raw.domain.len() <= DOMAIN_BYTES_MAX
            && (1..=SLUG_BYTES_MAX).contains(&raw.slug.len())
            && (1..=ID_BYTES_MAX).contains(&raw.id.len())
            && raw.target.len() <= TARGET_BYTES_MAX
            && raw.check().is_ok();
        if !fits {
            return None;
        }
        let flag = |set: bool, flag: u8| if set { flag } else { 0 };
        let flags = flag(raw.disabled, DISABLED)
            | flag(raw.status == i32::from(Status::Moved.code()), MOVED)
            | flag(raw.pass_query, PASS_QUERY)
            | flag(raw.opt_out, OPT_OUT)
            | flag(raw.deleted, DELETED)
            | flag(raw.expires_at.is_some(), EXPIRES);
        let texts = raw.domain.len() + raw.slug.len() + id.len() + raw.target.len();
        let mut bytes = Vec::with_capacity(HEAD + 1 + texts);
        bytes.extend_from_slice(&raw.version.to_le_bytes());
        bytes.extend_from_slice(&raw.expires_at.unwrap_or(0).to_le_bytes());
        bytes.push(flags);
        bytes.push(u8::try_from(raw.domain.len()).ok()?);
        for text in [raw.slug, id, raw.target] {
            bytes.extend_from_slice(&u16::try_from(text.len()).ok()?.to_le_bytes());
        }
        for text in [raw.domain, "/", raw.slug, id, raw.target] {
            bytes.extend_from_slice(text.as_bytes());
        }
        Some(Self::alone(bytes))
    }

    /// The link of a checked entry.
    pub fn of(entry: &LinkEntry) -> Option<Self> {
        Self::new(&entry.raw())
    }

    /// The link in bytes of [`Link::as_bytes`]; `None` if they cannot be a link.
    pub fn from_bytes(bytes: &[u8]) -> Option<Self> {
        let texts = bytes.get(HEAD..)?;
        std::str::from_utf8(texts).ok()?;
        let complete = Ends::of(bytes).target == bytes.len();
        let link = Self::alone(bytes.to_vec());
        (complete && !link.slug().is_empty() && !link.id().is_empty()).then_some(link)
    }

    fn alone(bytes: Vec<u8>) -> Self {
        let bucket = LinkBucket { bytes: bytes.into(), index: Box::default() };
        Self { bucket: Arc::new(bucket), at: 0 }
    }

    /// The link that begins at `at`.
    pub(super) fn on(bucket: &Arc<LinkBucket>, at: u32) -> Self {
        Self { bucket: Arc::clone(bucket), at }
    }

    /// The encoded link.
    pub fn as_bytes(&self) -> &[u8] {
        self.bucket.link(self.at)
    }

    /// Grows with each change of the link.
    pub fn version(&self) -> i64 {
        self.as_bytes().first_chunk().map_or(0, |bytes| i64::from_le_bytes(*bytes))
    }

    /// Host of the link; empty for any host.
    pub fn domain(&self) -> &str {
        text(self.as_bytes(), HEAD, Ends::of(self.as_bytes()).domain)
    }

    /// Path without the leading slash.
    pub fn slug(&self) -> &str {
        let ends = Ends::of(self.as_bytes());
        text(self.as_bytes(), ends.domain + 1, ends.slug)
    }

    /// Stable name of the link in analytics.
    pub fn id(&self) -> &str {
        let (bytes, ends) = (self.as_bytes(), Ends::of(self.as_bytes()));
        match (ends.id - ends.slug, ends.domain - HEAD) {
            (0, 0) => text(bytes, ends.domain + 1, ends.slug),
            (0, _) => text(bytes, HEAD, ends.slug),
            _ => text(bytes, ends.slug, ends.id),
        }
    }

    /// Target of the redirect.
    pub fn target(&self) -> &str {
        let ends = Ends::of(self.as_bytes());
        text(self.as_bytes(), ends.id, ends.target)
    }

    /// Status of the redirect.
    pub fn status(&self) -> Status {
        if self.has(MOVED) { Status::Moved } else { Status::Found }
    }

    /// Whether it is switched off.
    pub fn is_disabled(&self) -> bool {
        self.has(DISABLED)
    }

    /// Whether it is deleted.
    pub fn is_deleted(&self) -> bool {
        self.has(DELETED)
    }

    /// Whether the visitor's query is appended to the query of the target.
    pub fn passes_query(&self) -> bool {
        self.has(PASS_QUERY)
    }

    /// Whether clicks on it record nothing about their visitors, if the operator's policy applies this.
    pub fn opts_out(&self) -> bool {
        self.has(OPT_OUT)
    }

    /// Time at which it stops redirecting, microseconds since 1970.
    pub fn expires_at(&self) -> Option<i64> {
        let bytes = self.as_bytes().get(8..)?.first_chunk()?;
        self.has(EXPIRES).then(|| i64::from_le_bytes(*bytes))
    }

    fn has(&self, flag: u8) -> bool {
        self.as_bytes().get(16).is_some_and(|flags| flags & flag != 0)
    }
}

impl LinkBucket {
    /// The bytes of the link that begins at `at`.
    pub(super) fn link(&self, at: u32) -> &[u8] {
        let from = self.bytes.get(at as usize..).unwrap_or_default();
        from.get(..Ends::of(from).target).unwrap_or(from)
    }
}

/// Whether these bytes are the link of `domain` and `slug`.
pub(super) fn is(link: &[u8], domain: &str, slug: &str) -> bool {
    let ends = Ends::of(link);
    link.get(ends.domain + 1..ends.slug) == Some(slug.as_bytes())
        && link.get(HEAD..ends.domain) == Some(domain.as_bytes())
}

/// Where the texts of a link end. A slash separates domain and slug.
struct Ends {
    domain: usize,
    slug: usize,
    id: usize,
    target: usize,
}

impl Ends {
    fn of(link: &[u8]) -> Self {
        let byte = |at: usize| usize::from(link.get(at).copied().unwrap_or(0));
        let two = |at: usize| byte(at) + (byte(at + 1) << 8);
        let domain = HEAD + byte(17);
        let slug = domain + 1 + two(18);
        let id = slug + two(20);
        Self { domain, slug, id, target: id + two(22) }
    }
}

fn text(link: &[u8], from: usize, to: usize) -> &str {
    let bytes = link.get(from..to).unwrap_or_default();
    std::str::from_utf8(bytes).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_encoded_link_equals_its_entry() {
        for line in [
            r#"{"slug":"a","url":"https://example.com/"}"#,
            r#"{"slug":"a","url":"https://example.com/","domain":"go.example"}"#,
            r#"{"slug":"a/b","url":"http://x/","id":"ü","version":9,"domain":"go.example","status":301,"disabled":true,"expires":"1969-01-31T12:00:00Z","pass_query":true,"opt_out":true}"#,
        ] {
            let mut entry = LinkEntry::parse(line).unwrap();
            for deleted in [false, true] {
                entry.deleted = deleted;
                let link = Link::of(&entry).unwrap();
                assert_eq!(link.id(), entry.id);
                assert_eq!((link.domain(), link.slug()), (&*entry.domain, &*entry.slug));
                assert_eq!((link.target(), link.version()), (&*entry.target, entry.version));
                assert_eq!((link.status(), link.is_disabled()), (entry.status, entry.disabled));
                assert_eq!(link.expires_at(), entry.expires_at);
                assert_eq!(link.passes_query(), entry.pass_query);
                assert_eq!(link.opts_out(), entry.opt_out);
                assert_eq!(link.is_deleted(), deleted);
                assert_eq!(Link::from_bytes(link.as_bytes()), Some(link));
            }
        }
    }

    #[test]
    fn bytes_that_are_no_link_are_refused_and_never_read_beyond_their_end() {
        let entry = LinkEntry::parse(r#"{"slug":"a","url":"https://example.com/"}"#).unwrap();
        let link = Link::of(&entry).unwrap();
        for end in 0..=HEAD + 1 {
            assert_eq!(Link::from_bytes(&link.as_bytes()[..end]), None, "{end}");
        }
        for at in 0..link.as_bytes().len() {
            let mut bytes = link.as_bytes().to_vec();
            bytes[at] ^= 0xff;
            // The fields of any bytes can be read.
            if let Some(link) = Link::from_bytes(&bytes) {
                std::hint::black_box((link.id(), link.slug(), link.target(), link.domain()));
            }
        }
    }
}
