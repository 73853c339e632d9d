//! The visitor data in a record: an id for one day, and only what the privacy policy allows.

use harness::{Logged, OwnPostgres, World, metric};
use schemas::{ClientIpPolicy, Decoder, NEWEST, RawClick, unframe};

const LINKS: &str = r#"{"slug":"a","url":"https://example.com/"}
{"slug":"quiet","url":"https://example.com/","opt_out":true}"#;

fn click<'a>(records: &'a [Logged], decoder: &Decoder, query: &str) -> Option<RawClick<'a>> {
    let clicks = records.iter().map(|record| {
        let (_, datum) = unframe(record.value.as_deref().unwrap()).unwrap();
        decoder.decode(datum).unwrap()
    });
    clicks.into_iter().find(|click| click.query == Some(query))
}

#[test]
fn a_visitor_keeps_one_id_all_day_until_the_key_is_forgotten() {
    let world = World::new("visitor");
    world.setup();
    let firefox = [("User-Agent", "Firefox")];
    let mut server = world.serve(LINKS, &[]);
    server.get("/a?n=1", &firefox);
    server.get("/a?n=2", &[("User-Agent", "Chrome")]);
    // Longer than the part that a click without a redirect keeps.
    let long = "x".repeat(600);
    server.get("/a?n=5", &[("User-Agent", &long)]);
    server.get("/unknown?n=6", &[("User-Agent", &long)]);
    server.stop().expect_code(0);
    // The same day in another process.
    let mut server = world.serve(LINKS, &[]);
    server.get("/a?n=3", &firefox);
    server.stop().expect_code(0);
    let keys = |args: &[&str], code| {
        let mut command = world.command("producer", &[]);
        command.arg("visitor-keys").args(args);
        world.start(command).end().expect_code(code).out
    };
    let days = keys(&["list"], 0);
    // Today and tomorrow; a third day if the test runs over midnight.
    assert!((2..=3).contains(&days.lines().count()), "{days}");
    for day in days.lines() {
        assert_eq!(keys(&["forget", day], 0), format!("forgotten {day}\n"));
        keys(&["forget", day], 78);
    }
    let mut server = world.serve(LINKS, &[]);
    server.get("/a?n=4", &firefox);
    server.stop().expect_code(0);
    let records = world.kafka.read(&world.topic);
    let decoder = Decoder::new(NEWEST).unwrap();
    let id = |query| click(&records, &decoder, query).unwrap().visitor_id.unwrap();
    assert_eq!(id("n=1"), id("n=3"));
    assert_ne!(id("n=1"), id("n=2"));
    assert_ne!(id("n=1"), id("n=4"));
    assert_eq!(id("n=5"), id("n=6"));
}

#[test]
fn hosts_that_share_a_link_store_give_a_visitor_one_id() {
    let (world, postgres) = (World::new("hosts"), OwnPostgres::up());
    world.setup();
    for query in ["n=1", "n=2"] {
        let host = tempfile::tempdir().unwrap();
        let outbox = host.path().to_str().unwrap();
        let set = [("CLICKTRAIL_OUTBOX", outbox), ("CLICKTRAIL_LINKS_DB", &postgres.url())];
        let mut server = world.serve(LINKS, &set);
        server.get(&format!("/a?{query}"), &[("User-Agent", "Firefox")]);
        server.stop().expect_code(0);
        assert!(!host.path().join("visitor-keys").exists());
    }
    let records = world.kafka.read(&world.topic);
    let decoder = Decoder::new(NEWEST).unwrap();
    let id = |query| click(&records, &decoder, query).unwrap().visitor_id.unwrap();
    assert_eq!(id("n=1"), id("n=2"));
}

#[test]
fn privacy_signals_follow_the_configured_policy_and_dropped_clicks_are_counted() {
    let world = World::new("privacy");
    world.setup();
    let signals: [&[(&str, &str)]; 3] = [&[], &[("Sec-GPC", "1")], &[("DNT", "1")]];
    for (policy, dropped) in [("ignore", false), ("strip", false), ("drop", true)] {
        let set = [
            ("CLICKTRAIL_PRIVACY_SIGNALS", policy),
            ("CLICKTRAIL_PRIVACY_OPT_OUT", policy),
            ("CLICKTRAIL_PRIVACY_CLIENT_ADDRESS", "truncated"),
        ];
        let mut server = world.serve(LINKS, &set);
        for (number, signal) in signals.iter().enumerate() {
            let answer = server.get(&format!("/a?{policy}={number}"), signal);
            assert_eq!(answer.status, 302, "every visitor is redirected");
        }
        server.get(&format!("/quiet?{policy}=3"), &[]);
        let count = |asked| {
            let labels = format!("{{asked=\"{asked}\",done=\"{policy}\"}}");
            metric(&server.admin, &format!("clicktrail_producer_clicks_private_total{labels}"))
        };
        let expected = (policy != "ignore").then_some(1.0);
        assert_eq!(["gpc", "dnt", "opt_out"].map(count), [expected; 3], "{policy}");
        let summary = server.stop().expect_code(0).summary("serve");
        assert_eq!(summary.get("clicks"), if dropped { 1 } else { 4 });
    }
    let records = world.kafka.read(&world.topic);
    let decoder = Decoder::new(NEWEST).unwrap();
    for (policy, number) in
        ["ignore", "strip", "drop"].iter().flat_map(|it| (0..4).map(move |n| (*it, n)))
    {
        let found = click(&records, &decoder, &format!("{policy}={number}"));
        let Some(click) = found else {
            assert!(policy == "drop" && number > 0, "{policy}{number} is missing");
            continue;
        };
        let stripped = policy == "strip" && number > 0;
        assert_eq!(click.identifiers_stripped, stripped, "{policy}{number}");
        let (ip, how) = match stripped {
            true => (None, ClientIpPolicy::None),
            false => (Some(&[127, 0, 0, 0][..]), ClientIpPolicy::Truncated),
        };
        assert_eq!((click.client_ip, click.client_ip_policy), (ip, how), "{policy}{number}");
        assert_eq!((click.gpc, click.dnt), (number == 1, number == 2), "the signal is recorded");
    }
}
