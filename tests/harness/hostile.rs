//! A bounded run that sends hostile input of every kind to a producer and processors, together with
//! honest clicks and visitors at a steady rate.
//!
//! ```text
//! HonestClicks, ClickVariants ─▶ log ─▶ processors ─▶ table ◀─ LogAccount: is each record accounted for?
//! Visitors, HostileClients ─▶ producer ─▶ log      DamagedHosts: a stop, a damaged outbox, a start
//! LinkVariants ─▶ topic of links ─▶ producer, processors
//! ```
//!
//! The seed decides the input and its order; the timing depends on the machine.

mod batch_variants;
mod click_variants;
mod damaged_host;
mod honest_clicks;
mod hostile_clients;
mod hostile_kind;
mod hostile_report;
mod hostile_rounds;
mod link_variants;
mod log_account;
pub mod request_bytes;
mod segment_damage;

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use self::honest_clicks::HonestClicks;
use self::hostile_report::HonestRows;
use self::hostile_rounds::HostileRounds;
use self::request_bytes::TOKEN;
use crate::backends::Backends;
use crate::http_client::get;
use crate::rules;
use crate::visitors::{Visit, Visitors};
use crate::world::{Processors, Server, World};

pub use self::hostile_report::HostileReport;

/// Name and source of the producer of the honest visitors.
const HOST: &str = "host";
const PARTITIONS: i32 = 3;
/// Visitors, and the pause of each between two visits.
const VISITORS: usize = 4;
const PAUSE: Duration = Duration::from_millis(50);
/// The longest time for delivery and processing after the last hostile input.
const SETTLE: Duration = Duration::from_secs(60);
/// How long a service names a failure after its last attempt failed, and some time more. A kind of failure
/// that recurred for five minutes keeps `/readyz` at `degraded` until then.
const READY: Duration = Duration::from_secs(120 + 15);
/// How long the services wait for the schemas of links of unknown ids, and some time more.
const LINKS_WAIT: Duration = Duration::from_secs(15);
const AUDIT: Duration = Duration::from_secs(300);

/// The bounds of a run.
#[derive(Debug, Clone, Copy)]
pub struct HostileBudget {
    /// Decides the input.
    pub seed: u64,
    /// Seconds after which no round starts.
    pub seconds: u64,
    /// Whether records of clicks are among it; the processors take ten seconds to decide about the last.
    pub with_records: bool,
}

/// Runs on a running stack.
///
/// # Panics
/// When the run cannot continue: a process does not start, or the broker refuses an honest click.
pub fn run(
    backends: Backends,
    budget: HostileBudget,
    report_line: &(dyn Fn(&str) + Sync),
) -> HostileReport {
    let mut world = World::on(backends, "hostile_run");
    world.setup();
    let report = on_world(&world, budget, report_line);
    if !report.good() {
        report_line(&format!("logs of the services: {}", world.keep_folder().display()));
    }
    report
}

fn on_world(
    world: &World,
    budget: HostileBudget,
    report_line: &(dyn Fn(&str) + Sync),
) -> HostileReport {
    let (mut host, mut processors) = services(world);
    let honest = HonestClicks::new(world, world.schema_id(), PARTITIONS);
    let mut rounds = HostileRounds::new(world, &host, &honest);
    let (visitors, url) = (Visitors::default(), host.url.clone());
    let visits = std::thread::scope(|scope| {
        let _stop = StopAtTheEnd(&honest);
        scope.spawn(|| honest.run());
        let (visits, ()) = visitors.during(&url, VISITORS, PAUSE, || {
            rounds.run(budget, (&mut host, &mut processors), report_line);
        });
        visits
    });
    rounds.finish();
    let mut report = HostileReport { seed: budget.seed, ..HostileReport::default() };
    settle(world, &mut host, &mut processors, &mut report);
    rounds.report(&mut report);
    hostile_rounds::measure(&host, &processors, &mut report.peaks_kib);
    compare(world, &honest, &visits, &mut report);
    compare_counts(world, (&host, &processors), &mut report);
    // The audit panics when it does not end, and the report is lost.
    for finding in &report.findings {
        report_line(&format!("finding: {finding}"));
    }
    audit(world, &mut report);
    for (name, exit) in [("the producer", host.stop()), ("the processors", processors.stop())] {
        if exit.code != Some(0) || exit.err.contains("panicked") {
            report.findings.push(format!("{name} ended with {:?}: {}", exit.code, exit.err));
        }
    }
    report
}

/// Stops the honest clicks, also after a panic.
struct StopAtTheEnd<'h>(&'h HonestClicks);

impl Drop for StopAtTheEnd<'_> {
    fn drop(&mut self) {
        self.0.stop();
    }
}

/// Both services with their shipped settings and one link.
fn services(world: &World) -> (Server, Processors) {
    let store = world.folder().join("links.db").display().to_string();
    world.links(&store, &["add", "a", "https://example.com/"]).expect_code(0);
    let set = [("CLICKTRAIL_LINKS_DB", store.as_str()), ("CLICKTRAIL_COLLECTOR_TOKEN", TOKEN)];
    let mut host = world.host(HOST, &set);
    let link = format!("{}/a", host.url);
    host.until("the link is served", || get(&link).ok().filter(|answer| answer.status == 302));
    let folder = rules::folder();
    let rules = folder.display().to_string();
    let set = [("CLICKTRAIL_RULES", rules.as_str())];
    let processors = world.processors(&[], if folder.is_dir() { &set } else { &[] });
    (host, processors)
}

