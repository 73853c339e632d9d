//! Clicks of other redirect services: an acknowledged click survives kills, and counts once however
//! often it is sent.

use std::collections::{BTreeMap, BTreeSet};
use std::process::Command;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use harness::{Answer, Server, StopFlag, World, closed_port, metric, request};
use schemas::{Decoder, EventId, NEWEST, Origin, unframe};
use uuid::Uuid;

const TOKEN: &str = "a-token-of-this-test";
pub(crate) const ON: (&str, &str) = ("CLICKTRAIL_COLLECTOR_TOKEN", TOKEN);
const LINKS: &str = r#"{"slug":"a","url":"https://example.com/"}"#;
/// Records of a request.
const RECORDS: u64 = 20;

pub(crate) fn send(url: &str, kind: &str, body: String) -> Result<Answer, String> {
    let bearer = format!("Bearer {TOKEN}");
    let headers = [("Content-Type", kind), ("Authorization", bearer.as_str())];
    request("POST", &format!("{url}/v1/clicks"), &headers, body)
}

/// A click with a unique event id.
fn record(slug: &str) -> String {
    let at = jiff::Timestamp::now().as_microsecond();
    let id = Uuid::now_v7();
    format!(r#"{{"event_id":"{id}","occurred_at":{at},"slug":"{slug}","status":302}}"#)
}

/// The event ids of each slug in the log.
fn logged(world: &World) -> BTreeMap<String, BTreeSet<EventId>> {
    let decoder = Decoder::new(NEWEST).unwrap();
    let mut slugs: BTreeMap<String, BTreeSet<EventId>> = BTreeMap::new();
    for record in world.kafka.read(&world.topic) {
        let (_, datum) = unframe(record.value.as_deref().unwrap()).unwrap();
        let click = decoder.decode(datum).unwrap();
        assert_eq!(click.origin, Origin::Collector);
        slugs.entry(click.slug.to_owned()).or_default().insert(click.event_id);
    }
    slugs
}

fn until_delivered(server: &mut Server) {
    let admin = server.admin.clone();
    server.until("all stored clicks are delivered", || {
        metric(&admin, "clicktrail_producer_outbox_clicks").filter(|waiting| *waiting == 0.0)
    });
}

#[test]
fn a_click_that_is_sent_twice_counts_once() {
    let world = World::new("sent_twice");
    world.setup();
    let mut server = world.serve(LINKS, &[ON]);
    let records: Vec<_> = (0..50).map(|number| record(&format!("s{number}"))).collect();
    let array = format!("[{}]", records.join(","));
    for (kind, body) in [
        ("application/json", array.clone()),
        ("application/x-ndjson", records.join("\n")),
        ("application/json", array),
    ] {
        let answer = send(&server.url, kind, body).unwrap();
        assert_eq!(answer.status, 200, "{answer:?}");
    }
    let one_bad = format!("{}\n{{\"slug\":7}}", record("last"));
    let answer = send(&server.url, "application/x-ndjson", one_bad).unwrap();
    assert_eq!(answer.status, 207, "{answer:?}");
    assert!(answer.body.contains(r#""index":1,"status":"rejected","code":"record_malformed""#));
    let summary = server.stop().expect_code(0).summary("serve");
    assert_eq!((summary.get("clicks"), summary.get("delivered")), (151, 151));
    assert_eq!(world.kafka.records(&world.topic), 151);
    let mut processors = world.processors(&[], &[]);
    processors.until_caught_up(&world);
    let seen = world.query("SELECT count(), uniqExact(event_id), uniqExact(slug) FROM clicks");
    assert_eq!(seen, "51\t51\t51");
    let report = world.balanced();
    assert_eq!(report["resends"], 100, "{report:#}");
}

#[test]
fn every_acknowledged_click_is_in_the_log_after_kills_of_the_producer() {
    let world = World::new("killed_collector");
    world.setup();
    let next = AtomicU64::new(0);
    let mut promised = BTreeSet::new();
    for round in 0..5_u64 {
        let mut server = world.serve(LINKS, &[ON]);
        let (url, stop) = (server.url.clone(), StopFlag::default());
        let kept: Vec<_> = std::thread::scope(|scope| {
            let guard = stop.guard();
            let line = || {
                let mut kept = Vec::new();
                while !stop.is_set() {
                    let first = next.fetch_add(RECORDS, Ordering::SeqCst);
                    let slugs: Vec<_> = (first..first + RECORDS).map(|n| format!("s{n}")).collect();
                    let body: Vec<_> = slugs.iter().map(|slug| record(slug)).collect();
                    match send(&url, "application/x-ndjson", body.join("\n")) {
                        Ok(answer) if answer.status == 200 => kept.extend(slugs),
                        Ok(answer) => panic!("{answer:?}"),
                        Err(_) => break,
                    }
                }
                kept
            };
            let lines: Vec<_> = (0..4).map(|_| scope.spawn(line)).collect();
            std::thread::sleep(Duration::from_millis(250 + 170 * round));
            server.crash();
            drop(guard);
            lines.into_iter().flat_map(|line| line.join().unwrap()).collect()
        });
        promised.extend(kept);
    }
    let mut server = world.serve(LINKS, &[ON]);
    until_delivered(&mut server);
    server.stop().expect_code(0);
    let log = logged(&world);
    let missing: Vec<_> = promised.iter().filter(|slug| !log.contains_key(*slug)).collect();
    println!("{} clicks were acknowledged, {} are in the log", promised.len(), log.len());
    assert!(missing.is_empty(), "{missing:?} were acknowledged and are missing");
    assert!(promised.len() > 200, "{} acknowledged clicks are too few", promised.len());
    assert!(log.values().all(|ids| ids.len() == 1), "a click has two events in the log");
}

#[test]
fn without_broker_and_registry_whole_requests_are_stored_until_the_outbox_is_full() {
    let world = World::new("full_collector");
    world.setup();
    let closed_broker = closed_port().to_string();
    let small = [ON, ("KAFKA_BROKERS", &*closed_broker), ("CLICKTRAIL_OUTBOX_BYTES", "1048576")];
    let mut server = world.serve(LINKS, &small);
    let mut promised = BTreeSet::new();
    let refused = (0..).find_map(|round| {
        let slugs: Vec<_> = (0..500).map(|n| format!("r{round}-{n}")).collect();
        let body: Vec<_> = slugs.iter().map(|slug| record(slug)).collect();
        let answer = send(&server.url, "application/x-ndjson", body.join("\n")).unwrap();
        if answer.status != 200 {
            return Some(answer);
        }
        promised.extend(slugs);
        None
    });
    let refused = refused.unwrap();
    assert_eq!(refused.status, 503, "{refused:?}");
    assert!(refused.header("retry-after").is_some() && refused.body.contains("outbox_full"));
    // Redirects continue.
    assert_eq!(server.get("/a", &[]).status, 302);
    server.stop();
    world.serve(LINKS, &[ON]).stop().expect_code(0);
    let decoder = Decoder::new(NEWEST).unwrap();
    let records = world.kafka.read(&world.topic);
    let slugs = records.iter().map(|record| {
        let (_, datum) = unframe(record.value.as_deref().unwrap()).unwrap();
        decoder.decode(datum).unwrap().slug.to_owned()
    });
    let slugs: BTreeSet<_> = slugs.filter(|slug| slug != "a").collect();
    assert_eq!(slugs, promised);
}

#[test]
fn a_compressed_json_log_on_standard_input_imported_again_counts_once() {
    let world = World::new("nginx_json");
    world.setup();
    let line = |n: u32| {
        format!(
            r#"{{"msec":"1431857103.{n:03}","remote_addr":"203.0.113.7","host":"go.example","scheme":"https","request_method":"GET","request_uri":"/s{n}?q=1","server_protocol":"HTTP/1.1","status":"302","http_referer":"","http_user_agent":"M","http_accept_language":"de","http_dnt":"","http_sec_gpc":""}}"#
        )
    };
    let lines: Vec<_> = (0..200).map(line).collect();
    let file = world.folder().join("access.log");
    std::fs::write(&file, format!("{}\nnonsense\n", lines.join("\n"))).unwrap();
    let plain = world.command("producer", &[]);
    let program = plain.get_program().to_string_lossy().into_owned();
    let mut shell = Command::new("sh");
    let import = format!("gzip -c '{}' | '{program}' import --format nginx-json -", file.display());
    shell.arg("-c").arg(import);
    for (name, value) in plain.get_envs() {
        match value {
            Some(value) => shell.env(name, value),
            None => shell.env_remove(name),
        };
    }
    let mut again = world.command("producer", &[]);
    again.args(["import", "--format", "nginx-json"]).arg(&file);
    for command in [shell, again] {
        let summary = world.start(command).end().expect_code(0).summary("import");
        let counts = ["lines", "clicks", "malformed", "delivered"].map(|name| summary.get(name));
        assert_eq!(counts, [201, 200, 1, 200]);
    }
    let mut processors = world.processors(&[], &[]);
    processors.until_caught_up(&world);
    let seen = "SELECT count(), uniqExact(slug), uniqExact(visitor_id), min(visitor_id) > 0, \
                any(domain) FROM clicks";
    assert_eq!(world.query(seen), "200\t200\t1\t1\tgo.example");
    assert_eq!(world.balanced()["resends"], 200);
}
