//! A short run without merges: counts the versions of a click on disk after crashes.
//!
//! After each kill, before another member reads, the rows at or above the committed position are exactly
//! those that will be written again. Nothing else may add a version, except the copies of the sender.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use super::broker::Broker;
use super::budget::{Budget, LineReporter, PARTITIONS};
use super::expected_clicks::ExpectedClicks;
use super::generator::Generator;
use super::progress::Progress;
use super::table::Table;
use crate::backends::Backends;
use crate::wait::until;
use crate::world::World;
use stack::Stack;

const KILLS: u32 = 8;
const BUDGET: Budget =
    Budget { seed: 0, faults: KILLS, clicks: 40_000, seconds: 120, only: None, settle_seconds: 60 };
const ROWS: [(&str, &str); 1] = [("CLICKTRAIL_BATCH_ROWS", "500")];
/// The least number of records committed between two kills.
const STEP: i64 = 1000;
/// The time within which inserts that the engine had received before the kill become rows.
const LANDS: Duration = Duration::from_secs(1);

/// The result.
#[derive(Debug)]
pub struct Versions {
    /// Processors killed.
    pub kills: u32,
    /// Events in the log.
    pub events: u64,
    /// Copies that the sender made.
    pub resends: u64,
    /// Rows on disk.
    pub versions: u64,
    /// Rows of the view.
    pub clicks: u64,
    /// Rows on disk without a commit at the times of the kills.
    pub in_flight: u64,
}

impl Versions {
    /// Versions beyond the first of an event.
    pub fn duplicates(&self) -> u64 {
        self.versions - self.events
    }

    /// Whether all versions are explained and the view shows none of them twice.
    pub fn good(&self) -> bool {
        self.duplicates() <= self.in_flight + self.resends && self.clicks == self.events
    }
}

impl fmt::Display for Versions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "versions: merges=stopped kills={} events={} resends={} rows_on_disk={} \
             duplicate_versions={} bound={} (in flight at the kills {}, resends {}) clicks={} {}",
            self.kills,
            self.events,
            self.resends,
            self.versions,
            self.duplicates(),
            self.in_flight + self.resends,
            self.in_flight,
            self.resends,
            self.clicks,
            if self.good() { "HELD" } else { "BROKEN" }
        )
    }
}

/// Kills one processor repeatedly while clicks arrive and merges are stopped.
///
/// # Panics
/// Like [`super::run`].
pub fn versions(stack: &Stack, seed: u64, report_line: LineReporter<'_>) -> Versions {
    let world = World::on(Backends::on(stack), "versions");
    world.setup();
    world.query("SYSTEM STOP MERGES click_versions");
    let expected_clicks = Arc::new(ExpectedClicks::new(PARTITIONS.unsigned_abs() as usize));
    let generator = Generator::of(&world, seed, &expected_clicks);
    let progress = Progress::new(BUDGET);
    let (table, broker) = (Table::of(&world), Broker::of(&world, &expected_clicks));
    let mut in_flight = 0;
    std::thread::scope(|scope| {
        let _over = progress.over_at_the_end();
        let writing = scope.spawn(|| generator.run(&progress));
        // A static member rejoins at once.
        let member = ["--kafka", "group.instance.id=one"];
        for kill in 1..=KILLS {
            let mut processors = world.processors(&member, &ROWS);
            let next = until("the positions", || position(&broker)) + STEP;
            processors.until("the positions have gone on, and there is more to do", || {
                (position(&broker)? >= next && broker.lag().ok()? > 0).then_some(())
            });
            processors.crash();
            std::thread::sleep(LANDS);
            let again = uncommitted(&table, &broker);
            report_line(&format!("kill {kill}/{KILLS}: {again} rows on disk are not committed"));
            in_flight += again;
            progress.came(true);
        }
        progress.calm();
        writing.join().expect("the generator does not panic").expect("every click is written");
        let mut processors = world.processors(&member, &ROWS);
        processors.until_caught_up(&world);
        processors.stop().expect_code(0);
    });
    let (events, resends) = {
        let expected_state = expected_clicks.lock();
        (expected_state.events.len() as u64, expected_state.resends)
    };
    Versions {
        kills: KILLS,
        events,
        resends,
        versions: world.number("SELECT count() FROM click_versions"),
        clicks: world.clicks(),
        in_flight,
    }
}

/// Records that the group has committed.
fn position(broker: &Broker) -> Option<i64> {
    Some(broker.committed().ok()?.iter().sum())
}

/// Rows on disk that will be written again.
fn uncommitted(table: &Table, broker: &Broker) -> u64 {
    let committed = until("the committed positions", || broker.committed().ok());
    let above: Vec<_> = committed
        .iter()
        .enumerate()
        .map(|(partition, position)| {
            format!("(kafka_partition = {partition} AND kafka_offset >= {position})")
        })
        .collect();
    let sql = format!(
        "SELECT uniqExact(kafka_partition, kafka_offset) FROM click_versions WHERE {}",
        above.join(" OR ")
    );
    table.numbers(sql).expect("the engine answers")[0]
}
