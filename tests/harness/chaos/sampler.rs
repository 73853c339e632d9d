//! Checks every second during the faults whether the view shows a click twice, and whether a committed
//! position is ahead of the durable rows.
//!
//! Positions are checked by event, not by offset. The sampler reads committed positions first, then
//! rows: rows inserted in between cannot hide an error. A record whose event was sent once has rows with
//! its own offset only, however often it is replayed and however its versions are merged. An event that
//! was sent twice may have a row with the offset of its copy; so if an offset has no row, the sampler
//! searches the event. Records that a fault destroyed before their commit may be missing. A bad record
//! must be in the dead letters. The sampler does not search offsets again that it has found once: the
//! product deletes no rows, and the end of the run compares everything. Offsets without a delivery report
//! are left to the next sample.

use std::collections::HashSet;
use std::fmt::Write as _;
use std::time::{Duration, Instant};

use super::broker::{Broker, DeadLetters};
use super::budget::{LineReporter, clock};
use super::expected_clicks::{BAD, ExpectedClicks, Id};
use super::progress::Progress;
use super::table::Table;

const EVERY: Duration = Duration::from_secs(1);
/// The most findings in a report.
const FINDINGS_MAX: usize = 10;
/// The most offsets of one partition in one sample.
const STRETCH: i64 = 100_000;

/// The result of all samples.
#[derive(Debug, Default)]
pub(super) struct SamplerResult {
    /// Samples of the view with a response.
    pub samples: u64,
    /// Samples without a response of the engine.
    pub unreachable: u64,
    /// The most rows beyond the first of an event in one sample.
    pub twice: u64,
    /// Checks of positions with a response.
    pub looks: u64,
    /// Searched offsets below a committed position.
    pub offsets: u64,
    /// Searched offsets without a row and without a dead letter.
    pub ahead: u64,
    /// Findings, as text.
    pub findings: Vec<String>,
}

/// The sampler.
pub(super) struct Sampler<'r> {
    pub table: Table,
    pub broker: Broker,
    pub dead: DeadLetters,
    pub expected_clicks: &'r ExpectedClicks,
    pub report_line: LineReporter<'r>,
    /// By partition: the offset below which everything was found.
    checked: Vec<i64>,
    /// The generation of the topic to which these offsets belong.
    topic: usize,
    seen: SamplerResult,
}

impl<'r> Sampler<'r> {
    pub(super) fn new(
        table: Table,
        broker: Broker,
        dead: DeadLetters,
        expected_clicks: &'r ExpectedClicks,
        report_line: LineReporter<'r>,
    ) -> Self {
        let (checked, seen) = (Vec::new(), SamplerResult::default());
        Self { table, broker, dead, expected_clicks, report_line, checked, topic: 0, seen }
    }

    /// Samples until the run is over, and once more.
    pub(super) fn run(mut self, progress: &Progress) -> SamplerResult {
        loop {
            let (began, last) = (Instant::now(), progress.is_over());
            match self.table.numbers("SELECT count(), uniqExact(event_id) FROM clicks".to_owned()) {
                Ok(numbers) => self.sample(&numbers),
                Err(_) => self.seen.unreachable += 1,
            }
            self.positions();
            if last {
                return self.seen;
            }
            // The samples must not become the load of the machine: pause for as long as the last one took.
            std::thread::sleep(
                EVERY.saturating_sub(began.elapsed()).max(began.elapsed().min(5 * EVERY) / 2),
            );
        }
    }

    fn sample(&mut self, numbers: &[u64]) {
        self.seen.samples += 1;
        let &[rows, events] = numbers else { return self.find("an odd answer".to_owned()) };
        let twice = rows - events;
        self.seen.twice = self.seen.twice.max(twice);
        if twice > 0 {
            self.find(format!("{rows} clicks are shown for {events} events"));
        }
    }

    fn find(&mut self, what: String) {
        (self.report_line)(&format!("FOUND: {what}"));
        if self.seen.findings.len() < FINDINGS_MAX {
            self.seen.findings.push(format!("{} {what}", clock()));
        }
    }

