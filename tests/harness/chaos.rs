//! A bounded run in which everything breaks, on a broker and an engine of its own.
//!
//! ```text
//! Generator ─▶ log ─▶ Fleet (processors) ─▶ Proxy ─▶ engine
//!     │ Ledger: written before sending       ▲ Storm: one fault after another
//!     └──────▶ Sampler: every second, is a click shown twice, is a position ahead?
//! ```
//!
//! The seed decides what is written and which faults come in which order; what a fault hits is up
//! to the machine. A fault counts only when its effect was observed. What a fault destroys in the log
//! itself is taken out of the expected set by name, and the audit must report exactly that.

mod broker;
mod dice;
mod processor_pool;
mod generator;
mod fault_kind;
mod expected_clicks;
mod log;
mod progress;
mod report;
mod sampler;
mod fault_scheduler;
mod table;
mod versions;

use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

use stack::{Part, RegistryProxy, Stack};

use self::broker::{Broker, DeadLetters};
pub use self::dice::Dice;
use self::processor_pool::Fleet;
use self::generator::Generator;
use self::expected_clicks::{Id, Ledger};
use self::progress::Progress;
use self::sampler::Sampler;
use self::fault_scheduler::Storm;
use self::table::Table;
use crate::backends::Backends;
use crate::clickhouse_proxy::Proxy;
use crate::world::World;

pub use self::fault_kind::Kind;
pub use self::report::{Outcome, Report};
pub use self::versions::{Versions, versions};

/// Partitions of the log.
const PARTITIONS: i32 = 3;
const AUDIT: Duration = Duration::from_secs(300);

/// Takes lines about what goes on.
pub type Say<'r> = &'r (dyn Fn(&str) + Sync);

/// What a run may use.
#[derive(Debug, Clone, Copy)]
pub struct Budget {
    /// Decides what is written and what breaks.
    pub seed: u64,
    /// Faults to be observed.
    pub faults: u32,
    /// Clicks to be written.
    pub clicks: u64,
    /// Seconds after which no fault begins.
    pub seconds: u64,
    /// This fault alone, where one is named.
    pub only: Option<Kind>,
    /// How long the processors may take to reach the log's end when nothing fails any more.
    pub settle_seconds: u64,
}

/// Runs on `stack`, which must be up, and leaves it up. Where its ClickHouse stands on no small
/// disk, that is never full.
///
/// # Panics
/// When something that should work does not: a process that does not start, a wait without end.
pub fn run(stack: &Stack, budget: Budget, say: Say<'_>) -> Report {
    let mut world = World::on(Backends::on(stack), "chaos");
    world.setup();
    let report = on_world(&world, stack, budget, say);
    if !report.good() {
        say(&format!("logs of the processors: {}", world.keep_folder().display()));
    }
    report
}

fn on_world(world: &World, stack: &Stack, budget: Budget, say: Say<'_>) -> Report {
    let began = Instant::now();
    let partitions = PARTITIONS.unsigned_abs();
    let ledger = Arc::new(Ledger::new(partitions as usize));
    let generator = Generator::of(world, budget.seed, &ledger);
    let door = RegistryProxy::start(&world.backends.registry).expect("a port");
    let proxy = Proxy::before(&world.backends.clickhouse);
    let progress = Progress::new(budget);
    let looks = || (Table::of(world), Broker::of(world, &ledger), DeadLetters::of(world, &ledger));
    let (table, broker, dead) = looks();
    let sampler = Sampler::new(table, broker, dead, &ledger, say);
    let (table, broker, mut dead) = looks();
    let mut storm = Storm {
        world,
        stack,
        proxy: &proxy,
        door: &door,
        ledger: &ledger,
        fleet: Fleet::of(world, &proxy, &door, budget.seed, say),
        broker,
        table,
        dice: Dice::new(budget.seed, 4),
        killed_too: 0,
    };
    let mut report = Report {
        seed: budget.seed,
        faults: budget.faults,
        clicks: budget.clicks,
        ..Report::default()
    };
    std::thread::scope(|scope| {
        // Whatever happens here, the others are told to stop.
        let _over = progress.over_at_the_end();
        let writing = scope.spawn(|| generator.run(&progress));
        let looking = scope.spawn(|| sampler.run(&progress));
        rage(&mut storm, budget, &progress, &mut report, say);
        progress.calm();
        say("no more faults; waiting for the log's end");
        if let Err(error) = writing.join().expect("the generator does not panic") {
            report.findings.push(format!("the generator: {error}"));
        }
        if !settle(&mut storm, Duration::from_secs(budget.settle_seconds)) {
            let books = (storm.broker.committed(), storm.broker.ends());
            report.findings.push(format!("the log's end is not committed: {books:?}"));
        }
        progress.end();
        report.seen = looking.join().expect("the sampler does not panic");
    });
    storm.fleet.stop_all();
    report.findings.extend(std::mem::take(&mut report.seen.findings));
    report.findings.append(&mut storm.fleet.findings);
    report.killed_too = storm.killed_too;
    report.started = storm.fleet.started;
    report.fell = std::mem::take(&mut storm.fleet.fell);
    close_books(&storm, &mut dead, &mut report);
    report.seconds = began.elapsed().as_secs();
    report
}

