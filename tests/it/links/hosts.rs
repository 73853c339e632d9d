//! Links that one host changes and all others serve, also during outages.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::time::{Duration, Instant};

use harness::{
    Kafka, Logged, OwnPostgres, Raw, Server, World, closed_port, free_port, get, metric, request,
    until,
};
use schemas::{LINKS_NEWEST, LinkDecoder, unframe};

const TOKEN: &str = "a-token-that-nobody-guesses";

fn location(server: &Server, path: &str) -> (u16, Option<String>) {
    let answer = server.get(path, &[]);
    (answer.status, answer.header("location").map(str::to_owned))
}

fn store(world: &World) -> String {
    world.folder().join("links.db").display().to_string()
}

/// The versions of each link in the order of the topic.
pub(crate) fn topic(kafka: &Kafka, topic: &str) -> BTreeMap<String, Vec<i64>> {
    let decoder = LinkDecoder::new(LINKS_NEWEST).unwrap();
    let mut versions: BTreeMap<String, Vec<i64>> = BTreeMap::new();
    for record in kafka.read(topic) {
        let (_, datum) = unframe(record.value.as_deref().unwrap()).unwrap();
        let link = decoder.decode(datum).unwrap();
        assert_eq!(record.key.as_deref(), Some(link.id.as_bytes()));
        versions.entry(link.id.to_owned()).or_default().push(link.version);
    }
    versions
}

