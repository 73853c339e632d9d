//! The publisher on stores that are behind the topic, with a follower that reads what it publishes.

use schemas::LINK_VERSION_MAX;
use tempfile::TempDir;

use super::*;
use crate::clock::now;
use crate::links::link::Link;
use crate::links::store::change::{Change, Edit};
use crate::links::topic_reports::Reports;

/// A topic in memory.
#[derive(Debug, Clone, Default)]
struct Topic(Arc<std::sync::Mutex<Vec<LinkEntry>>>);

impl Topic {
    fn versions(&self, id: &str) -> Vec<i64> {
        let log = self.0.lock().unwrap();
        log.iter().filter(|link| link.id == id).map(|link| link.version).collect()
    }
}

impl Publish for Topic {
    fn publish(&mut self, entries: &[LinkEntry]) -> Result<(), String> {
        self.0.lock().unwrap().extend_from_slice(entries);
        Ok(())
    }
}

/// A host with a store: publisher, follower and table.
struct Host {
    rounds: Rounds<Topic>,
    topic: Topic,
    table: Arc<LinkTable>,
    reports: Reports,
    /// What the follower has read of the topic.
    read: usize,
    folder: TempDir,
}

impl Host {
    fn on(topic: &Topic) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let table = Arc::<LinkTable>::default();
        let parts = PublisherParts {
            location: StoreLocation::File(folder.path().join("links.db")),
            publisher: topic.clone(),
            wakeup: Arc::default(),
            table: Arc::clone(&table),
            reports: Arc::default(),
            metrics: Metrics::default(),
            problem: Problem::default(),
            behind: Problem::default(),
            stop: CancellationToken::new(),
        };
        let (rounds, topic) = (Rounds::new(parts), topic.clone());
        Self { rounds, topic, table, reports: Reports::default(), read: 0, folder }
    }

    fn store(&self) -> Store {
        Store::open(&StoreLocation::File(self.folder.path().join("links.db"))).unwrap()
    }

    /// Reads the topic to its end, as the follower does.
    fn follow(&mut self) {
        let log = self.topic.0.lock().unwrap();
        let live = self.table.is_loaded();
        for entry in log.iter().skip(self.read) {
            if let Some(link) = Link::of(entry) {
                self.reports.apply(&self.table, &link, live);
            }
        }
        self.read = log.len();
        drop(log);
        self.table.set_loaded();
        self.rounds.parts.reports.pass(&mut self.reports);
    }

    /// Publishes and follows until nothing happens any more, which is soon.
    fn settle(&mut self) {
        for round in 0.. {
            assert!(round < 40, "it does not end: {:?}", self.topic.0.lock().unwrap());
            let goes_on = self.rounds.round().unwrap();
            let read = self.read;
            self.follow();
            if !goes_on && self.read == read && round > 2 {
                return;
            }
        }
    }

    fn served(&self, slug: &str) -> Option<String> {
        self.table.named(None, slug).map(|link| link.target().to_owned())
    }

    fn behind(&self) -> Option<String> {
        self.rounds.parts.behind.current()
    }
}

