//! The link table: all links of a host in memory, found by domain and slug without a lock.
//!
//! A hash table of small buckets: a change replaces one bucket by a changed copy, some five KiB among
//! a million links. A reader keeps the bucket in which it found its link.

use std::hash::BuildHasher as _;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use arc_swap::ArcSwap;
use foldhash::quality::RandomState;

use crate::links::link::{Link, LinkBucket, is};
use crate::links::link_entry::LinkEntry;
use crate::links::topic_versions::TopicVersions;
use service::lock::lock;

/// With a million links, some sixty in each.
const BUCKETS: usize = 1 << 14;

/// What a slug means at one moment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Resolution {
    /// Go there.
    Redirect(Link),
    /// There is a link, switched off.
    Disabled(Link),
    /// There was a link.
    Expired(Link),
    /// No such link.
    Unknown,
    /// Not known yet: the table is not loaded.
    NotYet,
}

/// The result of applying a link.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Applied {
    /// It is the newest version now.
    Newer,
    /// The table has this version already.
    Same,
    /// The table has this version with other content, which stays.
    Differs,
    /// The table has a newer version, which stays.
    Older,
}

/// All links; tombstones among them, so that an older version never comes back.
#[derive(Debug)]
pub struct LinkTable {
    buckets: Box<[ArcSwap<LinkBucket>]>,
    hasher: RandomState,
    /// Links that are not deleted.
    count: AtomicUsize,
    changes: AtomicU64,
    /// The table holds the topic to its end: what is not here does not exist.
    loaded: AtomicBool,
    /// One change at a time.
    writing: Mutex<()>,
}

impl Default for LinkTable {
    fn default() -> Self {
        let empty = Arc::new(LinkBucket::default());
        Self {
            buckets: (0..BUCKETS).map(|_| ArcSwap::new(Arc::clone(&empty))).collect(),
            hasher: RandomState::default(),
            count: AtomicUsize::new(0),
            changes: AtomicU64::new(0),
            loaded: AtomicBool::new(false),
            writing: Mutex::new(()),
        }
    }
}

impl LinkTable {
    /// Takes a version of a link, unless it has a newer one.
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

    /// Takes a link, whatever version it had.
    pub fn put(&self, link: Link) {
        let writing = lock(&self.writing);
        self.change(&link, self.known(&link).as_ref(), true);
        drop(writing);
    }

    /// Forgets each link that `keep` does not want.
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

    /// The newest version of a link, tombstones too.
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

    /// Marks the table as loaded: a slug that is not here does not exist.
    pub fn set_loaded(&self) {
        self.loaded.store(true, Ordering::Release);
    }

    /// Whether the table is loaded.
    pub fn is_loaded(&self) -> bool {
        self.loaded.load(Ordering::Acquire)
    }

    /// The link of a slug, whatever its state: the domain's own first, then any domain's.
    pub fn named(&self, domain: Option<&str>, slug: &str) -> Option<Link> {
        let of = |domain: &str| {
            let hash = self.hash(domain, slug);
            find(&self.bucket(hash).load(), hash, domain, slug).filter(|link| !link.is_deleted())
        };
        domain.filter(|domain| !domain.is_empty()).and_then(of).or_else(|| of(""))
    }