    fn positions(&mut self) {
        let topic = self.expected_clicks.lock().topic();
        if self.topic != topic {
            (self.topic, self.checked) = (topic, Vec::new());
        }
        let Ok(committed) = self.broker.committed() else { return };
        let Ok(ends) = self.broker.ends() else { return };
        self.checked.resize(committed.len(), 0);
        if self.dead.read().is_err() {
            return;
        }
        for (partition, (position, _)) in committed.into_iter().zip(&ends).enumerate() {
            let from = self.checked[partition];
            let stretch = {
                let expected_state = self.expected_clicks.lock();
                // A position of a deleted topic is no evidence; the group resets it.
                let stale = position > ends[partition];
                let to = if stale { from } else { position.min(from + STRETCH) };
                expected_state.stretch(partition, from, to).to_vec()
            };
            if stretch.is_empty() {
                continue;
            }
            let Ok(nowhere) = self.nowhere(partition, from, &stretch) else { return };
            if self.expected_clicks.lock().topic() != topic {
                // The topic was recreated meanwhile.
                return;
            }
            self.seen.looks += 1;
            self.seen.offsets += stretch.len() as u64;
            self.seen.ahead += nowhere.len() as u64;
            if let (Some(first), Some(last)) = (nowhere.first(), nowhere.last()) {
                self.find(format!(
                    "partition {partition} is committed up to {position}, and {} records below \
                     are neither rows nor dead letters ({first} to {last})",
                    nowhere.len()
                ));
            }
            self.checked[partition] = from + i64::try_from(stretch.len()).expect("a short stretch");
        }
    }

    /// Offsets of a range that are neither in the table nor in the dead letters.
    fn nowhere(&self, partition: usize, from: i64, stretch: &[u32]) -> Result<Vec<i64>, String> {
        let to = from + i64::try_from(stretch.len()).expect("a short stretch");
        let made_ms = self.expected_clicks.lock().made_ms[self.topic];
        let sql = format!(
            "SELECT DISTINCT kafka_offset FROM click_versions WHERE kafka_partition = {partition} \
             AND kafka_offset >= {from} AND kafka_offset < {to} \
             AND logged_at >= fromUnixTimestamp64Milli({made_ms}) FORMAT RowBinary"
        );
        let bytes = self.table.ask(sql)?;
        let (offsets, _) = bytes.as_chunks::<8>();
        let rows: HashSet<u64> = offsets.iter().map(|bytes| u64::from_le_bytes(*bytes)).collect();
        let mut nowhere = Vec::new();
        let mut by_event: Vec<(i64, Id)> = Vec::new();
        {
            let expected_state = self.expected_clicks.lock();
            for (offset, what) in (from..).zip(stretch) {
                let location = (self.topic, index(partition), offset);
                if !expected_state.is_owed(&location) {
                    continue;
                }
                if *what == BAD {
                    if !self.dead.locations.contains(&location) {
                        nowhere.push(offset);
                    }
                } else if !rows.contains(&offset.unsigned_abs()) {
                    by_event.push((offset, expected_state.events[*what as usize]));
                }
            }
        }
        for some in by_event.chunks(2000) {
            let found = self.table.ids(&format!(
                "SELECT DISTINCT event_id FROM click_versions WHERE event_id IN ({})",
                literals(some)
            ))?;
            let found: HashSet<Id> = found.into_iter().collect();
            nowhere.extend(some.iter().filter(|(_, id)| !found.contains(id)).map(|(at, _)| at));
        }
        Ok(nowhere)
    }
}

fn index(partition: usize) -> i32 {
    i32::try_from(partition).expect("few partitions")
}

fn literals(events: &[(i64, Id)]) -> String {
    let mut list = String::new();
    for (_, id) in events {
        let comma = if list.is_empty() { "" } else { "," };
        write!(list, "{comma}unhex('").expect("a string takes what is written");
        for byte in id {
            write!(list, "{byte:02x}").expect("a string takes what is written");
        }
        list.push_str("')");
    }
    list
}
