//! What a real Prometheus gets of a producer, a processor and an audit, with the shipped files, in which every
//! duration is divided by 60: each named metric, each rule, the number of series, and one page.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use harness::{
    ClickHouseProxy, DividedAlerts, PATIENCE, Raw, Server, Visitors, World, free_port, metric,
    request, until,
};
use serde_json::Value;

use crate::deploy::alert_rules::file_names;
use crate::deploy::dashboards::dashboard;
use crate::deploy::declared_metrics::declared_metrics;
use crate::deploy::metric_names::{expressions_of, named_metrics};

const LINKS: &str = r#"{"slug":"a","url":"https://example.com/"}"#;
/// Services of which the test runs one each, or none.
const SCRAPED: [&str; 4] =
    ["clicktrail_producer_", "clicktrail_processors_", "clicktrail_audit_", "process_"];
/// Visits of the burst, each with another slug, host, user agent, language and referrer.
const BURST: usize = 1_000;
/// The divided interval of scrapes.
const SCRAPE: Duration = Duration::from_millis(250);

/// Named metrics that need not be served after some clicks: their label appears with the first event.
const OF_RARE_EVENTS: [&str; 20] = [
    // An attempt that fails for five minutes, or is repeated.
    "clicktrail_producer_stuck_seconds",
    "clicktrail_processors_stuck_seconds",
    "clicktrail_processors_retries_total",
    "clicktrail_audit_failures_total",
    "clicktrail_audit_verdict_failures_total",
    "clicktrail_producer_relay_retries_total",
    // A request that the parser refuses; a dead letter that is cut, or cannot be read.
    "clicktrail_producer_requests_refused_total",
    "clicktrail_processors_dead_letter_stubs_total",
    "clicktrail_processors_dead_letters_refused_total",
    // A file of rules that cannot be used.
    "clicktrail_processors_rules_refused_total",
    // A limit that ends a connection; a request to the collector.
    "clicktrail_producer_limited_total",
    "clicktrail_producer_collector_requests_total",
    // A link store, which this producer does not have, or another read of its file.
    "clicktrail_producer_link_records_total",
    "clicktrail_producer_link_snapshots_total",
    "clicktrail_producer_link_reloads_total",
    "clicktrail_processors_links_refused_total",
    // Several shards, which this processor does not have.
    "clicktrail_processors_shard_retries_total",
    "clicktrail_processors_shard_rows_inserted_total",
    // Absent until the number is known, after 15 seconds.
    "clicktrail_processors_dead_letters_held",
    "clicktrail_processors_jobs",
];

/// The series that must exist: of each metric without a label, and of each named one.
fn required() -> BTreeSet<String> {
    let declared = declared_metrics();
    let is_scraped = |name: &str| SCRAPED.iter().any(|own| name.starts_with(own));
    let alone = declared.iter().filter(|(name, own)| is_scraped(name) && own.labels.is_empty());
    let alone = alone.map(|(name, own)| match own.kind.as_str() {
        "histogram" => format!("{name}_count"),
        _ => name.clone(),
    });
    let is_rare = |name: &String| OF_RARE_EVENTS.contains(&name.as_str());
    let named = named_metrics().into_iter().filter(|name| is_scraped(name) && !is_rare(name));
    let all: BTreeSet<_> = alone.chain(named).collect();
    assert!(all.len() > 70, "{} series are all", all.len());
    all
}

/// The elements of an array.
fn elements(value: &Value) -> &[Value] {
    value.as_array().unwrap_or_else(|| panic!("no array: {value:#}"))
}

fn text(value: &Value) -> String {
    value.as_str().unwrap_or_default().to_owned()
}

/// The present series of the services, without those of rare events.
fn series(alerts: &DividedAlerts) -> BTreeSet<String> {
    let ours =
        [("query", "{job=~\"producer|processors|audit\", __name__=~\"(clicktrail|process)_.*\"}")];
    let found = alerts.api("query", &ours);
    let labels = elements(&found["result"]).iter().map(|series| &series["metric"]);
    let is_rare = |labels: &&Value| OF_RARE_EVENTS.contains(&labels["__name__"].as_str().unwrap());
    labels.filter(|labels| !is_rare(labels)).map(Value::to_string).collect()
}

/// The sum of a metric over its series; 0 without one.
fn sum(alerts: &DividedAlerts, name: &str) -> usize {
    let found = alerts.api("query", &[("query", &format!("sum({name})"))]);
    let value = elements(&found["result"]).first().map(|series| text(&series["value"][1]));
    value.map_or(0, |value| value.parse().unwrap())
}

/// One visit with texts of its own: of a link, or of a slug that does not exist.
fn visit(server: &Server, number: usize) {
    let path = if number.is_multiple_of(2) { "a".to_owned() } else { format!("slug-{number}") };
    let url = format!("{}/{path}?utm_source=s{number}&n={number}", server.url);
    let host = format!("h{number}.example");
    let agent = format!("Agent{number}/{number}.0 (X11; System {number}) AppleWebKit/{number}");
    let referrer = format!("https://r{number}.example/{number}");
    let address = format!("198.51.{}.{}", number / 250, number % 250);
    let headers = [
        ("host", host.as_str()),
        ("user-agent", &agent),
        ("referer", &referrer),
        ("accept-language", &agent),
        ("x-forwarded-for", &address),
    ];
    let status = request("GET", &url, &headers, "").unwrap().status;
    assert!([302, 404].contains(&status), "{url}: {status}");
}