    /// What a slug means at `now` (microseconds since 1970).
    pub fn resolve(&self, domain: Option<&str>, slug: &str, now: i64) -> Resolution {
        // Read first: a link that came before the table was loaded is then found below.
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

    /// How many there are.
    pub fn count(&self) -> usize {
        self.count.load(Ordering::Relaxed)
    }

    /// How often something changed in it.
    pub fn changes(&self) -> u64 {
        self.changes.load(Ordering::Relaxed)
    }

    /// Every link, tombstones too; what changes meanwhile is there in its old or its new state.
    pub fn for_each<E>(&self, mut take: impl FnMut(&Link) -> Result<(), E>) -> Result<(), E> {
        for bucket in &self.buckets {
            let bucket = bucket.load_full();
            bucket.index.iter().try_for_each(|(_, at)| take(&Link::on(&bucket, *at)))?;
        }
        Ok(())
    }

    fn hash(&self, domain: &str, slug: &str) -> u64 {
        self.hasher.hash_one((domain, slug))
    }

    /// By bits that the order within a bucket does not use.
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

/// The half of a hash by which a bucket is in order.
#[expect(clippy::expect_used, reason = "an internal invariant")]
fn low(hash: u64) -> u32 {
    u32::try_from(hash & u64::from(u32::MAX)).expect("the upper half is masked")
}

fn find(bucket: &Arc<LinkBucket>, hash: u64, domain: &str, slug: &str) -> Option<Link> {
    let from = bucket.index.partition_point(|(known, _)| *known < low(hash));
    let same = bucket.index[from..].iter().take_while(|(known, _)| *known == low(hash));
    let mut found = same.filter(|(_, at)| is(bucket.link(*at), domain, slug));
    found.next().map(|(_, at)| Link::on(bucket, *at))
}

/// A copy of a bucket with the link in it, or without it.
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

#[cfg(test)]
mod tests {
    use schemas::RawLink;

    use super::*;

    fn link(slug: &str, version: i64, deleted: bool) -> Link {
        let target = format!("https://example.com/{version}");
        Link::new(&RawLink {
            id: slug,
            version,
            domain: "",
            slug,
            target: &target,
            status: 302,
            disabled: false,
            expires_at: None,
            pass_query: false,
            opt_out: false,
            deleted,
            changed_at: 0,
        })
        .unwrap()
    }

    #[test]
    fn an_older_version_never_replaces_a_newer_one_deleted_or_not() {
        let links = LinkTable::default();
        links.set_loaded();
        let version = || links.named(None, "a").map(|link| link.version());
        for (number, deleted, applied, seen, count) in [
            (2, false, Applied::Newer, Some(2), 1),
            (1, false, Applied::Older, Some(2), 1),
            (2, false, Applied::Same, Some(2), 1),
            (2, true, Applied::Differs, Some(2), 1),
            (4, true, Applied::Newer, None, 0),
            (3, false, Applied::Older, None, 0),
            (5, false, Applied::Newer, Some(5), 1),
        ] {
            assert_eq!(links.apply(link("a", number, deleted)), applied, "{number}");
            assert_eq!((version(), links.count()), (seen, count), "{number}");
        }
    }

    #[test]
    fn a_slug_is_unknown_only_once_all_links_have_been_read() {
        let links = LinkTable::default();
        links.apply(link("a", 1, false));
        assert!(matches!(links.resolve(None, "a", 0), Resolution::Redirect(_)));
        assert_eq!(links.resolve(None, "b", 0), Resolution::NotYet);
        links.set_loaded();
        assert_eq!(links.resolve(None, "b", 0), Resolution::Unknown);
    }

    #[test]
    fn a_change_among_many_links_copies_a_handful_and_readers_see_one_version_or_the_other() {
        let links = LinkTable::default();
        for number in 0..50_000 {
            links.apply(link(&format!("s{number}"), 1, false));
        }
        links.set_loaded();
        assert_eq!(links.count(), 50_000);
        let largest = links.buckets.iter().map(|bucket| bucket.load().index.len()).max().unwrap();
        assert!(largest < 50, "{largest} links in one bucket");
        std::thread::scope(|scope| {
            let reader = scope.spawn(|| {
                let mut last = 0;
                while last < 2_000 {
                    let found = links.named(None, "s7").unwrap();
                    assert!(found.version() >= last);
                    assert!(found.target().ends_with(&format!("/{}", found.version())));
                    last = found.version();
                }
            });
            for version in 2..=2_000 {
                links.apply(link("s7", version, false));
            }
            reader.join().unwrap();
        });
    }
}
