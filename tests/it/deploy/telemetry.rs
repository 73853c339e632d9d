//! Traces from the visit to the row, and the health checks and metrics of both services.

use std::collections::BTreeMap;

use harness::{ClickHouseProxy, Logged, Server, Span, SpanCollector, World, get};
use schemas::{Decoder, NEWEST, TraceContext, headers, unframe};

use crate::meta::source::page;

const LINKS: &str = r#"{"slug":"a","url":"https://example.com/"}"#;
const TRACE_HEADERS: [&str; 2] = [headers::TRACEPARENT, headers::TRACESTATE];
/// The trace id of a click without a trace.
const ZEROS: &str = "00000000000000000000000000000000";

fn trace(sampled: bool) -> (String, uuid::Uuid) {
    let id = uuid::Uuid::new_v4();
    (format!("00-{}-00f067aa0ba902b7-0{}", id.simple(), u8::from(sampled)), id)
}

/// The trace ids of visits by their slug, of which each has one. Zeros: none.
type TraceIds = BTreeMap<String, String>;

/// Visits a slug without a link; returns the trace of the response.
fn visit(server: &Server, slug: &str, headers: &[(&str, &str)]) -> Option<TraceContext> {
    let answer = server.get(&format!("/{slug}"), headers);
    assert_eq!(answer.status, 404);
    answer.header("traceparent").map(|header| TraceContext::parse(header).unwrap())
}

fn hex(trace_id: [u8; 16]) -> String {
    uuid::Uuid::from_bytes(trace_id).simple().to_string()
}

/// Slug, event id, and names of the headers, of each click of the log.
fn logged_clicks(world: &World) -> BTreeMap<String, (String, Vec<String>)> {
    let decoder = Decoder::new(NEWEST).unwrap();
    let records = world.kafka.read(&world.topic);
    let click = |record: &Logged| {
        let (_, datum) = unframe(record.value.as_deref().unwrap()).unwrap();
        let click = decoder.decode(datum).unwrap();
        let names = record.headers.iter().map(|(name, _)| name.clone()).collect();
        let event_id = click.event_id.simple().to_string();
        (click.slug.to_owned(), (event_id, names))
    };
    records.iter().map(click).collect()
}