fn burst(server: &Server) {
    std::thread::scope(|scope| {
        for first in 0..4 {
            scope.spawn(move || (first..BURST).step_by(4).for_each(|number| visit(server, number)));
        }
    });
}

/// Waits until Prometheus has each required series.
fn until_scraped(alerts: &DividedAlerts) {
    let required = required();
    let absent = || -> Vec<String> {
        let names = alerts.api("label/__name__/values", &[]);
        let names: BTreeSet<_> = elements(&names).iter().map(text).collect();
        required.difference(&names).cloned().collect()
    };
    let began = Instant::now();
    while !absent().is_empty() && began.elapsed() < PATIENCE {
        std::thread::sleep(SCRAPE);
    }
    assert_eq!(absent(), Vec::<String>::new(), "Prometheus lacks them");
}

#[test]
fn prometheus_gets_each_named_metric_a_burst_adds_no_series_and_a_stop_pages() {
    let world = World::new("scraped");
    world.setup();
    let proxy = ClickHouseProxy::start(&world.backends.clickhouse);
    let set = [
        ("CLICKTRAIL_TRUSTED_PROXIES", "127.0.0.0/8"),
        ("CLICKTRAIL_UNKNOWN_SLUGS_PER_MINUTE", "0"),
    ];
    let server = world.serve(LINKS, &set);
    (0..2).for_each(|number| visit(&server, number));
    // A family without a member is not served. Enough valid records follow the bad one that
    // the breaker need not wait.
    let bad = Raw { value: Some(b"garbage".to_vec()), ..Raw::default() };
    world.kafka.produce(&world.topic, &[vec![bad], world.good(0, 100)].concat());
    let rules = world.geo_rules("nested.mmdb");
    let set = [("CLICKHOUSE_URL", proxy.url.as_str()), ("CLICKTRAIL_RULES", &rules)];
    let mut processors = world.processors(&[], &set);
    processors.until_caught_up(&world);
    let audit_port = free_port();
    let mut command = world.command("processors", &[]);
    command.args(["audit", "--follow", "--every", "1s", "--admin-listen", &audit_port.to_string()]);
    let mut audit = world.start(command);
    let audit_admin = format!("http://{audit_port}");
    audit.until("a run of the audit", || metric(&audit_admin, "clicktrail_audit_runs_total"));

    let targets = [
        ("producer", server.admin.as_str()),
        ("processors", processors.admin.as_str()),
        ("audit", audit_admin.as_str()),
    ];
    let alerts = DividedAlerts::start(&targets, &file_names("rules"));
    until_scraped(&alerts);
    let found = alerts.api("targets", &[("state", "active")]);
    let active = elements(&found["activeTargets"]);
    assert_eq!(active.len(), targets.len(), "{found:#}");
    assert!(active.iter().all(|target| target["health"] == "up"), "{found:#}");
    let rules = until("every rule is evaluated", || {
        let found = alerts.api("rules", &[]);
        let groups = elements(&found["groups"]).iter();
        let rules: Vec<_> = groups.flat_map(|group| elements(&group["rules"]).to_vec()).collect();
        rules.iter().all(|rule| rule["health"] != "unknown").then_some(rules)
    });
    assert!(rules.len() > 40, "{} rules are all", rules.len());
    let failed: Vec<_> = rules.iter().filter(|rule| rule["health"] != "ok").collect();
    assert!(failed.is_empty(), "{failed:#?}");

    // The library reports the lag periodically.
    let lags = "count(clicktrail_processors_lag_records)";
    until("the lag of each partition", || (sum(&alerts, lags) == 3).then_some(()));
    let (before, clicks) = (series(&alerts), world.clicks());
    burst(&server);
    let clicks = clicks + BURST as u64;
    until("every click of the burst is a row", || (world.clicks() == clicks).then_some(()));
    until("Prometheus has scraped both services since the burst", || {
        let is_sent = sum(&alerts, "clicktrail_producer_requests_total") >= BURST + 2;
        let is_stored = sum(&alerts, "clicktrail_processors_rows_inserted_total") >= BURST + 102;
        (is_sent && is_stored).then_some(())
    });
    let after = series(&alerts);
    let new: Vec<_> = after.difference(&before).collect();
    assert!(new.is_empty(), "{new:#?}");

    proxy.hold(true);
    let visitors = Visitors::default();
    let page = visitors.during(&server.url, 1, Duration::from_millis(20), || {
        let page = alerts.call("NoRowsInserted", "firing");
        for expression in expressions_of(&dashboard("alerts")) {
            let found = alerts.api("query", &[("query", &expression)]);
            let shown = elements(&found["result"]).iter().any(|series| series["value"][1] != "0");
            assert!(shown || expression.contains("ticket"), "{expression}: {found:#}");
        }
        proxy.hold(false);
        alerts.call("NoRowsInserted", "resolved");
        page
    });
    assert_eq!(page.1["alerts"][0]["labels"]["severity"], "page", "{:#}", page.1);
    audit.stop().expect_code(0);
}
