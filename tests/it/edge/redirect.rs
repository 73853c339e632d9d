//! Redirects do not wait for any server, and each redirect is a click in the log.

use std::time::{Duration, Instant};

use harness::{Logged, Server, Visitors, World, closed_port, request};
use schemas::{Decoder, Method, NEWEST, Origin, Outcome, RawClick, TraceContext, headers, unframe};

const LINKS: &str = r#"
{"slug":"a","url":"https://example.com/landing?utm_source=mail","id":"link-a","version":3}
{"slug":"off","url":"https://example.com/off","id":"link-off","disabled":true}
{"slug":"old","url":"https://example.com/old","id":"link-old","expires":"2020-01-01T00:00:00Z"}
"#;
const PARENT: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";

fn ask(server: &Server, method: &str, path: &str, headers: &[(&str, &str)]) -> harness::Answer {
    request(method, &format!("{}{path}", server.url), headers, "").unwrap()
}

/// The clicks of the log by slug; a test requests each slug once.
fn click<'a>(
    records: &'a [Logged],
    decoder: &Decoder,
    slug: &str,
    method: Method,
) -> (RawClick<'a>, &'a Logged) {
    let decoded = records.iter().map(|record| {
        let (_, datum) = unframe(record.value.as_deref().unwrap()).unwrap();
        (decoder.decode(datum).unwrap(), record)
    });
    let mut found = decoded.filter(|(click, _)| click.slug == slug && click.method == method);
    let first = found.next().unwrap_or_else(|| panic!("no click of {slug}"));
    assert!(found.next().is_none(), "two clicks of {slug}");
    first
}

#[test]
fn each_redirect_is_one_record_with_the_facts_of_request_and_response() {
    let world = World::new("redirect");
    world.setup();
    let mut server = world.serve(LINKS, &[("CLICKTRAIL_PRIVACY_SIGNALS", "ignore")]);
    let sent = [
        ("Host", "Short.Example:8080"),
        ("User-Agent", "Mozilla/5.0 (X11; Linux x86_64)"),
        ("Referer", "https://news.example/item"),
        ("Accept-Language", "de-AT,de"),
        ("DNT", "1"),
    ];
    let answer = ask(&server, "GET", "/a?x=1", &sent);
    assert_eq!(answer.status, 302);
    assert_eq!(answer.header("location"), Some("https://example.com/landing?utm_source=mail"));
    assert_eq!(answer.header("cache-control"), Some("private, no-store"));
    assert_eq!(answer.body, "");
    for (method, path, status) in [
        ("HEAD", "/a", 302),
        ("GET", "/nowhere", 404),
        ("GET", "/off", 404),
        ("GET", "/old", 410),
        ("GET", "/", 200),
        ("GET", "/robots.txt", 200),
        ("POST", "/a", 405),
        ("DELETE", "/a", 405),
    ] {
        let answer = ask(&server, method, path, &[]);
        assert_eq!(answer.status, status, "{method} {path}");
        assert_eq!(answer.header("location").is_some(), status == 302, "{method} {path}");
        if status == 405 {
            assert_eq!(answer.header("allow"), Some("GET, HEAD"));
        }
    }
    let summary = server.stop().expect_code(0).summary("serve");
    // A request with 405 is no visit of a link.
    assert_eq!(
        (summary.get("clicks"), summary.get("delivered"), summary.get("undelivered")),
        (7, 7, 0)
    );
    assert_eq!(summary.get("redirects"), 2);

    let records = world.kafka.read(&world.topic);
    assert_eq!(records.len(), 7);
    let decoder = Decoder::new(NEWEST).unwrap();
    let (got, _) = click(&records, &decoder, "a", Method::Get);
    assert_eq!(got.domain, Some("short.example"));
    assert_eq!((got.query, got.status, got.outcome), (Some("x=1"), 302, Outcome::Redirected));
    assert_eq!((got.link_id, got.link_version), (Some("link-a"), Some(3)));
    assert_eq!(got.target_url, Some("https://example.com/landing?utm_source=mail"));
    assert_eq!(got.user_agent, Some(sent[1].1));
    assert_eq!((got.referer, got.accept_language), (Some(sent[2].1), Some(sent[3].1)));
    assert_eq!((got.origin, got.source, got.dnt), (Origin::Redirect, "test-node", true));
    assert_eq!(got.client_ip, Some(&[127, 0, 0, 1][..]));
    let now = jiff::Timestamp::now().as_microsecond();
    assert!((now - got.occurred_at).abs() < 120_000_000, "occurred at {}", got.occurred_at);
    for (slug, method, outcome, link) in [
        ("a", Method::Head, Outcome::Redirected, Some("link-a")),
        ("nowhere", Method::Get, Outcome::NotFound, None),
        ("off", Method::Get, Outcome::Disabled, Some("link-off")),
        ("old", Method::Get, Outcome::Expired, Some("link-old")),
        ("", Method::Get, Outcome::BaseUrl, None),
        ("robots.txt", Method::Get, Outcome::Reserved, None),
    ] {
        let (got, _) = click(&records, &decoder, slug, method);
        assert_eq!((got.outcome, got.link_id), (outcome, link), "{slug}");
    }
}

