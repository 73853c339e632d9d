//! A link store that is behind the topic, and one whose database hangs.

use std::time::{Duration, Instant};

use harness::{Kafka, OwnPostgres, Raw, Server, Signal, StallProxy, World, get, metric, until};
use producer::links::link::Link;
use producer::links::link_entry::LinkEntry;
use producer::links::link_table::LinkTable;
use producer::links::store::Store;
use producer::links::store::change::{Change, Edit};
use producer::links::store_location::StoreLocation;
use producer::links::topic_versions::TopicVersions as _;
use schemas::{LINK_VERSION_MAX, LinkEncoder, RawLink, SchemaId, unframe};

use crate::links::hosts::topic;

fn location(server: &Server, path: &str) -> (u16, Option<String>) {
    let answer = server.get(path, &[]);
    (answer.status, answer.header("location").map(str::to_owned))
}

fn serves(server: &Server, path: &str, target: &str) {
    until(target, || (location(server, path).1.as_deref() == Some(target)).then_some(()));
}

fn readyz(server: &Server) -> String {
    get(&format!("{}/readyz", server.admin)).map_or_else(|error| error, |answer| answer.body)
}

fn schema_id(kafka: &Kafka, topic: &str) -> SchemaId {
    let record = kafka.read(topic).pop().unwrap();
    unframe(record.value.as_deref().unwrap()).unwrap().0
}

