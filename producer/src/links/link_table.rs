//! The link table: all links of a host in memory, found by domain and slug without a lock.
//!
//! It is a hash table of small buckets: a change replaces one bucket by a changed copy, which has about
//! 5 KiB among a million links. A reader keeps the bucket in which it found its link.

#[cfg(test)]
mod tests;

use std::hash::BuildHasher as _;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use arc_swap::ArcSwap;
use foldhash::quality::RandomState;

use crate::links::link::{Link, LinkBucket, is};
use crate::links::link_entry::{LinkEntry, SLUG_BYTES_MAX};
use crate::links::slug_case::SlugCase;
use crate::links::target;
use crate::links::topic_versions::TopicVersions;
use crate::route::canonical;
use service::lock::lock;

/// With a million links, each bucket has about sixty.
const BUCKETS: usize = 1 << 14;

/// Most redirects within one host for one visitor.
const HOPS_MAX: usize = 10;

/// The meaning of a slug at one moment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Resolution {
    /// It redirects by this link.
    Redirect(Link),
    /// Its link is switched off.
    Disabled(Link),
    /// Its link has expired.
    Expired(Link),
    /// It has no link.
    Unknown,
    /// It is unknown whether it has a link: the table is not loaded.
    NotYet,
}

/// The result of applying a link.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Applied {
    /// It is now the newest version.
    Newer,
    /// The table has this version already.
    Same,
    /// The table has this version with other content, which stays.
    Differs,
    /// The table has a newer version, which stays.
    Older,
}

/// All links, with their tombstones, so that an older version never replaces a deleted link.
#[derive(Debug)]
pub struct LinkTable {
    buckets: Box<[ArcSwap<LinkBucket>]>,
    hasher: RandomState,
    slug_case: SlugCase,
    /// Links that are not deleted.
    count: AtomicUsize,
    changes: AtomicU64,
    /// Whether the table holds the topic to its end, so that no other link exists.
    loaded: AtomicBool,
    /// Held during a change.
    writing: Mutex<()>,
}

impl Default for LinkTable {
    fn default() -> Self {
        Self::new(SlugCase::default())
    }
}

impl LinkTable {
    /// An empty table.
    pub fn new(slug_case: SlugCase) -> Self {
        let empty = Arc::new(LinkBucket::default());
        Self {
            buckets: (0..BUCKETS).map(|_| ArcSwap::new(Arc::clone(&empty))).collect(),
            hasher: RandomState::default(),
            slug_case,
            count: AtomicUsize::new(0),
            changes: AtomicU64::new(0),
            loaded: AtomicBool::new(false),
            writing: Mutex::new(()),
        }
    }

    /// Whether its slugs are case-sensitive.
    pub fn slug_case(&self) -> SlugCase {
        self.slug_case
    }

    /// Stores a version of a link, unless it has a newer one.
    pub fn apply(&self, link: Link) -> Applied {
        let writing = lock(&self.writing);
        let known = self.known(&link);
        match known.as_ref().map_or(i64::MIN, Link::version).cmp(&link.version()) {
            std::cmp::Ordering::Less => {}
            std::cmp::Ordering::Equal if known.as_ref() == Some(&link) => return Applied::Same,
            std::cmp::Ordering::Equal => return Applied::Differs,
            std::cmp::Ordering::Greater => return Applied::Older,
        }
        self.change(&link, known.as_ref(), true);
        drop(writing);
        Applied::Newer
    }

    /// Stores a link, in place of any version of it.
    pub fn put(&self, link: Link) {
        let writing = lock(&self.writing);
        self.change(&link, self.known(&link).as_ref(), true);
        drop(writing);
    }

    /// Removes each link for which `keep` returns false.
    pub fn retain(&self, keep: impl Fn(&Link) -> bool) {
        let writing = lock(&self.writing);
        for bucket in &self.buckets {
            let bucket = bucket.load_full();
            let links = bucket.index.iter().map(|(_, at)| Link::on(&bucket, *at));
            links
                .filter(|link| !keep(link))
                .for_each(|link| self.change(&link, Some(&link), false));
        }
        drop(writing);
    }

    /// Whether the table has exactly this link.
    pub fn holds(&self, link: &Link) -> bool {
        self.known(link).as_ref() == Some(link)
    }

    fn known(&self, link: &Link) -> Option<Link> {
        self.newest(link.domain(), link.slug())
    }

    /// The newest version of a link, also a tombstone.
    fn newest(&self, domain: &str, slug: &str) -> Option<Link> {
        let hash = self.hash(domain, slug);
        find(&self.bucket(hash).load_full(), hash, domain, slug)
    }