#[test]
fn a_visit_and_its_record_share_one_trace() {
    let world = World::new("trace");
    world.setup();
    // The sampled flag counts from trusted proxies only.
    let mut server = world.serve(LINKS, &[("CLICKTRAIL_TRUSTED_PROXIES", "127.0.0.0/8")]);
    let unsampled = PARENT.replace("-01", "-00");
    let cases = [
        ("sampled", vec![("traceparent", PARENT), ("tracestate", "vendor=1")], Some(true)),
        ("unsampled", vec![("traceparent", unsampled.as_str())], Some(false)),
        ("none", vec![], None),
        ("broken", vec![("traceparent", "00-nonsense"), ("tracestate", "vendor=1")], None),
    ];
    let mut answered = Vec::new();
    for (slug, headers, _) in &cases {
        let answer = ask(&server, "GET", &format!("/{slug}"), headers);
        answered
            .push(answer.header("traceparent").expect("the response has a traceparent").to_owned());
    }
    server.stop().expect_code(0);
    let records = world.kafka.read(&world.topic);
    let decoder = Decoder::new(NEWEST).unwrap();
    let parent = TraceContext::parse(PARENT).unwrap();
    for ((slug, _, taken_up), answered) in cases.iter().zip(&answered) {
        let (got, record) = click(&records, &decoder, slug, Method::Get);
        // A trace that starts here and is not sampled needs no header.
        let header = taken_up.map(|_| answered.as_str());
        assert_eq!(record.header(headers::TRACEPARENT), header, "{slug}");
        assert_eq!(record.headers.is_empty(), taken_up.is_none(), "{slug}: {:?}", record.headers);
        let trace = TraceContext::parse(answered).unwrap();
        let own_id = taken_up.map_or(got.event_id.into_bytes(), |_| parent.trace_id);
        assert_eq!(trace.trace_id, own_id, "{slug}");
        assert_eq!(trace.sampled, *taken_up == Some(true), "{slug}: it is not sampled");
        assert_ne!(trace.span_id, parent.span_id, "{slug}");
        let state = (*slug == "sampled").then_some("vendor=1");
        assert_eq!(record.header(headers::TRACESTATE), state, "{slug}");
    }
    assert_ne!(answered[2], answered[3], "each visit without a trace starts its own");
}

