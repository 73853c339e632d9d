//! A bounded run with faults in all parts, on its own broker and engine.
//!
//! ```text
//! Generator ─▶ log ─▶ ProcessorPool ─▶ ClickHouseProxy ─▶ engine
//!     │ ExpectedClicks: written before sending   ▲ FaultScheduler: one fault after another
//!     └──────▶ Sampler: every second, is a click shown twice, is a position ahead?
//! ```
//!
//! The seed decides the written records and the order of faults; the timing, and so the work that a
//! fault interrupts, depends on the machine. A fault counts only if its effect was observed. Events
//! that a fault destroys in the log are removed from the expected set one by one, and the audit must
//! report exactly these.

mod broker;
mod budget;
mod expected_clicks;
mod fault_kind;
mod fault_scheduler;
mod generator;
mod log;
mod processor_pool;
mod progress;
mod report;
mod sampler;
mod table;
mod versions;

use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

use stack::{Part, RegistryProxy, Stack};

use self::broker::{Broker, DeadLetters};
use self::budget::PARTITIONS;
use self::expected_clicks::{ExpectedClicks, Id};
use self::fault_scheduler::FaultScheduler;
use self::generator::Generator;
use self::processor_pool::ProcessorPool;
use self::progress::Progress;
use self::sampler::Sampler;
use self::table::Table;
use crate::backends::Backends;
use crate::clickhouse_proxy::ClickHouseProxy;
use crate::seeded_random::SeededRandom;
use crate::world::World;

pub use self::budget::{Budget, LineReporter};
pub use self::fault_kind::FaultKind;
pub use self::report::{Outcome, Report};
pub use self::versions::{Versions, versions};

const AUDIT: Duration = Duration::from_secs(300);

/// Runs on `stack`, which must be running, and does not stop it. If its ClickHouse has no small disk,
/// the fault of a full disk is left out.
///
/// # Panics
/// When the run cannot continue: a process does not start, or a wait does not end.
pub fn run(stack: &Stack, budget: Budget, report_line: LineReporter<'_>) -> Report {
    let mut world = World::on(Backends::on(stack), "chaos");
    world.setup();
    let report = on_world(&world, stack, budget, report_line);
    if !report.good() {
        report_line(&format!("logs of the processors: {}", world.keep_folder().display()));
    }
    report
}

fn on_world(world: &World, stack: &Stack, budget: Budget, report_line: LineReporter<'_>) -> Report {
    let began = Instant::now();
    let partitions = PARTITIONS.unsigned_abs();
    let expected_clicks = Arc::new(ExpectedClicks::new(partitions as usize));
    let generator = Generator::of(world, budget.seed, &expected_clicks);
    let registry = RegistryProxy::start(&world.backends.registry).expect("a port");
    let proxy = ClickHouseProxy::start(&world.backends.clickhouse);
    let progress = Progress::new(budget);
    let views = || {
        (
            Table::of(world),
            Broker::of(world, &expected_clicks),
            DeadLetters::of(world, &expected_clicks),
        )
    };
    let (table, broker, dead) = views();
    let sampler = Sampler::new(table, broker, dead, &expected_clicks, report_line);
    let (table, broker, mut dead) = views();
    let mut scheduler = FaultScheduler {
        world,
        stack,
        proxy: &proxy,
        registry: &registry,
        expected_clicks: &expected_clicks,
        pool: ProcessorPool::of(world, &proxy, &registry, budget.seed, report_line),
        broker,
        table,
        random: SeededRandom::stream(budget.seed, 4),
        also_killed: 0,
    };
    let mut report = Report {
        seed: budget.seed,
        faults: budget.faults,
        clicks: budget.clicks,
        ..Report::default()
    };
    std::thread::scope(|scope| {
        // Stops the other threads, also after a panic here.
        let _over = progress.over_at_the_end();
        let writing = scope.spawn(|| generator.run(&progress));
        let looking = scope.spawn(|| sampler.run(&progress));
        inject_faults(&mut scheduler, budget, &progress, &mut report, report_line);
        progress.calm();
        report_line("no more faults; waiting for the log's end");
        if let Err(error) = writing.join().expect("the generator does not panic") {
            report.findings.push(format!("the generator: {error}"));
        }
        if !settle(&mut scheduler, Duration::from_secs(budget.settle_seconds)) {
            let positions = (scheduler.broker.committed(), scheduler.broker.ends());
            report.findings.push(format!("the log's end is not committed: {positions:?}"));
        }
        progress.end();
        report.seen = looking.join().expect("the sampler does not panic");
    });
    scheduler.pool.stop_all();
    report.findings.extend(std::mem::take(&mut report.seen.findings));
    report.findings.append(&mut scheduler.pool.findings);
    report.also_killed = scheduler.also_killed;
    report.started = scheduler.pool.started;
    report.exits = std::mem::take(&mut scheduler.pool.exits);
    compare(&scheduler, &mut dead, &mut report);
    report.seconds = began.elapsed().as_secs();
    report
}