    /// Replaces or removes a link. The caller holds `writing`.
    fn change(&self, link: &Link, known: Option<&Link>, stays: bool) {
        let hash = self.hash(link.domain(), link.slug());
        let location = self.bucket(hash);
        let lived = known.is_some_and(|known| !known.is_deleted());
        let lives = stays && !link.is_deleted();
        location.store(Arc::new(with(&location.load_full(), hash, link, stays)));
        let count = self.count() + usize::from(lives) - usize::from(lived);
        self.count.store(count, Ordering::Relaxed);
        self.changes.fetch_add(1, Ordering::Relaxed);
    }

    /// Marks the table as loaded: no other link exists.
    pub fn set_loaded(&self) {
        self.loaded.store(true, Ordering::Release);
    }

    /// Whether the table is loaded.
    pub fn is_loaded(&self) -> bool {
        self.loaded.load(Ordering::Acquire)
    }

    /// The link of a requested slug, in any state: first one of the domain, then one of any domain. If no
    /// link has the requested spelling, it looks for the [`canonical`] one.
    pub fn named(&self, domain: Option<&str>, slug: &str) -> Option<Link> {
        self.spelled(domain, slug).or_else(|| {
            let canonical = canonical(slug);
            (canonical != slug).then(|| self.spelled(domain, &canonical)).flatten()
        })
    }

    fn spelled(&self, domain: Option<&str>, slug: &str) -> Option<Link> {
        let of = |domain: &str| {
            let hash = self.hash(domain, slug);
            let bucket = self.bucket(hash).load();
            let exact = find(&bucket, hash, domain, slug).filter(|link| !link.is_deleted());
            match self.slug_case {
                SlugCase::Sensitive => exact,
                SlugCase::Insensitive => exact.or_else(|| only(&bucket, hash, domain, slug)),
            }
        };
        domain.filter(|domain| !domain.is_empty()).and_then(of).or_else(|| of(""))
    }

    /// Whether slugs are case-insensitive and the slug of another link differs from this one only in case.
    /// Only the exact spellings of such slugs are found.
    pub fn collides(&self, link: &Link) -> bool {
        let (domain, slug) = (link.domain(), link.slug());
        let hash = self.hash(domain, slug);
        let bucket = self.bucket(hash).load();
        self.slug_case == SlugCase::Insensitive
            && !link.is_deleted()
            && spellings(&bucket, hash, domain, slug).any(|other| other.slug() != slug)
    }

    /// Whether a visitor of `domain` and `port` (`None` for that of the scheme) who follows the link is
    /// still on this host after [`HOPS_MAX`] redirects: the link leads to itself, or to links that lead to
    /// each other.
    pub fn is_ring(&self, link: &Link, domain: &str, port: Option<u16>, now: i64) -> bool {
        let mut next = self.next_on(link, domain, port, now);
        for _ in 1..HOPS_MAX {
            let Some(link) = next else { return false };
            next = self.next_on(&link, domain, port, now);
        }
        next.is_some()
    }

    /// The link of `domain` to which a visitor who follows `link` is redirected.
    fn next_on(&self, link: &Link, domain: &str, port: Option<u16>, now: i64) -> Option<Link> {
        let slug = target::slug_on(link.target(), domain, port)?;
        match self.resolve(Some(domain), slug, now) {
            Resolution::Redirect(next) => Some(next),
            Resolution::Disabled(_)
            | Resolution::Expired(_)
            | Resolution::Unknown
            | Resolution::NotYet => None,
        }
    }

    /// The meaning of a slug at `now`, microseconds since 1970.
    pub fn resolve(&self, domain: Option<&str>, slug: &str, now: i64) -> Resolution {
        // Read first, so that a link which arrived before the table was loaded is found below.
        let loaded = self.is_loaded();
        match self.named(domain, slug) {
            None if loaded => Resolution::Unknown,
            None => Resolution::NotYet,
            Some(link) if link.is_disabled() => Resolution::Disabled(link),
            Some(link) if link.expires_at().is_some_and(|at| at <= now) => {
                Resolution::Expired(link)
            }
            Some(link) => Resolution::Redirect(link),
        }
    }

    /// Number of links that are not deleted.
    pub fn count(&self) -> usize {
        self.count.load(Ordering::Relaxed)
    }

    /// Number of changes of the table.
    pub fn changes(&self) -> u64 {
        self.changes.load(Ordering::Relaxed)
    }

    /// Passes each link to `take`, also tombstones. A link that changes meanwhile is passed in its old or its
    /// new state.
    pub fn for_each<E>(&self, mut take: impl FnMut(&Link) -> Result<(), E>) -> Result<(), E> {
        for bucket in &self.buckets {
            let bucket = bucket.load_full();
            bucket.index.iter().try_for_each(|(_, at)| take(&Link::on(&bucket, *at)))?;
        }
        Ok(())
    }

