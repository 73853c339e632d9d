//! The most expensive bodies and days, against the real producer.

use std::time::{Duration, Instant};

use harness::{OwnPostgres, StopFlag, World, metric};
use jiff::{SignedDuration, Timestamp};
use schemas::{Decoder, NEWEST, unframe};

use super::collector::{ON, send};

const LINKS: &str = r#"{"slug":"a","url":"https://example.com/"}"#;
const DAY: SignedDuration = SignedDuration::from_hours(24);

/// As many copies of an element as fit into a body of the default size.
fn array(element: &str) -> String {
    format!("[{}]", vec![element; (1 << 20) / (element.len() + 1) - 1].join(","))
}

fn day(ago: i32) -> String {
    (Timestamp::now() - DAY * ago).strftime("%Y-%m-%d").to_string()
}

/// A record of some days ago, with all data for a visitor id.
fn record(ago: i32) -> String {
    let at = Timestamp::now() - DAY * ago;
    format!(
        r#"{{"slug":"d{ago}","occurred_at":"{at}","client_ip":"203.0.113.7","user_agent":"M"}}"#
    )
}

#[test]
fn h8_sixty_four_concurrent_bodies_stay_within_the_memory_of_the_container() {
    let world = World::new("hostile_bodies");
    world.setup();
    let mut server = world.serve(LINKS, &[ON]);
    server.get("/a", &[]);
    let before = server.memory_peak_kib().unwrap();
    let bodies: Vec<_> =
        ["0", "{}", "[]", r#"{"":0}"#, r#"{"slug":"a"}"#, "\"\""].map(array).into();
    let (url, done, mut slowest) = (server.url.clone(), StopFlag::default(), Duration::ZERO);
    let statuses: Vec<u16> = std::thread::scope(|scope| {
        let guard = done.guard();
        let send_all = |thread: usize| {
            let bodies = bodies.iter().cycle().skip(thread).take(3);
            let kind =
                if thread.is_multiple_of(2) { "application/json" } else { "application/x-ndjson" };
            let all = bodies.map(|body| {
                let lines = body.replace(',', "\n");
                let body = if thread % 4 < 3 { body.clone() } else { lines };
                send(&url, kind, body).unwrap().status
            });
            all.collect::<Vec<_>>()
        };
        let senders: Vec<_> = (0..64).map(|n| scope.spawn(move || send_all(n))).collect();
        let visitor = scope.spawn(|| {
            let mut slowest = Duration::ZERO;
            while !done.is_set() {
                let since = Instant::now();
                assert_eq!(harness::get(&format!("{url}/a?visitor")).unwrap().status, 302);
                slowest = slowest.max(since.elapsed());
                std::thread::sleep(Duration::from_millis(10));
            }
            slowest
        });
        let statuses = senders.into_iter().flat_map(|it| it.join().unwrap()).collect();
        drop(guard);
        slowest = visitor.join().unwrap();
        statuses
    });
    let peak = server.memory_peak_kib().unwrap();
    println!("{before} KiB before, {peak} KiB peak, slowest redirect {slowest:?}");
    assert!(statuses.iter().all(|status| [400, 413, 503].contains(status)), "{statuses:?}");
    assert!(peak < before + 200 * 1024, "memory grew from {before} KiB to {peak} KiB");
    assert!(slowest < Duration::from_secs(3), "a redirect took {slowest:?}");
    let open = metric(&server.admin, "clicktrail_producer_collector_open");
    assert_eq!(open, Some(0.0));
    server.stop().expect_code(0);
}

#[test]
fn m15_a_start_deletes_expired_keys_and_stale_temporary_files() {
    let world = World::new("old_keys");
    world.setup();
    let folder = world.outbox().join("visitor-keys");
    std::fs::create_dir_all(&folder).unwrap();
    let (yesterday, before) = (day(1), day(3));
    let files =
        ["2020-01-01.key", "2020-01-01.x.half", &format!("{before}.key")].map(str::to_owned);
    let kept =
        [format!("{yesterday}.key"), format!("{yesterday}.1.half"), format!("{}.2.half", day(0))];
    for file in files.iter().chain(&kept) {
        std::fs::write(folder.join(file), [7; 32]).unwrap();
    }
    let mut server = world.serve(LINKS, &[ON]);
    let names = || {
        let files = std::fs::read_dir(&folder).unwrap();
        let mut names: Vec<_> =
            files.map(|it| it.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    };
    let expected: Vec<_> = [1, 0, -1].map(|ago| format!("{}.key", day(ago))).into();
    assert_eq!(names(), expected);
    let forgotten = metric(&server.admin, "clicktrail_producer_visitor_keys_forgotten_total");
    assert_eq!(forgotten, Some(2.0));
    // A day without a key gets no key; days with one give ids.
    let body: Vec<_> = [0, 1, 2, 29].map(record).into();
    assert_eq!(send(&server.url, "application/x-ndjson", body.join("\n")).unwrap().status, 200);
    let without = metric(&server.admin, "clicktrail_producer_clicks_without_visitor_key_total");
    assert_eq!(without, Some(2.0));
    server.stop().expect_code(0);
    assert_eq!(names(), expected);
    let decoder = Decoder::new(NEWEST).unwrap();
    for record in world.kafka.read(&world.topic) {
        let (_, datum) = unframe(record.value.as_deref().unwrap()).unwrap();
        let click = decoder.decode(datum).unwrap();
        assert_eq!(click.visitor_id.is_some(), ["d0", "d1"].contains(&click.slug), "{click:?}");
    }
}

#[test]
fn m5_clicks_of_any_day_never_use_or_wait_for_a_postgresql_connection() {
    let (world, postgres) = (World::new("many_days"), OwnPostgres::up());
    world.setup();
    let mut server = world.serve(LINKS, &[ON, ("CLICKTRAIL_LINKS_DB", &postgres.url())]);
    let recent: Vec<_> = (0..1_000).map(|n| record(n % 30)).collect();
    let any: Vec<_> = (0..1_000).map(|n| record(n * 9)).collect();
    for round in 0..2 {
        for (records, status) in [(&recent, 200), (&any, 207)] {
            let since = Instant::now();
            let answer = send(&server.url, "application/x-ndjson", records.join("\n")).unwrap();
            assert_eq!(answer.status, status, "{answer:?}");
            let elapsed = since.elapsed();
            assert!(elapsed < Duration::from_secs(5), "{elapsed:?} for 1,000 days");
            let old = answer.body.matches(r#""code":"occurred_at_too_old""#).count();
            assert_eq!(old, if status == 200 { 0 } else { 996 });
        }
        if round == 0 {
            postgres.crash();
        }
    }
    server.stop().expect_code(0);
}