#[test]
fn each_response_leads_to_its_row_and_a_record_names_only_traces_that_need_it() {
    let world = World::new("spans");
    world.setup();
    let (producers, processings) = (SpanCollector::start(), SpanCollector::start());
    // The sampling decision of a trusted proxy is respected.
    let serve = |ratio: &str| {
        let set = [
            ("OTEL_EXPORTER_OTLP_ENDPOINT", producers.endpoint.as_str()),
            ("CLICKTRAIL_TRUSTED_PROXIES", "127.0.0.0/8"),
            ("CLICKTRAIL_TRACE_SAMPLE", ratio),
        ];
        world.serve(LINKS, &set)
    };
    let ((sampled, followed), (unsampled, other)) = (trace(true), trace(false));
    let mut server = serve("0");
    let vendor = [("traceparent", sampled.as_str()), ("tracestate", "vendor=1")];
    let mut answered = vec![
        ("own", visit(&server, "own", &[]), &[][..]),
        ("proxy_sampled", visit(&server, "proxy_sampled", &vendor), &TRACE_HEADERS[..]),
        (
            "proxy_unsampled",
            visit(&server, "proxy_unsampled", &[("traceparent", &unsampled)]),
            &TRACE_HEADERS[..1],
        ),
        ("stripped", visit(&server, "stripped", &[("DNT", "1"), vendor[0], vendor[1]]), &[]),
        ("stripped_own", visit(&server, "stripped_own", &[("DNT", "1")]), &[]),
    ];
    server.stop().expect_code(0);
    let mut server = serve("1");
    answered.push(("own_sampled", visit(&server, "own_sampled", &[]), &TRACE_HEADERS[..1]));
    server.stop().expect_code(0);
    assert!(producers.holds(followed.as_bytes()), "the redirect's span");
    assert!(producers.holds(b"redirect") && producers.holds(b"clicktrail-producer"));
    assert!(!producers.holds(other.as_bytes()), "this visit is not sampled");

    let logged = logged_clicks(&world);
    let mut expected = TraceIds::new();
    for (slug, trace, headers) in &answered {
        let (event_id, names) = &logged[*slug];
        assert_eq!(names, headers, "{slug}");
        let trace_id = trace.map(|trace| hex(trace.trace_id));
        assert_eq!(trace_id.is_none(), slug.starts_with("stripped"), "{slug}");
        if slug.starts_with("own") {
            assert_eq!(trace_id.as_ref(), Some(event_id), "{slug}");
        }
        assert_eq!(trace.is_some_and(|trace| trace.sampled), slug.ends_with("_sampled"), "{slug}");
        expected.insert((*slug).to_owned(), trace_id.unwrap_or_else(|| ZEROS.to_owned()));
    }
    assert_eq!(expected["proxy_sampled"], hex(followed.into_bytes()));
    assert_eq!(expected["proxy_unsampled"], hex(other.into_bytes()));
    // A record of an earlier version of the producer, which sent these headers with each click.
    let (before, earlier) = trace(false);
    let header = |name: &str, value: &str| (name.to_owned(), Some(value.as_bytes().to_vec()));
    let mut record = world.good(0, 1);
    record[0].headers = vec![
        header("content-type", "application/vnd.confluent.avro"),
        header("clicktrail-producer", "0.1.0"),
        header("traceparent", &before),
    ];
    world.kafka.produce(&world.topic, &record);
    expected.insert("good".to_owned(), hex(earlier.into_bytes()));

    let set = [("OTEL_EXPORTER_OTLP_ENDPOINT", processings.endpoint.as_str())];
    let mut processors = world.processors(&[], &set);
    processors.until_caught_up(&world);
    processors.stop().expect_code(0);
    assert!(processings.holds(followed.as_bytes()), "a link of the span that processed it");
    assert!(processings.holds(b"process") && processings.holds(b"insert"));
    assert!(!processings.holds(other.as_bytes()) && !processings.holds(earlier.as_bytes()));
    let rows = |from: &str, of: &str| -> TraceIds {
        let rows = world.query(&format!("SELECT slug, lower(hex({of})) FROM {from}"));
        let row = |row: &str| row.split_once('\t').map(|(a, b)| (a.to_owned(), b.to_owned()));
        rows.split('\n').filter_map(row).collect()
    };
    assert_eq!(rows("clicks", "trace_id"), expected);
    // The table stores only what the event id does not tell.
    for (slug, stored) in rows("click_versions", "trace_id") {
        let is_other = slug == "good" || slug.starts_with("proxy");
        assert_eq!(stored, if is_other { &expected[&slug] } else { ZEROS }, "{slug}");
    }
}