#[test]
fn a_link_changed_on_one_host_is_served_by_the_other_within_a_second() {
    let world = World::new("links");
    world.setup();
    let (store, listen) = (store(&world), free_port());
    let (api, listen) = (format!("http://{listen}/v1/links"), listen.to_string());
    let first = [
        ("CLICKTRAIL_LINKS_DB", store.as_str()),
        ("CLICKTRAIL_LINKS_TOKEN", TOKEN),
        ("CLICKTRAIL_LINKS_LISTEN", &listen),
    ];
    let mut one = world.host("one", &first);
    let mut other = world.host("other", &[]);
    assert_eq!(location(&other, "/a").0, 404, "an empty topic counts as loaded");

    let added = world.links(&store, &["add", "a", "https://example.com/1"]).expect_code(0);
    assert!(added.out.contains(r#""id":"a","version":1"#), "{added:?}");
    until("both serve the link of the command line", || {
        [&one, &other].iter().all(|host| location(host, "/a").0 == 302).then_some(())
    });

    let bearer = format!("Bearer {TOKEN}");
    let headers = [("Authorization", bearer.as_str())];
    let refused = request("PATCH", &format!("{api}/a"), &[], "{}").unwrap();
    assert_eq!(refused.status, 401);
    let tokens_refused = "clicktrail_producer_link_api_tokens_refused_total";
    assert_eq!(metric(&one.admin, tokens_refused), Some(1.0));
    let mut slowest = Duration::ZERO;
    for number in 2..=20 {
        let target = format!("https://example.com/{number}");
        let body = format!(r#"{{"url":"{target}"}}"#);
        let began = Instant::now();
        let changed = request("PATCH", &format!("{api}/a"), &headers, body).unwrap();
        assert_eq!(changed.status, 200, "{}", changed.body);
        until("the other host serves it", || {
            (location(&other, "/a").1.as_deref() == Some(&target)).then_some(())
        });
        slowest = slowest.max(began.elapsed());
    }
    println!("a change was served by the other host after {slowest:?} at the slowest of 19");
    assert!(slowest < Duration::from_secs(1), "{slowest:?}");

    let edits = [
        (r#"{"disabled":true}"#, 404),
        (r#"{"disabled":false,"expires":"2020-01-01T00:00:00Z"}"#, 410),
        (r#"{"expires":"never","status":301,"pass_query":true}"#, 301),
    ];
    for (edit, status) in &edits {
        assert_eq!(request("PATCH", &format!("{api}/a"), &headers, *edit).unwrap().status, 200);
        until(edit, || (location(&other, "/a").0 == *status).then_some(()));
    }
    let answer = other.get("/a?x=1", &[]);
    assert_eq!(answer.header("location"), Some("https://example.com/20?x=1"));
    assert_eq!(answer.header("cache-control"), Some("public, max-age=86400"));
    assert_eq!(request("DELETE", &format!("{api}/a"), &headers, "").unwrap().status, 204);
    until("both have removed it", || {
        [&one, &other].iter().all(|host| location(host, "/a").0 == 404).then_some(())
    });
    let log = topic(&world.kafka, &world.links_topic);
    assert_eq!(log["a"].last(), Some(&24));
    assert!(log["a"].is_sorted());
    let logged = one.log().matches("the admin API changed a link").count();
    assert_eq!(logged, 19 + edits.len() + 1, "one line per change");
    one.stop().expect_code(0);
    other.stop().expect_code(0);
}

#[test]
fn with_broker_and_store_down_a_host_serves_its_snapshot_or_is_not_ready() {
    let world = World::new("snapshot");
    world.setup();
    let store = store(&world);
    world.links(&store, &["add", "a", "https://example.com/"]).expect_code(0);
    let mut host = world.host("host", &[("CLICKTRAIL_LINKS_DB", &store)]);
    until("it is served", || (location(&host, "/a").0 == 302).then_some(()));
    host.stop().expect_code(0);

    let closed = closed_port().to_string();
    let registry = format!("http://{closed}");
    let down = [
        ("KAFKA_BROKERS", closed.as_str()),
        ("SCHEMA_REGISTRY_URL", &registry),
        ("CLICKTRAIL_FLUSH_SECONDS", "0"),
    ];
    let ready = |server: &Server| get(&format!("{}/readyz", server.admin)).ok();
    let host = world.start_host("host", &down);
    let answer = until("it is ready", || ready(&host).filter(|answer| answer.status == 200));
    assert!(answer.body.contains("links are those of the last snapshot"), "{}", answer.body);
    assert_eq!(location(&host, "/a").0, 302);
    // The link may be new: the host does not answer that it does not exist.
    let unknown = host.get("/b", &[]);
    assert_eq!((unknown.status, unknown.header("retry-after")), (503, Some("5")));

    let mut bare = world.start_host("bare", &down);
    let answer = until("it reports what it waits for", || {
        ready(&bare).filter(|answer| answer.body.contains("no broker answers"))
    });
    assert_eq!(answer.status, 503);
    for (path, status) in [("/a", 503), ("/b", 503), ("/robots.txt", 200), ("/", 200)] {
        assert_eq!(location(&bare, path).0, status, "{path}");
    }
    bare.stop().expect_code(0);
    assert!(!std::fs::exists(&bare.links).unwrap(), "links that are not loaded are no snapshot");
}

#[test]
fn a_relay_killed_repeatedly_loses_and_reverts_no_change() {
    let world = World::new("relay");
    killed_relays(&world, &store(&world));
}

#[test]
fn postgresql_relays_killed_repeatedly_lose_and_revert_no_change() {
    let server = OwnPostgres::up();
    killed_relays(&World::new("pg_relay"), &server.url());
}

/// Kills a host repeatedly while links change in `store`.
fn killed_relays(world: &World, store: &str) {
    const LINKS: usize = 300;
    world.setup();
    let file = world.folder().join("links.jsonl");
    for round in 1..=5 {
        let mut lines = String::new();
        for number in 0..LINKS {
            writeln!(lines, r#"{{"slug":"s{number}","url":"https://example.com/{round}"}}"#)
                .unwrap();
        }
        std::fs::write(&file, lines).unwrap();
        let mut host = world.start_host("host", &[("CLICKTRAIL_LINKS_DB", store)]);
        world.links(store, &["import", file.to_str().unwrap()]).expect_code(0);
        // Earlier or later in its loop, by the round.
        until("the relay has started", || {
            let records = world.kafka.records(&world.links_topic);
            (records > 0 || round == 1).then_some(())
        });
        std::thread::sleep(Duration::from_millis(90 * round));
        host.crash();
    }
    let mut host = world.host("host", &[("CLICKTRAIL_LINKS_DB", store)]);
    let admin = host.admin.clone();
    host.until("no change waits", || {
        let waiting = metric(&admin, "clicktrail_producer_link_outbox_links")?;
        (waiting == 0.0).then_some(())
    });
    until("the last round is served", || {
        let last = location(&host, &format!("/s{}", LINKS - 1)).1;
        (last.as_deref() == Some("https://example.com/5")).then_some(())
    });
    host.stop().expect_code(0);
    let log = topic(&world.kafka, &world.links_topic);
    assert_eq!(log.len(), LINKS);
    for (id, versions) in log {
        assert!(versions.is_sorted(), "{id}: {versions:?}");
        assert_eq!(versions.last(), Some(&5), "{id}");
    }
}

#[test]
fn an_older_version_that_arrives_late_is_followed_by_the_newest_again() {
    let world = World::new("overtaken");
    world.setup();
    let store = store(&world);
    let mut host = world.host("host", &[("CLICKTRAIL_LINKS_DB", &store)]);
    world.links(&store, &["add", "a", "https://example.com/1"]).expect_code(0);
    until("it is served", || (location(&host, "/a").0 == 302).then_some(()));
    world.links(&store, &["set", "a", "--url", "https://example.com/2"]).expect_code(0);
    let versions = || topic(&world.kafka, &world.links_topic).remove("a").unwrap_or_default();
    until("the change is published", || (versions() == [1, 2]).then_some(()));
    // As from a relay that timed out while the broker still had its request.
    let log = world.kafka.read(&world.links_topic);
    let Logged { partition, key, value, .. } = log[0].clone();
    world.kafka.produce(&world.links_topic, &[Raw { partition, key, value, headers: Vec::new() }]);
    until("the topic ends with the newest", || (versions() == [1, 2, 1, 2]).then_some(()));
    assert_eq!(location(&host, "/a"), (302, Some("https://example.com/2".to_owned())));
    host.stop().expect_code(0);
    // A host that starts later reads the late version, too, and does not publish again.
    let mut again = world.host("host", &[("CLICKTRAIL_LINKS_DB", &store)]);
    again.stop().expect_code(0);
    assert_eq!(versions(), [1, 2, 1, 2]);
}

#[test]
fn a_host_without_snapshot_loads_all_links_before_it_is_ready() {
    // `LINKS=1000000` measures a large store; the test prints the figures.
    let count = std::env::var("LINKS").map_or(100_000, |text| text.parse().unwrap());
    let all = f64::from(u32::try_from(count).unwrap());
    let world = World::new("warm");
    world.setup();
    let store = store(&world);
    let file = world.folder().join("links.jsonl");
    let mut lines = String::new();
    for number in 0..count {
        let target =
            format!("https://shop{}.example/products/{number}?utm_source=mail", number % 97);
        writeln!(lines, r#"{{"slug":"p{number}","url":"{target}"}}"#).unwrap();
    }
    std::fs::write(&file, &lines).unwrap();
    let began = Instant::now();
    let imported = world.links(&store, &["import", file.to_str().unwrap()]).expect_code(0);
    println!("{count} links were imported in {:?}", began.elapsed());
    assert!(imported.out.contains(&format!("added={count} changed=0 same=0")), "{imported:?}");
    let began = Instant::now();
    let mut first = world.host("first", &[("CLICKTRAIL_LINKS_DB", &store)]);
    let admin = first.admin.clone();
    first.until("all are published and followed", || {
        metric(&admin, "clicktrail_producer_links").filter(|links| *links >= all)
    });
    println!("{count} links were published and followed within {:?}", began.elapsed());

    let began = Instant::now();
    let mut second = world.host("second", &[]);
    println!("a host without snapshot was ready with {count} links in {:?}", began.elapsed());
    assert!(began.elapsed() < Duration::from_secs(60));
    assert_eq!(metric(&second.admin, "clicktrail_producer_links"), Some(all));
    for number in (0..count).step_by(9_973) {
        let target =
            format!("https://shop{}.example/products/{number}?utm_source=mail", number % 97);
        assert_eq!(location(&second, &format!("/p{number}")), (302, Some(target)));
    }
    assert_eq!(location(&second, "/nowhere").0, 404);
    let memory = (second.memory_kib(), second.memory_peak_kib());
    println!("memory now and at its peak: {memory:?} KiB");
    second.stop().expect_code(0);
    let exported = world.links(&store, &["export"]).expect_code(0);
    assert_eq!(exported.out.lines().count(), count);
    first.stop().expect_code(0);
}

#[test]
fn the_links_view_shows_the_newest_version_of_each_link_after_any_replay() {
    let world = World::new("dimension");
    world.setup();
    world.query("SYSTEM STOP MERGES link_versions");
    let store = store(&world);
    world.links(&store, &["add", "a", "https://example.com/1", "--id", "first"]).expect_code(0);
    world.links(&store, &["add", "b", "https://example.com/b"]).expect_code(0);
    let mut host = world.host("host", &[("CLICKTRAIL_LINKS_DB", &store)]);
    let mut processors = world.processors(&[], &[]);
    let rows = |sql: &str, expected: &str| {
        until(expected, || (world.query(sql) == expected).then_some(()));
    };
    let all = "SELECT link_id, version, target_url, deleted FROM links ORDER BY link_id";
    rows(all, "b\t1\thttps://example.com/b\tfalse\nfirst\t1\thttps://example.com/1\tfalse");
    let expires = ["set", "first", "--expires", "2027-01-31T12:00:00Z", "--status", "301"];
    world.links(&store, &expires).expect_code(0);
    world.links(&store, &["delete", "b"]).expect_code(0);
    rows(all, "b\t2\t\ttrue\nfirst\t2\thttps://example.com/1\tfalse");
    let one = "SELECT status, expires_at FROM links WHERE link_id = 'first'";
    rows(one, "301\t2027-01-31 12:00:00.000000");
    assert_eq!(world.number("SELECT count() FROM clicks JOIN links USING link_id"), 0);
    processors.stop().expect_code(0);

    // Another group reads everything again and inserts the same rows; the view shows each once.
    let versions = "SELECT count() FROM link_versions";
    let before = world.number(versions);
    let mut again = world.processors_of(&format!("{}-again", world.group), &[], &[]);
    until("all rows are inserted again", || (world.number(versions) >= before + 2).then_some(()));
    rows(all, "b\t2\t\ttrue\nfirst\t2\thttps://example.com/1\tfalse");
    again.stop().expect_code(0);
    host.stop().expect_code(0);
}