#[test]
fn without_a_broker_visitors_are_redirected_and_every_click_is_kept_on_disk() {
    let world = World::new("no_broker");
    world.setup();
    let closed_broker = closed_port().to_string();
    let set = [("KAFKA_BROKERS", closed_broker.as_str()), ("CLICKTRAIL_FLUSH_SECONDS", "1")];
    let mut server = world.serve(LINKS, &set);
    let began = Instant::now();
    for _ in 0..50 {
        assert_eq!(ask(&server, "GET", "/a", &[]).status, 302);
    }
    // Each redirect would take seconds if it waited for the broker.
    assert!(began.elapsed() < Duration::from_secs(10), "50 redirects took {:?}", began.elapsed());
    let admin = server.admin.clone();
    let degraded = server.until("the outage is reported", || {
        let answer = harness::get(&format!("{admin}/readyz")).ok()?;
        answer.body.contains("degraded").then_some(answer)
    });
    assert_eq!(degraded.status, 200, "redirects continue, so the producer stays ready");
    let summary = server.stop().expect_code(0).summary("serve");
    let ends = ["clicks", "delivered", "waiting", "undelivered"].map(|name| summary.get(name));
    assert_eq!(ends, [50, 0, 50, 0]);
    assert_eq!(world.kafka.records(&world.topic), 0);
    // With a broker, the next start delivers them.
    let summary = world.serve(LINKS, &[]).stop().expect_code(0).summary("serve");
    let ends = ["clicks", "recovered", "delivered", "waiting"].map(|name| summary.get(name));
    assert_eq!(ends, [0, 50, 50, 0]);
    assert_eq!(world.kafka.records(&world.topic), 50);
}

#[test]
fn when_the_outbox_is_full_redirects_continue_and_every_lost_click_is_counted() {
    let world = World::new("full_outbox");
    world.setup();
    let closed_broker = closed_port().to_string();
    let set = [
        ("KAFKA_BROKERS", closed_broker.as_str()),
        ("CLICKTRAIL_OUTBOX_BYTES", "1048576"),
        ("CLICKTRAIL_FLUSH_SECONDS", "0"),
    ];
    let mut server = world.serve(LINKS, &set);
    let (url, admin) = (server.url.clone(), server.admin.clone());
    let full = r#"clicktrail_producer_clicks_undelivered_total{code="outbox_full"}"#;
    let (visits, ()) = Visitors::default().during(&url, 4, Duration::ZERO, || {
        server
            .until("clicks are lost", || harness::metric(&admin, full).filter(|lost| *lost > 50.0));
    });
    let bytes = harness::metric(&admin, "clicktrail_producer_outbox_bytes").unwrap();
    assert!((1_000_000.0..=1_048_576.0).contains(&bytes), "{bytes} bytes");
    let summary = server.stop().expect_code(75).summary("serve");
    let all = u64::try_from(visits.len()).unwrap();
    assert_eq!((summary.get("clicks"), summary.get("redirects")), (all, all));
    assert_eq!(summary.get("waiting") + summary.get("undelivered"), all);
    world.serve(LINKS, &[]).stop().expect_code(0);
    assert_eq!(world.kafka.records(&world.topic), i64::try_from(summary.get("waiting")).unwrap());
}

#[test]
fn links_are_read_again_on_request_and_a_broken_file_changes_nothing() {
    let world = World::new("reload");
    world.setup();
    let mut server = world.serve(LINKS, &[]);
    let admin = server.admin.clone();
    let file = server.links.clone();
    assert_eq!(ask(&server, "GET", "/b", &[]).status, 404, "the healthy case");
    let reload = |server: &mut Server, text: &str, result: &str| {
        std::fs::write(&file, text).unwrap();
        server.signal(harness::Signal::HUP);
        let name = format!("clicktrail_producer_link_reloads_total{{result=\"{result}\"}}");
        server.until("the reload is counted", || harness::metric(&admin, &name));
    };
    reload(&mut server, "{\"slug\":\"b\",\"url\":\"https://example.com/b\"}\n", "ok");
    assert_eq!(ask(&server, "GET", "/b", &[]).status, 302);
    assert_eq!(ask(&server, "GET", "/a", &[]).status, 404);
    reload(&mut server, "{\"slug\":\"c\",\"url\":\"javascript:alert(1)\"}\n", "error");
    assert_eq!(ask(&server, "GET", "/b", &[]).status, 302);
    server.stop().expect_code(0);
}