#[test]
fn one_click_is_traced_from_the_response_to_the_insert() {
    let world = World::new("trace");
    world.setup();
    let collector = SpanCollector::start();
    let set = [
        ("OTEL_EXPORTER_OTLP_ENDPOINT", collector.endpoint.as_str()),
        ("CLICKTRAIL_TRACE_SAMPLE", "1"),
    ];
    let mut server = world.serve(LINKS, &set);
    let answer = server.get("/a", &[]);
    let returned = TraceContext::parse(answer.header("traceparent").unwrap()).unwrap();
    assert!(returned.sampled);
    server.get("/a", &[]);
    server.stop().expect_code(0);
    let proxy = ClickHouseProxy::start(&world.backends.clickhouse);
    let mut processors = world.processors(&[], &[set[0], ("CLICKHOUSE_URL", &proxy.url)]);
    processors.until_caught_up(&world);
    processors.stop().expect_code(0);

    let spans = collector.spans();
    let one = |what: &str, keep: &dyn Fn(&Span) -> bool| -> Span {
        let found: Vec<_> = spans.iter().filter(|span| keep(span)).collect();
        assert_eq!(found.len(), 1, "{what}: {spans:#?}");
        found[0].clone()
    };
    // The response has the redirect's own span.
    let redirect = one("the redirect", &|span| span.span_id == returned.span_id);
    assert_eq!(
        (redirect.name.as_str(), redirect.service.as_str()),
        ("redirect", "clicktrail-producer")
    );
    assert_eq!(redirect.trace_id, returned.trace_id);
    let event_id = uuid::Uuid::parse_str(redirect.event_id.as_deref().unwrap()).unwrap();
    assert_eq!(redirect.trace_id, event_id.as_bytes(), "the trace has the id of the event");
    assert!(redirect.parent.is_empty() || redirect.parent == [0; 8], "it starts here");
    // The record's headers carry it to the processors, which have their own trace.
    let named = (redirect.trace_id.clone(), redirect.span_id.clone());
    let process = one("its processing", &|span| span.links.contains(&named));
    assert_eq!(
        (process.name.as_str(), process.service.as_str()),
        ("process", "clicktrail-processors")
    );
    assert_ne!(process.trace_id, redirect.trace_id);
    let insert = one("the insert", &|span| span.name == "insert" && span.parent == process.span_id);
    assert_eq!(insert.trace_id, process.trace_id);
    assert!(redirect.nanos.0 <= process.nanos.0 && process.nanos.0 <= insert.nanos.0);
    assert!(insert.nanos.1 <= process.nanos.1, "the processed click is durable");
    // In its own trace: its delivery, and its processing, which is linked to that of the batch.
    let of_click =
        |name: &str| one(name, &|span| span.name == name && span.parent == redirect.span_id);
    let (deliver, store) = (of_click("deliver"), of_click("store"));
    for span in [&deliver, &store] {
        assert_eq!(span.trace_id, redirect.trace_id, "{span:?}");
    }
    assert!(redirect.nanos.0 <= deliver.nanos.0 && deliver.nanos.1 <= store.nanos.1);
    assert_eq!(deliver.service, "clicktrail-producer");
    assert_eq!(store.links, [(process.trace_id.clone(), process.span_id.clone())]);

    // What a server logs of the insert. The stack's engine has no such table, so the test makes it.
    let process_trace = uuid::Uuid::from_slice(&process.trace_id).unwrap().simple().to_string();
    let [query_id, comment] = logged(&proxy, insert.query_id.as_deref().unwrap(), &process_trace);
    world.query(
        "CREATE TABLE query_log (type String, query_kind String, event_date Date, \
        event_time DateTime, query_id String, query_duration_ms UInt64, written_rows UInt64, \
        log_comment String) ENGINE = Memory",
    );
    world.query(&format!(
        "INSERT INTO query_log SELECT 'QueryFinish', 'Insert', today(), now(), '{query_id}', 1, 2, \
        '{comment}'"
    ));
    // The statements of the page of traces: the row by each id, and the insert of the row.
    let trace_id = uuid::Uuid::from_bytes(returned.trace_id).simple().to_string();
    let traces = page("docs/traces.md");
    let sql = traces.split("```sql\n").skip(1).map(|rest| rest.split("```").next().unwrap());
    let sql =
        sql.map(|sql| sql.replace("TRACE_ID", &trace_id).replace("system.query_log", "query_log"));
    let [by_event, by_trace, query] = <[String; 3]>::try_from(sql.collect::<Vec<_>>()).unwrap();
    let row = world.query(&by_event);
    assert_eq!(world.query(&by_trace), row);
    let row: Vec<_> = row.split('\t').collect();
    assert_eq!(Some(row[0]), redirect.event_id.as_deref());
    assert_eq!(row[3].parse().ok(), deliver.offset, "{row:?}");
    let query = world.query(&query);
    let query: Vec<_> = query.split('\t').collect();
    assert_eq!(query[..2], [query_id.as_str(), process_trace.as_str()], "{query:?}");
}