/// Waits until all clicks are delivered and processed, and then until both services are ready.
fn settle(
    world: &World,
    host: &mut Server,
    processors: &mut Processors,
    report: &mut HostileReport,
) {
    let (began, admins) = (Instant::now(), [host.admin.clone(), processors.admin.clone()]);
    let mut delivered_after = None;
    loop {
        let waiting = sum(&admins[0], "clicktrail_producer_queue_clicks ")
            + sum(&admins[0], "clicktrail_producer_outbox_clicks ");
        let bodies: Vec<_> = admins.iter().map(|admin| get(&format!("{admin}/readyz"))).collect();
        let is_ready = bodies.iter().all(|answer| {
            answer
                .as_ref()
                .is_ok_and(|answer| answer.status == 200 && answer.body.trim() == "ready")
        });
        let is_caught_up = waiting == 0 && world.caught_up();
        if is_caught_up && delivered_after.is_none() {
            delivered_after = Some(began.elapsed());
        }
        if is_caught_up && is_ready {
            return;
        }
        let limit = if delivered_after.is_some() { READY } else { SETTLE };
        let ended = (host.ended(), processors.ended());
        if began.elapsed() > limit || ended.0.is_some() || ended.1.is_some() {
            report.findings.push(format!(
                "not settled: {waiting} clicks undelivered, all delivered and processed after {delivered_after:?}, \
                 exit codes {ended:?}, readyz {bodies:?}, caught up: {is_caught_up}",
            ));
            return;
        }
        std::thread::sleep(Duration::from_millis(200));
    }
}

/// Compares honest clicks and visits with the table.
fn compare(world: &World, honest: &HonestClicks, visits: &[Visit], report: &mut HostileReport) {
    report.honest = honest_rows(world, &format!("slug = '{}'", honest_clicks::SLUG), honest.sent());
    let answered: BTreeSet<u64> = visits.iter().map(|visit| visit.number).collect();
    let visited = format!("source = '{HOST}' AND slug = 'a' AND match(query, '^n=[0-9]+$')");
    report.visits = honest_rows(world, &visited, answered.len() as u64);
    // A broken connection ends, and its last visit has no response.
    report.unanswered = answered.last().map_or(0, |last| last + 1) - answered.len() as u64;
    let longest = visits.iter().map(|visit| visit.took).max().unwrap_or_default();
    report.answer_ms = u64::try_from(longest.as_millis()).unwrap_or(u64::MAX);
}

/// Compares log and table.
fn audit(world: &World, report: &mut HostileReport) {
    let (audit, code) = world.audit_within(AUDIT);
    report.audit = code;
    if code != 0 {
        report.findings.push(format!("audit: {audit}"));
    }
}

fn honest_rows(world: &World, condition: &str, sent: u64) -> HonestRows {
    let number = |select: &str| world.number(&format!("{select} WHERE {condition}"));
    let delay_ms = world.number(&format!(
        "SELECT max(delay) FROM (SELECT min(dateDiff('millisecond', occurred_at, ingested_at)) \
         AS delay FROM click_versions WHERE {condition} GROUP BY event_id)"
    ));
    HonestRows {
        sent,
        rows: number("SELECT count() FROM clicks"),
        distinct: number("SELECT uniqExact(query) FROM clicks"),
        delay_ms,
    }
}

/// Compares the counters of the services with the sent input and the tables.
fn compare_counts(
    world: &World,
    (host, processors): (&Server, &Processors),
    report: &mut HostileReport,
) {
    let began = Instant::now();
    let mut counts = count(world, (host, processors), report);
    let differs = |(_, is, expected): &(&str, u64, u64)| is != expected;
    while counts.iter().any(differs) && began.elapsed() < LINKS_WAIT {
        std::thread::sleep(Duration::from_millis(200));
        counts = count(world, (host, processors), report);
    }
    for (what, is, expected) in counts {
        if is != expected {
            report.findings.push(format!("{what}: {is}, expected {expected}"));
        }
    }
}

/// What there is of each, and what there must be.
fn count(
    world: &World,
    (host, processors): (&Server, &Processors),
    report: &HostileReport,
) -> [(&'static str, u64, u64); 4] {
    let offered = sum(&host.admin, "clicktrail_producer_clicks_offered_total ");
    let undelivered = sum(&host.admin, "clicktrail_producer_clicks_undelivered_total{");
    let followed = sum(&host.admin, "clicktrail_producer_link_records_total{");
    let refused = sum(&processors.admin, "clicktrail_processors_links_refused_total{");
    let rows = |of: &str| world.number(&format!("SELECT count() FROM {of}"));
    let of_host = format!("clicks WHERE source = '{HOST}'");
    let links = report.taken.1 + 1;
    [
        ("rows of the producer", rows(&of_host), offered.saturating_sub(undelivered)),
        (
            "rows of damaged producers",
            rows("clicks WHERE slug = 'damaged'"),
            report.damaged.delivered,
        ),
        ("links that the producer read", followed, links),
        ("links that the processors read", rows("links") + refused, links),
    ]
}

/// The sum of the metrics whose line starts with `start`.
fn sum(admin: &str, start: &str) -> u64 {
    let page = get(&format!("{admin}/metrics")).map(|answer| answer.body).unwrap_or_default();
    let lines = page.lines().filter(|line| line.starts_with(start));
    let values = lines.filter_map(|line| line.rsplit_once(' ')?.1.parse::<u64>().ok());
    values.sum()
}