fn entry(slug: &str, url: &str, version: i64) -> LinkEntry {
    let line = format!(r#"{{"slug":"{slug}","url":"http://x/{url}","version":{version}}}"#);
    LinkEntry::parse(&line).unwrap()
}

fn set(host: &Host, id: &str, url: &str) -> i64 {
    let edit = Edit { url: Some(format!("http://x/{url}")), ..Edit::default() };
    let change = Change::Edit { id: id.to_owned(), edit };
    host.store().change(&change, now()).unwrap().entry().version
}

/// A topic with versions 1 to `newest` of a link, and a host whose store was restored at `store`.
fn restored(store: i64, newest: i64) -> Host {
    let topic = Topic::default();
    let host = Host::on(&topic);
    let old = entry("a", &store.to_string(), store);
    host.store().change(&Change::Add(old.clone()), 1).unwrap();
    // The copy was made when nothing waited.
    host.store().publish_waiting(10, &mut |_| Ok(())).unwrap();
    let versions = (1..=newest).map(|version| entry("a", &version.to_string(), version));
    topic.clone().publish(&versions.collect::<Vec<_>>()).unwrap();
    host
}

#[test]
fn h11_a_change_of_a_restored_store_is_served_whatever_version_it_was_restored_at() {
    for (store, newest) in [(1, 3), (2, 3), (3, 3), (1, 2), (1, 1000)] {
        for followed in [true, false] {
            let mut host = restored(store, newest);
            if followed {
                host.follow();
                host.settle();
                assert_eq!(host.behind().is_some(), store < newest, "{store} {newest}");
                assert_eq!(host.served("a").unwrap(), format!("http://x/{newest}"));
            }
            // As the command line does, which knows nothing of the topic.
            assert_eq!(set(&host, "a", "changed"), store + 1);
            host.settle();
            assert_eq!(host.served("a").as_deref(), Some("http://x/changed"), "{store} {newest}");
            let version = host.store().get("a").unwrap().unwrap().version;
            assert_eq!(version, newest + 1, "the store shows what is served");
            let published = host.topic.versions("a").split_off(usize::try_from(newest).unwrap());
            // While the topic is not read, the version of the store is published once.
            assert!(
                published == [newest + 1] || (!followed && published == [store + 1, newest + 1])
            );
            assert_eq!((host.behind(), host.store().waiting().unwrap()), (None, 0));
        }
    }
}

#[test]
fn h11_a_change_that_meets_the_same_version_with_other_content_is_served() {
    let mut host = restored(2, 3);
    host.follow();
    // The next version of the store is in the topic already, with other content.
    assert_eq!(set(&host, "a", "other"), 3);
    host.settle();
    assert_eq!(host.topic.versions("a"), [1, 2, 3, 4]);
    assert_eq!(host.served("a").as_deref(), Some("http://x/other"));
}

#[test]
fn h11_a_link_is_deleted_and_switched_off_though_the_topic_is_ahead() {
    for delete in [true, false] {
        let mut host = restored(1, 7);
        host.follow();
        let edit = Edit { disabled: Some(true), ..Edit::default() };
        let change = if delete {
            Change::Delete { id: "a".to_owned() }
        } else {
            Change::Edit { id: "a".to_owned(), edit }
        };
        host.store().change(&change, 2).unwrap();
        host.settle();
        let link = host.table.named(None, "a");
        assert_eq!(link.is_none(), delete);
        assert!(link.is_none_or(|link| link.is_disabled() && link.version() == 8));
        assert_eq!(host.topic.versions("a").last(), Some(&8));
    }
}

#[test]
fn h11_a_foreign_record_is_reported_and_the_next_change_comes_after_it() {
    let topic = Topic::default();
    let mut host = Host::on(&topic);
    host.follow();
    host.store().change(&Change::Add(entry("bank", "ours", 1)), 1).unwrap();
    host.settle();
    assert_eq!(host.behind(), None);
    let mut foreign = entry("bank", "evil", 1000);
    // Also for another id with the same slug.
    for id in ["bank", "other"] {
        id.clone_into(&mut foreign.id);
        topic.clone().publish(std::slice::from_ref(&foreign)).unwrap();
        host.follow();
        foreign.version += 1000;
        host.store().republish().unwrap();
        host.settle();
        assert_eq!(host.served("bank").as_deref(), Some("http://x/ours"), "{id}");
    }
    assert_eq!(topic.versions("bank"), [1, 1000, 1001, 2001]);
    topic.clone().publish(&[entry("bank", "again", 5000)]).unwrap();
    host.follow();
    host.settle();
    let problem = host.behind().unwrap();
    assert!(problem.contains("links_behind") && problem.contains("\"bank\""), "{problem}");
    assert!(problem.contains("store 2001, topic 5000"), "{problem}");
    assert_eq!(host.rounds.parts.metrics.links.behind.get(), 1);
    assert_eq!(host.served("bank").as_deref(), Some("http://x/again"), "nothing is taken back");
    set(&host, "bank", "ours/2");
    host.settle();
    assert_eq!((host.served("bank").as_deref(), host.behind()), (Some("http://x/ours/2"), None));
    assert_eq!(host.rounds.parts.metrics.links.behind.get(), 0);
}

#[test]
fn h11_a_topic_at_the_last_version_is_reported_and_nothing_is_tried_without_end() {
    let topic = Topic::default();
    let mut host = Host::on(&topic);
    host.follow();
    host.store().change(&Change::Add(entry("a", "1", 1)), 1).unwrap();
    host.settle();
    topic.clone().publish(&[entry("a", "evil", LINK_VERSION_MAX)]).unwrap();
    host.follow();
    set(&host, "a", "2");
    host.settle();
    assert_eq!(topic.versions("a"), [1, LINK_VERSION_MAX, 2], "once, and not again");
    assert!(host.behind().unwrap().contains("links_behind"));
    assert_eq!(host.store().waiting().unwrap(), 0);
    // Another link is still published.
    host.store().change(&Change::Add(entry("b", "1", 1)), 1).unwrap();
    host.settle();
    assert_eq!(host.served("b").as_deref(), Some("http://x/1"));
}

#[test]
fn h11_no_version_is_published_twice_for_being_superseded() {
    let topic = Topic::default();
    let mut host = Host::on(&topic);
    host.follow();
    for version in 1..=2 {
        host.store().change(&Change::Put(entry("a", &version.to_string(), version)), 1).unwrap();
        host.settle();
    }
    for late in 0..4 {
        topic.clone().publish(&[entry("a", "1", 1)]).unwrap();
        host.follow();
        host.settle();
        let mut own = topic.versions("a");
        own.retain(|version| *version != 1);
        assert_eq!(own.len(), 2 + late, "one for each: {own:?}");
        assert_eq!(topic.versions("a").last(), own.last(), "the newest is the last one");
        assert!(own.iter().filter(|version| **version == 2).count() <= 2, "{own:?}");
        assert!(own.iter().filter(|version| **version > 2).collect::<Vec<_>>().is_sorted());
        assert_eq!(host.served("a").as_deref(), Some("http://x/2"));
    }
}

#[test]
fn h11_two_stores_of_one_topic_converge_after_each_change() {
    let topic = Topic::default();
    let mut hosts = [Host::on(&topic), Host::on(&topic)];
    for (number, host) in hosts.iter_mut().enumerate() {
        host.follow();
        let own = entry("a", &format!("of/{number}"), 1);
        host.store().change(&Change::Add(own), 1).unwrap();
    }
    for round in 0..6 {
        for _ in 0..6 {
            hosts.iter_mut().for_each(Host::settle);
        }
        let records = topic.versions("a").len();
        hosts.iter_mut().for_each(Host::settle);
        assert_eq!(topic.versions("a").len(), records, "nothing more is published");
        assert_eq!(hosts[0].served("a"), hosts[1].served("a"));
        let url = format!("changed/{round}");
        set(&hosts[round % 2], "a", &url);
        hosts.iter_mut().for_each(Host::settle);
        hosts.iter_mut().for_each(Host::follow);
        assert_eq!(hosts[0].served("a"), Some(format!("http://x/{url}")));
    }
    assert!(topic.versions("a").len() < 30, "{:?}", topic.versions("a"));
}

#[test]
fn h11_a_recreated_store_is_served_and_late_records_publish_nothing() {
    let topic = Topic::default();
    let all: Vec<_> = (0..1500).map(|n| entry(&format!("s{n}"), "old", 3)).collect();
    topic.clone().publish(&all).unwrap();
    let mut host = Host::on(&topic);
    host.follow();
    let again: Vec<_> = (0..1500).map(|n| entry(&format!("s{n}"), "new", 1)).collect();
    host.store().import(&again, 1).unwrap();
    host.settle();
    for slug in ["s0", "s999", "s1499"] {
        assert_eq!(host.served(slug).as_deref(), Some("http://x/new"));
        assert_eq!(topic.versions(slug), [3, 4]);
    }
    assert_eq!((host.behind(), host.store().waiting().unwrap()), (None, 0));

    // A store that is behind publishes nothing by itself, since its content is older.
    let mut host = restored(1, 3);
    host.follow();
    host.topic.clone().publish(&[entry("a", "2", 2)]).unwrap();
    host.settle();
    assert_eq!(host.topic.versions("a"), [1, 2, 3, 2]);
    assert_eq!(host.served("a").as_deref(), Some("http://x/3"));
    assert!(host.behind().is_some());
}

#[test]
fn h11_more_links_behind_than_are_named_are_counted_to_a_bound_and_found_again() {
    let topic = Topic::default();
    let all: Vec<_> = (0..2500).map(|n| entry(&format!("s{n}"), "new", 3)).collect();
    let mut host = Host::on(&topic);
    let old: Vec<_> = (0..2500).map(|n| entry(&format!("s{n}"), "old", 1)).collect();
    host.store().import(&old, 1).unwrap();
    host.store().publish_waiting(5000, &mut |_| Ok(())).unwrap();
    topic.clone().publish(&all).unwrap();
    host.follow();
    host.settle();
    assert_eq!(host.rounds.parts.metrics.links.behind.get(), 1000);
    assert!(host.behind().unwrap().contains("1000 or more links"));
    host.store().republish().unwrap();
    host.settle();
    assert_eq!((host.behind(), host.store().waiting().unwrap()), (None, 0));
    assert_eq!(host.served("s2499").as_deref(), Some("http://x/old"));
}