/// Writes a record as another program does, into the partition of the topic's first record.
fn foreign(world: &World, id: &str, version: i64, target: &str) {
    let topic = &world.links_topic;
    let entry = LinkEntry::parse(&format!(r#"{{"slug":"{id}","url":"{target}"}}"#)).unwrap();
    let link = RawLink { version, ..entry.raw() };
    let mut value = Vec::new();
    let encoder = LinkEncoder::new(schema_id(&world.kafka, topic)).unwrap();
    encoder.encode(&link, &mut value).unwrap();
    let partition = world.kafka.read(topic)[0].partition;
    let key = Some(id.as_bytes().to_vec());
    world.kafka.produce(topic, &[Raw { partition, key, value: Some(value), ..Raw::default() }]);
}

#[test]
fn h11_a_store_restored_from_a_backup_is_reported_and_its_next_change_is_served() {
    let world = World::new("restored");
    world.setup();
    let [store, backup] =
        ["links.db", "backup.db"].map(|name| world.folder().join(name).display().to_string());
    let set = [("CLICKTRAIL_LINKS_DB", store.as_str())];
    let versions = || topic(&world.kafka, &world.links_topic).remove("a").unwrap_or_default();
    world.links(&store, &["add", "a", "https://example.com/1"]).expect_code(0);
    let mut host = world.host("host", &set);
    serves(&host, "/a", "https://example.com/1");
    until("no change waits", || {
        (metric(&host.admin, "clicktrail_producer_link_outbox_links")? == 0.0).then_some(())
    });
    host.stop().expect_code(0);
    std::fs::copy(&store, &backup).unwrap();
    for number in 2..=3 {
        let url = format!("https://example.com/{number}");
        world.links(&store, &["set", "a", "--url", &url]).expect_code(0);
        let mut host = world.host("host", &set);
        serves(&host, "/a", &url);
        host.stop().expect_code(0);
    }
    assert_eq!(versions(), [1, 2, 3]);
    for end in ["-wal", "-shm"] {
        std::fs::remove_file(format!("{store}{end}")).ok();
    }
    std::fs::copy(&backup, &store).unwrap();

    let mut host = world.host("host", &set);
    let body = until("it is reported", || {
        let body = readyz(&host);
        body.contains("links_behind").then_some(body)
    });
    assert!(body.starts_with("ready\ndegraded") && body.contains("store 1, topic 3"), "{body}");
    assert_eq!(metric(&host.admin, "clicktrail_producer_links_behind"), Some(1.0));
    assert_eq!(location(&host, "/a").1.as_deref(), Some("https://example.com/3"));
    let edit = ["set", "a", "--url", "https://example.com/4"];
    world.links(&store, &edit).expect_code(0);
    serves(&host, "/a", "https://example.com/4");
    until("it is reported no more", || (readyz(&host) == "ready\n").then_some(()));
    // Longer than ten rounds of the publisher.
    std::thread::sleep(Duration::from_millis(2_500));
    assert_eq!(versions(), [1, 2, 3, 4], "nothing is published again");
    assert!(world.links(&store, &["show", "a"]).expect_code(0).out.contains(r#""version":4"#));
    assert_eq!(metric(&host.admin, "clicktrail_producer_links_raised_total"), Some(1.0));
    host.stop().expect_code(0);
}

#[test]
fn h11_m12_a_foreign_record_is_reported_or_refused_and_the_link_can_be_changed() {
    let world = World::new("foreign");
    world.setup();
    let store = world.folder().join("links.db").display().to_string();
    let mut host = world.host("host", &[("CLICKTRAIL_LINKS_DB", &store)]);
    world.links(&store, &["add", "bank", "https://bank.example/"]).expect_code(0);
    serves(&host, "/bank", "https://bank.example/");
    let refused = r#"clicktrail_producer_link_records_total{result="refused"}"#;
    for (number, version) in (1..).zip([i64::MAX, LINK_VERSION_MAX + 1, 0, i64::MIN]) {
        foreign(&world, "bank", version, "https://evil.example/");
        let expected = f64::from(number);
        until("it is refused", || (metric(&host.admin, refused)? == expected).then_some(()));
    }
    assert_eq!(location(&host, "/bank").1.as_deref(), Some("https://bank.example/"));
    foreign(&world, "bank", 1000, "https://evil.example/");
    until("it is reported", || readyz(&host).contains("links_behind").then_some(()));
    world.links(&store, &["set", "bank", "--url", "https://bank.example/new"]).expect_code(0);
    serves(&host, "/bank", "https://bank.example/new");
    until("it is reported no more", || (readyz(&host) == "ready\n").then_some(()));
    let log = topic(&world.kafka, &world.links_topic);
    let own: Vec<_> = log["bank"].iter().filter(|v| (1..1 << 53).contains(*v)).copied().collect();
    assert_eq!(own, [1, 1000, 1001]);
    host.stop().expect_code(0);
}

#[test]
fn h11_on_each_database_a_superseded_change_takes_the_version_after_the_topics() {
    let (folder, server) = (tempfile::tempdir().unwrap(), OwnPostgres::up());
    let file = StoreLocation::File(folder.path().join("links.db"));
    for place in [file, server.url().parse().unwrap()] {
        let mut store = Store::open(&place).unwrap();
        let entry = |slug: &str, url: &str, version: i64| {
            let line = format!(r#"{{"slug":"{slug}","url":"{url}","version":{version}}}"#);
            LinkEntry::parse(&line).unwrap()
        };
        let edit = |id: &str, url: &str| Change::Edit {
            id: id.to_owned(),
            edit: Edit { url: Some(url.to_owned()), ..Edit::default() },
        };
        let table = LinkTable::default();
        for (slug, version) in [("a", 7), ("b", 2), ("c", LINK_VERSION_MAX)] {
            store.change(&Change::Add(entry(slug, "http://x/", 1)), 1).unwrap();
            table.apply(Link::of(&entry(slug, "http://evil/", version)).unwrap());
        }
        store.change(&Change::Add(entry("d", "http://x/", 1)), 1).unwrap();
        let mut log = Vec::new();
        for _ in 0..5 {
            let published = store.publish_newest(10, &table, &mut |entries| {
                log.extend(entries.iter().map(|link| (link.id.clone(), link.version)));
                entries.iter().filter_map(Link::of).for_each(|link| _ = table.apply(link));
                Ok(())
            });
            published.unwrap();
        }
        log.sort();
        let expected = [("a", 8), ("b", 3), ("c", 1), ("d", 1)];
        assert_eq!(log, expected.map(|(id, version)| (id.to_owned(), version)), "{place:?}");
        assert_eq!(store.waiting().unwrap(), 0);
        // After a failure of the broker the change still waits, whatever its version.
        table.apply(Link::of(&entry("a", "http://evil/", 20)).unwrap());
        store.change(&edit("a", "http://x/2"), 2).unwrap();
        for _ in 0..2 {
            store.publish_newest(10, &table, &mut |_| Err("down".to_owned())).ok();
        }
        assert_eq!(store.waiting().unwrap(), 1);
        let entries = store.entries(&["a", "c", "none"]).unwrap();
        assert_eq!(entries.len(), 2);
        for link in store.page_all("", 10).unwrap() {
            let behind = table.superseding(&link);
            assert_eq!(behind.is_some(), link.id == "c" || link.version == 9, "{link:?}");
        }
        // A change that knows the topic gets the right version at once.
        let changed = store.change_after(&table, &edit("b", "http://x/2"), 3).unwrap();
        assert_eq!(changed.entry().version, 4);
        let refused = store.change_after(&table, &edit("c", "http://x/2"), 3).unwrap_err();
        assert_eq!(refused.code(), "link_refused");
        store.raise(changed.entry()).unwrap();
        store.raise(changed.entry()).unwrap();
        assert_eq!(store.get("b").unwrap().unwrap().version, 5, "once for a version");
    }
}

#[test]
fn m9_a_postgresql_that_hangs_is_reported_and_does_not_delay_the_stop() {
    let world = World::new("stalled");
    world.setup();
    let server = OwnPostgres::up();
    let url = server.url();
    let (_, target) = url.split_once('@').unwrap();
    let target = target.split('/').next().unwrap();
    let proxy = StallProxy::start(target);
    let through = url.replace(target, &proxy.address.to_string());
    let set = [("CLICKTRAIL_LINKS_DB", through.as_str())];
    let (mut host, mut other) = (world.host("host", &set), world.host("other", &set));
    world.links(&through, &["add", "a", "https://example.com/"]).expect_code(0);
    for host in [&host, &other] {
        serves(host, "/a", "https://example.com/");
        until("it is ready", || (readyz(host) == "ready\n").then_some(()));
    }
    proxy.stall(true);
    let began = Instant::now();
    // By now its publisher waits for an answer.
    std::thread::sleep(Duration::from_secs(1));
    other.signal(Signal::TERM);
    other.end().expect_code(0);
    println!("the process stopped {:?} after SIGTERM", began.elapsed());
    assert!(began.elapsed() < Duration::from_secs(20));
    until("it is reported", || readyz(&host).contains("links_db_away").then_some(()));
    println!("it was reported after {:?}", began.elapsed());
    assert!(began.elapsed() < Duration::from_secs(25));
    assert_eq!(location(&host, "/a").0, 302, "redirects continue");
    proxy.stall(false);
    until("it continues by itself", || (readyz(&host) == "ready\n").then_some(()));
    host.stop().expect_code(0);
}