    /// The hash of a name; equal slugs have equal hashes. No link has a slug longer than the buffer.
    fn hash(&self, domain: &str, slug: &str) -> u64 {
        match self.slug_case {
            SlugCase::Sensitive => self.hasher.hash_one((domain, slug)),
            SlugCase::Insensitive => self.folded_hash(domain, slug),
        }
    }

    fn folded_hash(&self, domain: &str, slug: &str) -> u64 {
        let mut buffer = [0; SLUG_BYTES_MAX];
        match buffer.get_mut(..slug.len()) {
            Some(folded) => {
                folded.copy_from_slice(slug.as_bytes());
                folded.make_ascii_lowercase();
                self.hasher.hash_one((domain, &*folded))
            }
            None => self.hasher.hash_one((domain, slug)),
        }
    }

    /// The bucket of a hash, by other bits than those of the order within a bucket.
    fn bucket(&self, hash: u64) -> &ArcSwap<LinkBucket> {
        #[expect(clippy::expect_used, reason = "an internal invariant")]
        let index = usize::try_from((hash >> 32) % BUCKETS as u64).expect("below BUCKETS");
        &self.buckets[index]
    }
}

impl TopicVersions for LinkTable {
    fn superseding(&self, entry: &LinkEntry) -> Option<i64> {
        let known = self.newest(&entry.domain, &entry.slug)?;
        let superseded = match known.version().cmp(&entry.version) {
            std::cmp::Ordering::Less => false,
            std::cmp::Ordering::Equal => Link::of(entry).as_ref() != Some(&known),
            std::cmp::Ordering::Greater => true,
        };
        superseded.then(|| known.version())
    }
}

/// The half of a hash by which a bucket is sorted.
#[expect(clippy::expect_used, reason = "an internal invariant")]
fn low(hash: u64) -> u32 {
    u32::try_from(hash & u64::from(u32::MAX)).expect("the upper half is masked")
}

fn find(bucket: &Arc<LinkBucket>, hash: u64, domain: &str, slug: &str) -> Option<Link> {
    let mut found = of_hash(bucket, hash).filter(|at| is(bucket.link(*at), domain, slug));
    found.next().map(|at| Link::on(bucket, at))
}

/// Where the links with this hash begin.
fn of_hash(bucket: &LinkBucket, hash: u64) -> impl Iterator<Item = u32> {
    let from = bucket.index.partition_point(|(known, _)| *known < low(hash));
    let same = bucket.index[from..].iter().take_while(move |(known, _)| *known == low(hash));
    same.map(|(_, at)| *at)
}

/// The links that are not deleted and whose slugs differ from this one at most in case.
fn spellings<'a>(
    bucket: &'a Arc<LinkBucket>,
    hash: u64,
    domain: &'a str,
    slug: &'a str,
) -> impl Iterator<Item = Link> + 'a {
    let links = of_hash(bucket, hash).map(|at| Link::on(bucket, at));
    links.filter(move |link| {
        !link.is_deleted()
            && link.domain() == domain
            && SlugCase::Insensitive.same(link.slug(), slug)
    })
}

/// The only link whose slug differs from this one at most in case; `None` if there are several.
fn only(bucket: &Arc<LinkBucket>, hash: u64, domain: &str, slug: &str) -> Option<Link> {
    let mut links = spellings(bucket, hash, domain, slug);
    links.next().filter(|_| links.next().is_none())
}

/// A copy of a bucket, with the link in it or without it.
fn with(bucket: &LinkBucket, hash: u64, link: &Link, stays: bool) -> LinkBucket {
    let new = (low(hash), link.as_bytes());
    let kept = bucket.index.iter().map(|(known, at)| (*known, bucket.link(*at)));
    let others =
        kept.filter(|(known, bytes)| *known != new.0 || !is(bytes, link.domain(), link.slug()));
    let mut links: Vec<_> = others.collect();
    if stays {
        links.insert(links.partition_point(|(known, _)| *known < new.0), new);
    }
    let mut bytes = Vec::with_capacity(links.iter().map(|(_, bytes)| bytes.len()).sum());
    let index = links.into_iter().map(|(known, link)| {
        #[expect(clippy::expect_used, reason = "an internal invariant")]
        let at = u32::try_from(bytes.len()).expect("a bucket is smaller than four GiB");
        bytes.extend_from_slice(link);
        (known, at)
    });
    let index = index.collect();
    LinkBucket { bytes: bytes.into(), index }
}