/// Injects one fault after another until enough were observed or the time is over.
fn inject_faults(
    scheduler: &mut FaultScheduler<'_>,
    budget: Budget,
    progress: &Progress,
    report: &mut Report,
    report_line: LineReporter<'_>,
) {
    let small = scheduler.stack.disk_usage(Part::ClickHouse).is_some();
    let without = if small { Vec::new() } else { vec![FaultKind::DiskFull] };
    let mut order = fault_kind::FaultOrder::new(budget.seed, without);
    while progress.observed() < budget.faults && !progress.late() {
        let (kind, began) = (budget.only.unwrap_or_else(|| order.next()), Instant::now());
        let observed = scheduler.inject(kind);
        let counts = report.kinds.entry(kind).or_default();
        counts.0 += 1;
        counts.1 += u32::from(observed);
        let number = progress.came(observed);
        let seen = if observed { "observed" } else { "not observed" };
        let seconds = began.elapsed().as_secs_f64();
        report_line(&format!("{number}/{} {kind}: {seen} ({seconds:.1} s)", budget.faults));
    }
}

/// Waits, with all faults fixed, until the group has committed the log's end.
fn settle(scheduler: &mut FaultScheduler<'_>, patience: Duration) -> bool {
    let began = Instant::now();
    while began.elapsed() < patience {
        scheduler.pool.fill();
        if scheduler.broker.lag().is_ok_and(|lag| lag == 0) {
            return true;
        }
        std::thread::sleep(Duration::from_millis(200));
    }
    false
}

/// Compares the table with the generator's list, and the product's audit with both.
fn compare(scheduler: &FaultScheduler<'_>, dead: &mut DeadLetters, report: &mut Report) {
    let expected_state = scheduler.expected_clicks.lock();
    report.log = (expected_state.logged, expected_state.resends);
    let mut outcome = Outcome { minted: expected_state.events.len() as u64, ..Outcome::default() };
    let mut shown = scheduler.table.ids("SELECT event_id FROM clicks").unwrap_or_else(|error| {
        report.findings.push(format!("reading all clicks: {error}"));
        Vec::new()
    });
    let rows = shown.len();
    shown.sort_unstable();
    shown.dedup();
    let (mut minted, mut owed) = (expected_state.events.clone(), expected_state.owed());
    minted.sort_unstable();
    owed.sort_unstable();
    outcome.twice = (rows - shown.len()) as u64;
    outcome.lost = beyond(&owed, &shown);
    outcome.unexpected = beyond(&shown, &minted);
    outcome.destroyed =
        (expected_state.destroyed(), outcome.minted - owed.len() as u64, beyond(&minted, &shown));
    let (all_bad, owed_bad): (HashSet<_>, HashSet<_>) = {
        let all = expected_state.bad_locations();
        (
            all.iter().copied().collect(),
            all.into_iter().filter(|p| expected_state.is_owed(p)).collect(),
        )
    };
    if expected_state.bad != all_bad.len() as u64 {
        let text = format!("{} bad records written, {} located", expected_state.bad, all_bad.len());
        report.findings.push(text);
    }
    drop(expected_state);
    if let Err(error) = dead.read() {
        report.findings.push(error);
    }
    outcome.bad = (owed_bad.len() as u64, owed_bad.intersection(&dead.locations).count() as u64);
    outcome.good_dead_letters = dead.locations.difference(&all_bad).count() as u64;
    report.outcome = outcome;
    audit(scheduler, &shown, report);
}

/// Requires of `processors audit` exactly what the list and the log's bounds say.
fn audit(scheduler: &FaultScheduler<'_>, shown: &[Id], report: &mut Report) {
    let Ok(bounds) = scheduler.broker.bounds() else {
        return report.findings.push("the broker does not report its bounds".to_owned());
    };
    let lows: BTreeMap<i32, i64> =
        bounds.into_iter().map(|(partition, (low, _))| (partition, low)).collect();
    let remains = scheduler.expected_clicks.lock().remains(&lows);
    let surplus = shown.iter().filter(|id| !remains.events.contains(*id)).count() as u64;
    let below = lows.iter().map(|(partition, low)| {
        format!("(kafka_partition = {partition} AND kafka_offset < {low})")
    });
    let below = below.collect::<Vec<_>>().join(" OR ");
    // Explained is a row without a record only by the offset that it names.
    let Ok(below) = scheduler.table.ids(&format!("SELECT event_id FROM clicks WHERE {below}"))
    else {
        return report.findings.push("the engine does not return what has expired".to_owned());
    };
    let explained = below.iter().filter(|id| !remains.events.contains(*id)).count() as u64;
    let expired = lows.values().any(|low| *low > 0);
    let events = remains.events.len() as u64;
    let expected = serde_json::json!({
        "log_records": remains.records,
        "log_events": events,
        "resends": remains.records - remains.bad - events,
        "undecodable": remains.bad,
        "undecodable_without_dead_letter": 0,
        "clicks": shown.len(),
        "duplicates": 0,
        "missing": 0,
        "surplus": surplus,
        "surplus_expired": explained,
        "log_expired": expired,
    });
    let (audit, code) = scheduler.world.audit_within(AUDIT);
    let balanced = surplus == explained;
    let names = expected.as_object().expect("an object");
    if (code == 0) != balanced || names.iter().any(|(name, value)| audit[name] != *value) {
        report.findings.push(format!("audit, code {code}: {audit}; expected {expected}"));
    }
    (report.audit, report.surplus) = (code, surplus);
}

/// How many of one sorted list are not in the other.
fn beyond(these: &[Id], those: &[Id]) -> u64 {
    these.iter().filter(|id| those.binary_search(id).is_err()).count() as u64
}
