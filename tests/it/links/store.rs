//! The guarantees of the link store, on each of its databases.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};

use harness::{OwnPostgres, StopFlag, until};
use producer::links::link::Link;
use producer::links::link_entry::LinkEntry;
use producer::links::slug_case::SlugCase;
use producer::links::store::Store;
use producer::links::store::change::{Change, Edit, Outcome};
use producer::links::store::error::StoreError;
use producer::links::store_location::StoreLocation;
use tempfile::TempDir;

/// A test's own store.
struct Fixture {
    place: StoreLocation,
    _folder: Option<TempDir>,
    _server: Option<OwnPostgres>,
}

impl Fixture {
    fn sqlite() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let place = StoreLocation::File(folder.path().join("links.db"));
        Self { place, _folder: Some(folder), _server: None }
    }

    /// A store on each database.
    fn both() -> [Self; 2] {
        let server = OwnPostgres::up();
        let place = server.url().parse().unwrap();
        [Self::sqlite(), Self { place, _folder: None, _server: Some(server) }]
    }

    fn open(&self) -> Store {
        Store::open(&self.place).unwrap()
    }
}

fn entry(slug: &str, url: &str) -> LinkEntry {
    LinkEntry::parse(&format!(r#"{{"slug":"{slug}","url":"{url}"}}"#)).unwrap()
}

fn turn(id: &str, url: &str) -> Change {
    let edit = Edit { url: Some(url.to_owned()), ..Edit::default() };
    Change::Edit { id: id.to_owned(), edit }
}

/// The versions that a topic would have, in order.
type Log = Vec<(String, i64, bool)>;

fn append(log: &mut Log, entries: &[LinkEntry]) {
    log.extend(entries.iter().map(|link| (link.id.clone(), link.version, link.deleted)));
}

/// Checks that the versions of each link are in order and that the newest is the one in the store.
fn is_told(store: &mut Store, log: &Log) {
    let mut newest = BTreeMap::new();
    for (id, version, deleted) in log {
        let before = newest.insert(id.clone(), (*version, *deleted));
        assert!(before.is_none_or(|(before, _)| before <= *version), "{id} goes back: {log:?}");
    }
    for (id, (version, deleted)) in newest {
        let link = store.get(&id).unwrap().unwrap();
        assert_eq!((link.version, link.deleted), (version, deleted), "{id}");
    }
    assert_eq!(store.waiting().unwrap(), 0);
}

fn drain(store: &mut Store, log: &mut Log) {
    while store
        .publish_waiting(3, &mut |entries| {
            append(log, entries);
            Ok(())
        })
        .unwrap()
        > 0
    {}
}

#[test]
fn each_change_makes_the_next_version_and_queues_the_link_once() {
    for fixture in Fixture::both() {
        let mut store = fixture.open();
        let added = store.change(&Change::Add(entry("a", "http://x/1")), 7).unwrap();
        assert_eq!((added.entry().version, added.entry().changed_at), (1, 7));
        let changed = store.change(&turn("a", "http://x/2"), 8).unwrap();
        assert!(
            matches!(&changed, Outcome::Changed(link) if link.version == 2 && link.changed_at == 8)
        );
        let same = store.change(&turn("a", "http://x/2"), 9).unwrap();
        assert!(matches!(&same, Outcome::Same(link) if link.version == 2 && link.changed_at == 8));
        assert_eq!(store.waiting().unwrap(), 1);
        let gone = store.change(&Change::Delete { id: "a".to_owned() }, 10).unwrap();
        assert!(gone.entry().deleted && gone.entry().version == 3);
        assert_eq!(store.page("", 10).unwrap(), []);
        // It returns with its id, and its versions continue.
        let back = store.change(&Change::Add(entry("a", "http://x/3")), 11).unwrap();
        assert!(matches!(&back, Outcome::Added(link) if link.version == 4 && !link.deleted));
        assert!(Link::of(back.entry()).is_some());
        let mut log = Log::new();
        drain(&mut store, &mut log);
        assert_eq!(log, [("a".to_owned(), 4, false)]);
    }
}

#[test]
fn a_refused_change_changes_nothing_and_its_error_names_a_remedy() {
    for fixture in Fixture::both() {
        let mut store = fixture.open();
        let mut named = entry("a", "http://x/");
        named.id = "first".to_owned();
        store.change(&Change::Add(named.clone()), 1).unwrap();
        let mut other = named.clone();
        other.id = "second".to_owned();
        let mut moved = entry("b", "http://x/");
        moved.id = "first".to_owned();
        let bad = Edit { status: Some(307), ..Edit::default() };
        for (change, part) in [
            (Change::Add(named.clone()), "change it with `links set`"),
            (Change::Add(other.clone()), "belongs to link \"first\""),
            (Change::Put(other), "belongs to link \"first\""),
            (Change::Put(moved), "belongs to slug \"a\""),
            (turn("nope", "http://x/"), "`links list`"),
            (turn("first", "javascript:x"), "only http and https"),
            (Change::Edit { id: "first".to_owned(), edit: bad }, "use 302 or 301"),
        ] {
            let error = store.change(&change, 2).unwrap_err();
            assert_eq!(error.code(), "link_refused");
            assert!(error.to_string().contains(part), "{error}");
        }
        // All or none: the second change is not possible.
        let mut taken = entry("c", "http://x/");
        taken.id = "first".to_owned();
        store.import(&[entry("d", "http://x/"), taken], 3).unwrap_err();
        assert_eq!(store.page("", 10).unwrap().len(), 1);
        assert_eq!(store.get("first").unwrap().unwrap().version, 1);
        assert_eq!(store.waiting().unwrap(), 1);
    }
}

#[test]
fn f12_x3_a_slug_that_differs_in_case_only_is_refused_where_case_is_ignored() {
    for fixture in Fixture::both() {
        let mut exact = fixture.open();
        let mut folded = fixture.open().with_slug_case(SlugCase::Insensitive);
        let entry = |slug| entry(slug, "http://x/");
        folded.change(&Change::Add(entry("Spring")), 1).unwrap();
        for change in [Change::Add(entry("spring")), Change::Put(entry("SPRING"))] {
            let error = folded.change(&change, 2).unwrap_err();
            assert_eq!(error.code(), "link_refused", "{error}");
            assert!(error.to_string().contains(r#"that of link "Spring""#), "{error}");
        }
        let both = [entry("new"), entry("New")];
        assert!(folded.import(&both, 3).is_err(), "a file, too");
        assert_eq!(folded.get("new").unwrap(), None, "all or none");
        assert_eq!(exact.import(&both, 3).unwrap().added, 2, "two links without the setting");
        // The same link may change; its slug is free for another spelling after it is deleted.
        folded.change(&Change::Put(entry("Spring")), 4).unwrap();
        folded.change(&Change::Delete { id: "Spring".to_owned() }, 5).unwrap();
        folded.change(&Change::Add(entry("spring")), 6).unwrap();
        assert!(folded.change(&Change::Put(entry("Spring")), 7).is_err());
    }
}

#[test]
fn links_imported_again_change_nothing_and_keep_their_versions() {
    for fixture in Fixture::both() {
        let mut store = fixture.open();
        let mut entries: Vec<_> = (0..10).map(|n| entry(&format!("s{n}"), "http://x/")).collect();
        entries[3].version = 9;
        let imported = store.import(&entries, 1).unwrap();
        assert_eq!((imported.added, imported.changed, imported.same), (10, 0, 0));
        assert_eq!(store.get("s3").unwrap().unwrap().version, 9);
        entries[3].target = "http://y/".to_owned();
        let imported = store.import(&entries, 2).unwrap();
        assert_eq!((imported.added, imported.changed, imported.same), (0, 1, 9));
        assert_eq!(store.get("s3").unwrap().unwrap().version, 10);
        let pages = [store.page("", 6).unwrap(), store.page("s5", 6).unwrap()];
        assert_eq!(pages.map(|page| page.len()), [6, 4]);
        assert_eq!(store.republish().unwrap(), 0, "all of them wait already");
    }
}

#[test]
fn a_relay_killed_at_any_step_loses_and_reverts_no_change() {
    const LINKS: usize = 5;
    // A store for each step: a killed relay loses its locks.
    for (kill_after, fixture) in (0..=LINKS).flat_map(|at| Fixture::both().map(|own| (at, own))) {
        let mut log = Log::new();
        let mut store = fixture.open();
        let entries: Vec<_> = (0..LINKS).map(|n| entry(&format!("s{n}"), "http://x/1")).collect();
        store.import(&entries, 1).unwrap();
        let killed = store.publish_waiting(10, &mut |entries| {
            append(&mut log, &entries[..kill_after]);
            Err("killed".to_owned())
        });
        assert_eq!(killed, Err(StoreError::Unpublished("killed".to_owned())));
        drop(store);
        // Without a relay, some links change, some twice, and one is deleted.
        let mut store = fixture.open();
        store.change(&turn("s1", "http://x/2"), 2).unwrap();
        store.change(&turn("s1", "http://x/3"), 3).unwrap();
        store.change(&Change::Delete { id: "s2".to_owned() }, 4).unwrap();
        assert_eq!(store.waiting().unwrap(), LINKS as u64);
        drain(&mut store, &mut log);
        is_told(&mut store, &log);
        assert!(log.len() >= LINKS);
    }
}

#[test]
fn a_change_made_while_its_link_is_in_flight_is_published_too() {
    for fixture in Fixture::both() {
        let (mut relay, mut log) = (fixture.open(), Log::new());
        fixture.open().change(&Change::Add(entry("a", "http://x/1")), 1).unwrap();
        let late = AtomicBool::new(false);
        relay
            .publish_waiting(10, &mut |entries| {
                append(&mut log, entries);
                if let StoreLocation::File(_) = fixture.place {
                    fixture.open().change(&turn("a", "http://x/2"), 2).unwrap();
                    late.store(true, Ordering::Relaxed);
                }
                Ok(())
            })
            .unwrap();
        assert_eq!(relay.waiting().unwrap(), u64::from(late.load(Ordering::Relaxed)));
        drain(&mut relay, &mut log);
        is_told(&mut relay, &log);
    }
}

#[test]
fn concurrent_relays_and_writers_publish_versions_in_order() {
    for fixture in Fixture::both() {
        let log = Mutex::new(Log::new());
        let done = StopFlag::default();
        std::thread::scope(|scope| {
            let end = done.guard();
            let relays: Vec<_> = (0..3)
                .map(|_| {
                    scope.spawn(|| {
                        let mut store = fixture.open();
                        while !done.is_set() {
                            let handed = store.publish_waiting(2, &mut |entries| {
                                append(&mut log.lock().unwrap(), entries);
                                Ok(())
                            });
                            if handed.unwrap() == 0 {
                                std::thread::yield_now();
                            }
                        }
                    })
                })
                .collect();
            let writers: Vec<_> = (0..2)
                .map(|writer| {
                    let fixture = &fixture;
                    scope.spawn(move || {
                        let mut store = fixture.open();
                        for round in 0..30 {
                            for link in 0..4 {
                                let url = format!("http://x/{writer}/{round}");
                                let change = Change::Put(entry(&format!("s{link}"), &url));
                                store.change(&change, round).unwrap();
                            }
                        }
                    })
                })
                .collect();
            writers.into_iter().for_each(|writer| writer.join().unwrap());
            let mut store = fixture.open();
            until("all is published", || (store.waiting().unwrap() == 0).then_some(()));
            drop(end);
            relays.into_iter().for_each(|relay| relay.join().unwrap());
        });
        let mut store = fixture.open();
        is_told(&mut store, &log.into_inner().unwrap());
        let versions: Vec<_> =
            store.page("", 10).unwrap().iter().map(|link| link.version).collect();
        assert_eq!(versions, [60; 4], "each change made one version");
    }
}

#[test]
fn a_postgresql_that_restarts_loses_no_change_and_is_used_again() {
    let server = OwnPostgres::up();
    let place: StoreLocation = server.url().parse().unwrap();
    let (mut store, mut log) = (Store::open(&place).unwrap(), Log::new());
    store.change(&Change::Add(entry("a", "http://x/1")), 1).unwrap();
    server.crash();
    let error = store.change(&turn("a", "http://x/2"), 2).unwrap_err();
    assert_eq!(error.code(), "links_db_away", "{error}");
    server.again();
    assert_eq!(store.get("a").unwrap().unwrap().version, 1);
    store.change(&turn("a", "http://x/2"), 3).unwrap();
    // Dies while its links are in flight: they were published, and are published again.
    let lost = store.publish_waiting(10, &mut |entries| {
        append(&mut log, entries);
        server.crash();
        Ok(())
    });
    assert_eq!(lost.unwrap_err().code(), "links_db_away");
    server.again();
    assert_eq!(store.waiting().unwrap(), 1);
    drain(&mut store, &mut log);
    is_told(&mut store, &log);
    assert_eq!(log.len(), 2);
}

#[test]
fn a_postgresql_with_tls_is_used_only_with_a_valid_certificate_and_name() {
    let (server, certificate) = OwnPostgres::with_tls();
    let at = |host: &str, query: &str| {
        let url = server.url().replace("127.0.0.1", host);
        format!("{url}?hostaddr=127.0.0.1{query}").parse::<StoreLocation>().unwrap()
    };
    let change = |place: &StoreLocation, slug: &str| {
        Store::open(place)?.change(&Change::Add(entry(slug, "http://x/")), 1)
    };
    let file = certificate.display();
    let roots = format!("&sslrootcert={file}");
    change(&at("localhost", &roots), "a").unwrap();
    change(&at("localhost", &format!("{roots}&sslmode=verify-full")), "b").unwrap();
    let mut other = Store::open(&at("localhost", &roots)).unwrap();
    assert_eq!(other.page("", 10).unwrap().len(), 2);

    for (name, query, part) in [
        ("localhost", "&sslmode=require", "certificate verify failed"),
        ("db.example", roots.as_str(), "certificate verify failed"),
        ("localhost", "&sslrootcert=/nowhere/roots.pem", "sslrootcert /nowhere/roots.pem: "),
    ] {
        let error = change(&at(name, query), "c").unwrap_err();
        assert_eq!(error.code(), "links_db_broken", "{error}");
        assert!(error.to_string().contains(part), "{error}");
        println!("{error}");
    }
    let plain = OwnPostgres::up();
    let url = format!("{}{}", plain.url(), roots.replacen('&', "?", 1));
    let error = change(&url.parse().unwrap(), "a").unwrap_err();
    assert_eq!(error.code(), "links_db_broken", "{error}");
    assert!(error.to_string().contains("does not support TLS"), "{error}");
}

#[test]
fn every_host_gets_the_same_day_key_until_it_is_forgotten() {
    for fixture in Fixture::both() {
        let (mut one, mut other) = (fixture.open(), fixture.open());
        let key = one.day_key(20_000).unwrap();
        assert_eq!(other.day_key(20_000).unwrap(), key);
        assert_ne!(other.day_key(20_001).unwrap(), key);
        assert!(one.forget_day(20_000).unwrap() && !one.forget_day(20_000).unwrap());
        assert_ne!(other.day_key(20_000).unwrap(), key);
    }
}

#[test]
fn an_unusable_store_location_is_reported_with_its_cause() {
    let error =
        Store::open(&StoreLocation::File(Path::new("/nowhere/links.db").into())).unwrap_err();
    assert!(error.to_string().contains("/nowhere/links.db"), "{error}");
    let error = Store::open(&StoreLocation::None).unwrap_err();
    assert!(error.to_string().contains("CLICKTRAIL_LINKS_DB"), "{error}");
}

#[test]
fn a_stored_link_is_read_back_equal_with_any_field_set() {
    let fields = ["\"disabled\":true", "\"pass_query\":true", "\"opt_out\":true", "\"status\":301"];
    for fixture in Fixture::both() {
        let mut store = fixture.open();
        for (number, field) in fields.iter().enumerate() {
            let line = format!(r#"{{"slug":"s{number}","url":"http://x/","domain":"d",{field}}}"#);
            let entry = LinkEntry { expires_at: Some(5), ..LinkEntry::parse(&line).unwrap() };
            store.import(std::slice::from_ref(&entry), 7).unwrap();
            let found = store.get(&entry.id).unwrap();
            assert_eq!(found, Some(LinkEntry { changed_at: 7, ..entry }));
        }
    }
}
