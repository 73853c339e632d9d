//! All links in memory, asked by host and slug without a lock.
//!
//! Many small shelves: a change copies the one that it falls into, some five KiB among a million
//! links, and puts the copy in its place. Readers hold the shelf on which they found theirs.

use std::hash::BuildHasher as _;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use arc_swap::ArcSwap;
use foldhash::quality::RandomState;

use crate::links::link::{Link, Shelf, is};
use service::lock::lock;

/// With a million links, some sixty on each.
const SHELVES: usize = 1 << 14;

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
    /// None that is known yet: not all links have been read.
    NotYet,
}

/// What became of a link that was put in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Applied {
    /// It is the newest version now.
    Newer,
    /// The table has this version already.
    Same,
    /// The table has a newer version, which stays.
    Older,
}

/// All links; tombstones among them, so that an older version never comes back.
#[derive(Debug)]
pub struct Links {
    shelves: Box<[ArcSwap<Shelf>]>,
    hasher: RandomState,
    /// Links that are not deleted.
    count: AtomicUsize,
    changes: AtomicU64,
    /// What is not here does not exist.
    whole: AtomicBool,
    /// One change at a time.
    writing: Mutex<()>,
}

impl Default for Links {
    fn default() -> Self {
        let empty = Arc::new(Shelf::default());
        Self {
            shelves: (0..SHELVES).map(|_| ArcSwap::new(Arc::clone(&empty))).collect(),
            hasher: RandomState::default(),
            count: AtomicUsize::new(0),
            changes: AtomicU64::new(0),
            whole: AtomicBool::new(false),
            writing: Mutex::new(()),
        }
    }
}

impl Links {
    /// Takes a version of a link, unless it has a newer one.
    pub fn apply(&self, link: Link) -> Applied {
        let writing = lock(&self.writing);
        let known = self.known(&link);
        match known.as_ref().map_or(i64::MIN, Link::version).cmp(&link.version()) {
            std::cmp::Ordering::Less => {}
            std::cmp::Ordering::Equal => return Applied::Same,
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
        for shelf in &self.shelves {
            let shelf = shelf.load_full();
            let links = shelf.index.iter().map(|(_, at)| Link::on(&shelf, *at));
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
        let hash = self.hash(link.domain(), link.slug());
        find(&self.shelf(hash).load_full(), hash, link.domain(), link.slug())
    }

    /// Puts a link in its place, or takes it away. One at a time.
    fn change(&self, link: &Link, known: Option<&Link>, stays: bool) {
        let hash = self.hash(link.domain(), link.slug());
        let place = self.shelf(hash);
        let lived = known.is_some_and(|known| !known.is_deleted());
        let lives = stays && !link.is_deleted();
        place.store(Arc::new(with(&place.load_full(), hash, link, stays)));
        let count = self.count() + usize::from(lives) - usize::from(lived);
        self.count.store(count, Ordering::Relaxed);
        self.changes.fetch_add(1, Ordering::Relaxed);
    }

    /// From now on a slug that is not here does not exist.
    pub fn set_whole(&self) {
        self.whole.store(true, Ordering::Release);
    }

    /// Whether all links have been read.
    pub fn is_whole(&self) -> bool {
        self.whole.load(Ordering::Acquire)
    }

    /// The link of a slug, whatever its state: the domain's own first, then any domain's.
    pub fn named(&self, domain: Option<&str>, slug: &str) -> Option<Link> {
        let of = |domain: &str| {
            let hash = self.hash(domain, slug);
            find(&self.shelf(hash).load(), hash, domain, slug).filter(|link| !link.is_deleted())
        };
        domain.filter(|domain| !domain.is_empty()).and_then(of).or_else(|| of(""))
    }

    /// What a slug means at `now` (microseconds since 1970).
    pub fn resolve(&self, domain: Option<&str>, slug: &str, now: i64) -> Resolution {
        // Asked first: a link that came before the table was whole is then found below.
        let whole = self.is_whole();
        match self.named(domain, slug) {
            None if whole => Resolution::Unknown,
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
        for shelf in &self.shelves {
            let shelf = shelf.load_full();
            shelf.index.iter().try_for_each(|(_, at)| take(&Link::on(&shelf, *at)))?;
        }
        Ok(())
    }

    fn hash(&self, domain: &str, slug: &str) -> u64 {
        self.hasher.hash_one((domain, slug))
    }

    /// By bits that the shelves themselves do not use.
    fn shelf(&self, hash: u64) -> &ArcSwap<Shelf> {
        let index = usize::try_from((hash >> 32) % SHELVES as u64).unwrap_or(0);
        &self.shelves[index]
    }
}

/// The half of a hash by which a shelf is in order.
fn low(hash: u64) -> u32 {
    u32::try_from(hash & u64::from(u32::MAX)).unwrap_or(0)
}

fn find(shelf: &Arc<Shelf>, hash: u64, domain: &str, slug: &str) -> Option<Link> {
    let from = shelf.index.partition_point(|(known, _)| *known < low(hash));
    let same = shelf.index[from..].iter().take_while(|(known, _)| *known == low(hash));
    let mut found = same.filter(|(_, at)| is(shelf.link(*at), domain, slug));
    found.next().map(|(_, at)| Link::on(shelf, *at))
}

/// A copy of a shelf with the link in its place, or without it.
fn with(shelf: &Shelf, hash: u64, link: &Link, stays: bool) -> Shelf {
    let new = (low(hash), link.as_bytes());
    let kept = shelf.index.iter().map(|(known, at)| (*known, shelf.link(*at)));
    let others =
        kept.filter(|(known, bytes)| *known != new.0 || !is(bytes, link.domain(), link.slug()));
    let mut links: Vec<_> = others.collect();
    if stays {
        links.insert(links.partition_point(|(known, _)| *known < new.0), new);
    }
    let mut bytes = Vec::with_capacity(links.iter().map(|(_, bytes)| bytes.len()).sum());
    let index = links.into_iter().map(|(known, link)| {
        // A shelf of four GiB has no room in any memory.
        let at = u32::try_from(bytes.len()).unwrap_or(u32::MAX);
        bytes.extend_from_slice(link);
        (known, at)
    });
    let index = index.collect();
    Shelf { bytes: bytes.into(), index }
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
    fn an_older_version_never_takes_the_place_of_a_newer_one_deleted_or_not() {
        let links = Links::default();
        links.set_whole();
        let version = || links.named(None, "a").map(|link| link.version());
        for (number, deleted, applied, seen, count) in [
            (2, false, Applied::Newer, Some(2), 1),
            (1, false, Applied::Older, Some(2), 1),
            (2, true, Applied::Same, Some(2), 1),
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
        let links = Links::default();
        links.apply(link("a", 1, false));
        assert!(matches!(links.resolve(None, "a", 0), Resolution::Redirect(_)));
        assert_eq!(links.resolve(None, "b", 0), Resolution::NotYet);
        links.set_whole();
        assert_eq!(links.resolve(None, "b", 0), Resolution::Unknown);
    }

    #[test]
    fn a_change_among_many_links_copies_a_handful_and_readers_see_one_version_or_the_other() {
        let links = Links::default();
        for number in 0..50_000 {
            links.apply(link(&format!("s{number}"), 1, false));
        }
        links.set_whole();
        assert_eq!(links.count(), 50_000);
        let largest = links.shelves.iter().map(|shelf| shelf.load().index.len()).max().unwrap();
        assert!(largest < 50, "{largest} links on one shelf");
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