/// Query id and comment of the insert with this id, as the server gets them, which must have the trace, too.
fn logged(proxy: &ClickHouseProxy, query_id: &str, trace_id: &str) -> [String; 2] {
    for head in proxy.heads() {
        let target = head.split(' ').nth(1).unwrap();
        let target = reqwest::Url::parse(&format!("http://x{target}")).unwrap();
        let of = |name: &str| {
            let found = target.query_pairs().find(|(own, _)| own == name);
            found.map(|(_, value)| value.into_owned()).unwrap_or_default()
        };
        if of("query_id") == query_id {
            assert!(head.contains(&format!("traceparent: 00-{trace_id}-")), "{head}");
            return [of("query_id"), of("log_comment")];
        }
    }
    panic!("no insert has the id {query_id}: {:#?}", proxy.heads());
}

#[test]
fn without_an_endpoint_no_span_is_exported_and_the_parent_trace_is_propagated() {
    let world = World::new("no_spans");
    world.setup();
    let mut server = world.serve(LINKS, &[("CLICKTRAIL_TRUSTED_PROXIES", "127.0.0.0/8")]);
    let (sampled, followed) = trace(true);
    server.get("/a", &[("traceparent", &sampled)]);
    let log = server.stop().expect_code(0).err;
    let mut processors = world.processors(&[], &[]);
    processors.until_caught_up(&world);
    let log = log + &processors.stop().expect_code(0).err;
    assert_eq!(
        world.query("SELECT lower(hex(trace_id)) FROM clicks"),
        followed.simple().to_string()
    );
    // The default endpoint of the protocol, which an exporter without a setting would use.
    assert!(!log.contains("4318") && !log.to_lowercase().contains("otlp"), "{log}");
}

/// Checks the format of a page of metrics; returns the names of its families.
fn families(page: &str) -> Vec<String> {
    let mut families = Vec::new();
    assert!(page.ends_with("# EOF\n"), "{page}");
    for line in page.lines().filter(|line| *line != "# EOF") {
        if let Some(rest) = line.strip_prefix("# TYPE ") {
            let (name, kind) = rest.split_once(' ').unwrap();
            assert!(["counter", "gauge", "histogram"].contains(&kind), "{line}");
            families.push(name.to_owned());
        } else if !line.starts_with("# ") {
            let (series, value) = line.rsplit_once(' ').unwrap();
            assert!(value.parse::<f64>().is_ok_and(|value| value >= 0.0), "{line}");
            let family = families.last().unwrap_or_else(|| panic!("{line} before any TYPE"));
            assert!(series.starts_with(family.as_str()), "{line} is not of {family}");
        }
    }
    families
}

#[test]
fn both_services_serve_their_probes_and_metrics() {
    let world = World::new("probes");
    world.setup();
    let server = world.serve(LINKS, &[]);
    server.get("/a", &[]);
    let mut processors = world.processors(&[], &[]);
    let admin = processors.admin.clone();
    processors.until("the click is a row", || (world.clicks() == 1).then_some(()));
    for (admin, prefix, at_least) in
        [(&server.admin, "clicktrail_producer_", 14), (&admin, "clicktrail_processors_", 12)]
    {
        for path in ["livez", "readyz"] {
            let answer = get(&format!("{admin}/{path}")).unwrap();
            assert_eq!(answer.status, 200, "{path}: {answer:?}");
        }
        let page = get(&format!("{admin}/metrics")).unwrap();
        let kind = page.header("content-type").unwrap_or_default();
        assert!(kind.starts_with("application/openmetrics-text"), "{kind}");
        let names = families(&page.body);
        assert!(names.len() >= at_least, "{names:?}");
        let is_own =
            |name: &String| name.starts_with(prefix) || name == "process_start_time_seconds";
        assert!(names.iter().all(is_own), "{names:?}");
        // Every queue has a bound and a gauge.
        assert!(page.body.contains("bound") || page.body.contains("_max "), "{}", page.body);
        assert_eq!(get(&format!("{admin}/nothing")).unwrap().status, 404);
    }
    // Health checks and metrics are for operators: the public port does not serve them.
    for path in ["/metrics", "/livez", "/readyz"] {
        assert_eq!(server.get(path, &[]).status, 404, "{path}");
    }
}