/// One fault after another, until enough were observed or the time is over.
fn rage(
    storm: &mut Storm<'_>,
    budget: Budget,
    progress: &Progress,
    report: &mut Report,
    say: Say<'_>,
) {
    let small = storm.stack.disk_usage(Part::ClickHouse).is_some();
    let without = if small { Vec::new() } else { vec![Kind::DiskFull] };
    let mut deck = fault_scheduler::Deck::new(budget.seed, without);
    while progress.observed() < budget.faults && !progress.late() {
        let (kind, began) = (budget.only.unwrap_or_else(|| deck.draw()), Instant::now());
        let observed = storm.strike(kind);
        let counts = report.kinds.entry(kind).or_default();
        counts.0 += 1;
        counts.1 += u32::from(observed);
        let number = progress.came(observed);
        let seen = if observed { "observed" } else { "not observed" };
        let seconds = began.elapsed().as_secs_f64();
        say(&format!("{number}/{} {kind}: {seen} ({seconds:.1} s)", budget.faults));
    }
}

/// Waits, with everything mended, until the group has committed the log's end.
fn settle(storm: &mut Storm<'_>, patience: Duration) -> bool {
    let began = Instant::now();
    while began.elapsed() < patience {
        storm.fleet.fill();
        if storm.broker.lag().is_ok_and(|lag| lag == 0) {
            return true;
        }
        std::thread::sleep(Duration::from_millis(200));
    }
    false
}

/// Holds the table against the generator's list, and the product's own audit against both.
fn close_books(storm: &Storm<'_>, dead: &mut DeadLetters, report: &mut Report) {
    let books = storm.ledger.books();
    report.log = (books.logged, books.resends);
    let mut outcome = Outcome { minted: books.events.len() as u64, ..Outcome::default() };
    let mut shown = storm.table.ids("SELECT event_id FROM clicks").unwrap_or_else(|error| {
        report.findings.push(format!("reading all clicks: {error}"));
        Vec::new()
    });
    let rows = shown.len();
    shown.sort_unstable();
    shown.dedup();
    let (mut minted, mut owed) = (books.events.clone(), books.owed());
    minted.sort_unstable();
    owed.sort_unstable();
    outcome.twice = (rows - shown.len()) as u64;
    outcome.lost = beyond(&owed, &shown);
    outcome.strangers = beyond(&shown, &minted);
    outcome.destroyed =
        (books.destroyed(), outcome.minted - owed.len() as u64, beyond(&minted, &shown));
    let (all_bad, owed_bad): (HashSet<_>, HashSet<_>) = {
        let all = books.bad_places();
        (all.iter().copied().collect(), all.into_iter().filter(|p| books.is_owed(p)).collect())
    };
    if books.bad != all_bad.len() as u64 {
        let text = format!("{} bad records written, {} placed", books.bad, all_bad.len());
        report.findings.push(text);
    }
    drop(books);
    if let Err(error) = dead.read() {
        report.findings.push(error);
    }
    outcome.bad = (owed_bad.len() as u64, owed_bad.intersection(&dead.places).count() as u64);
    outcome.good_buried = dead.places.difference(&all_bad).count() as u64;
    report.outcome = outcome;
    audit(storm, &shown, report);
}

/// Wants of `processors audit` exactly what the list and the log's bounds say.
fn audit(storm: &Storm<'_>, shown: &[Id], report: &mut Report) {
    let Ok(bounds) = storm.broker.bounds() else {
        return report.findings.push("the broker does not say its bounds".to_owned());
    };
    let lows: BTreeMap<i32, i64> =
        bounds.into_iter().map(|(partition, (low, _))| (partition, low)).collect();
    let remains = storm.ledger.books().remains(&lows);
    let surplus = shown.iter().filter(|id| !remains.events.contains(*id)).count() as u64;
    let below = lows.iter().map(|(partition, low)| {
        format!("(kafka_partition = {partition} AND kafka_offset < {low})")
    });
    let below = below.collect::<Vec<_>>().join(" OR ");
    // Explained is a row without a record only by the offset that it names.
    let Ok(below) = storm.table.ids(&format!("SELECT event_id FROM clicks WHERE {below}")) else {
        return report.findings.push("the engine does not say what has expired".to_owned());
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
    let (audit, code) = storm.world.audit_within(AUDIT);
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

/// The time of day, to find the place in the logs.
fn clock() -> String {
    jiff::Timestamp::now().strftime("%H:%M:%S").to_string()
}
