//! How far a replay is in each partition.

use std::collections::BTreeMap;

use broker::ServerError;
use records::replay::log_day::LogDay;
use records::replay::log_range::LogRange;
use records::replay::replay_plan::ReplayPlan;
use serde_json::{Value, json};

use crate::cmd::dlq::table::Table;
use crate::config::Servers;
use crate::jobs::job::Job;
use crate::replay::replay_group::ReplayGroup;
use crate::replay::stored_plan::{STARTED, pass_number};

/// The committed position of each partition of the pass that a job reads; that of a partition that was not begun is
/// the start of its first range. The brokers delete the positions of a group without members after their
/// `offsets.retention.minutes`.
#[derive(Debug)]
pub(super) struct PositionTable {
    rows: Vec<PositionRow>,
    /// Of a job of several passes: the pass that it reads.
    pass: Option<PassRow>,
    have_expired: bool,
    /// Whether a process has run the job.
    has_started: bool,
    done: u64,
    offsets: u64,
}

/// A pass among several.
#[derive(Debug)]
struct PassRow {
    number: usize,
    passes: usize,
    day: Option<LogDay>,
    /// The days of the passes before it, the first and the last one.
    before: Option<[LogDay; 2]>,
}

impl PassRow {
    fn of(plan: &ReplayPlan, number: usize) -> Option<Self> {
        let passes = plan.passes.len();
        let day = plan.pass(number).day;
        let mut before = plan.passes.iter().take(number - 1).filter_map(|pass| pass.day);
        let before = before.next().map(|first| [first, before.next_back().unwrap_or(first)]);
        (passes > 0).then_some(Self { number, passes, day, before })
    }

    fn line(&self) -> String {
        let day = self.day.map(|day| format!(", log day {day}")).unwrap_or_default();
        format!("pass {} of {}{day}", self.number, self.passes)
    }

    /// What the passes before it have rewritten.
    fn rewritten(&self) -> Option<String> {
        let [first, last] = self.before?;
        let days = if first == last { first.to_string() } else { format!("{last} to {first}") };
        let count = self.number - 1;
        Some(format!(
            "all clicks of the log days {days} ({count} of {} passes) stay rewritten by the rules of the plan",
            self.passes
        ))
    }

    fn json(&self) -> Value {
        json!({ "number": self.number, "passes": self.passes, "day": self.day })
    }
}

/// The ranges of one partition, and its position.
#[derive(Debug)]
struct PositionRow {
    partition: i32,
    ranges: Vec<LogRange>,
    first: i64,
    end: i64,
    position: i64,
}

impl PositionRow {
    fn of(partition: i32, ranges: &[LogRange], position: Option<i64>) -> Option<Self> {
        let (first, end) = (ranges.first()?.first, ranges.last()?.end);
        let position = position.unwrap_or(first).clamp(first, end);
        Some(Self { partition, ranges: ranges.to_vec(), first, end, position })
    }

    /// Offsets of the ranges that are left to read.
    fn left(&self) -> u64 {
        let left = |range: &LogRange| LogRange { first: range.first.max(self.position), ..*range };
        self.ranges.iter().map(|range| left(range).offsets()).sum()
    }

    /// What the replay has rewritten; `None` if nothing.
    fn rewritten(&self) -> Option<String> {
        let Self { partition, position, first, .. } = self;
        let begun = self.ranges.iter().filter(|range| range.first < *position);
        let last = begun.clone().next_back()?;
        let done = LogRange { first: *first, end: last.end.min(*position) };
        let ranges = match begun.count() {
            1 => String::new(),
            count => format!(" in {count} of {} ranges", self.ranges.len()),
        };
        Some(format!(
            "clicks of {partition}:{done}{ranges} stay rewritten by the rules of the plan"
        ))
    }
}

impl PositionTable {
    /// Reads the positions of the group of the pass that a job reads.
    ///
    /// # Errors
    /// The brokers do not answer.
    pub(super) async fn read(
        servers: &Servers,
        job: &Job,
        plan: &ReplayPlan,
    ) -> Result<Self, ServerError> {
        let (brokers, number) = (servers.kafka.brokers(), pass_number(&job.counts));
        let group = ReplayGroup::open(&brokers, &job.id, plan, number)?;
        Ok(Self::of(plan, &group.positions().await?, &job.counts))
    }

    fn of(
        plan: &ReplayPlan,
        positions: &BTreeMap<i32, i64>,
        counts: &BTreeMap<String, u64>,
    ) -> Self {
        let number = pass_number(counts).clamp(1, plan.pass_count());
        let pass = plan.pass(number);
        // The start of the pass commits a position of each partition.
        let has_started = counts.contains_key(STARTED);
        let have_expired = positions.is_empty() && has_started;
        let reported = counts.get("offsets_done").copied().unwrap_or_default();
        let read = plan.offsets_before(number) + pass.done(positions);
        let done = if have_expired { reported } else { read };
        let row = |(own, ranges): (&i32, &Vec<LogRange>)| {
            PositionRow::of(*own, ranges, positions.get(own).copied())
        };
        let rows = pass.ranges.iter().filter_map(row).collect();
        let pass = PassRow::of(plan, number);
        Self { rows, pass, have_expired, has_started, done, offsets: plan.offsets() }
    }

    /// As a table.
    pub(super) fn lines(&self) -> Vec<String> {
        if self.have_expired {
            let (done, offsets) = (self.done, self.offsets);
            return vec![format!(
                "the positions have expired; {done} of {offsets} offsets were processed when the job was \
                 last reported"
            )];
        }
        let row = |row: &PositionRow| {
            let numbers = [row.first, row.end - 1, row.position].map(|number| number.to_string());
            let (partition, ranges) = (row.partition.to_string(), row.ranges.len().to_string());
            [vec![partition, ranges], numbers.to_vec(), vec![row.left().to_string()]].concat()
        };
        let headings = ["PARTITION", "RANGES", "FIRST", "LAST", "POSITION", "LEFT"];
        let mut lines: Vec<_> = self.pass.iter().map(PassRow::line).collect();
        lines.extend(Table::new(&headings).lines(self.rows.iter().map(row).collect()));
        lines.push(format!("{} of {} offsets are processed", self.done, self.offsets));
        lines
    }

    /// The pass that the job reads, as JSON; null: it has one pass.
    pub(super) fn pass_json(&self) -> Value {
        self.pass.as_ref().map_or(Value::Null, PassRow::json)
    }

    /// As JSON; a position that has expired is null.
    pub(super) fn json(&self) -> Value {
        let row = |row: &PositionRow| {
            let PositionRow { partition, ranges, first, end, position } = row;
            let (ranges, position) = (ranges.len(), (!self.have_expired).then_some(*position));
            json!({
                "partition": partition, "ranges": ranges, "first": first, "end": end,
                "position": position,
            })
        };
        Value::Array(self.rows.iter().map(row).collect())
    }

    /// The lines that state what a job that has stopped leaves rewritten.
    pub(super) fn rewritten(&self) -> Vec<String> {
        if self.have_expired {
            return self.lines();
        }
        if !self.has_started {
            return vec!["it never ran; no row has changed".to_owned()];
        }
        let mut lines: Vec<_> = self.pass.iter().filter_map(PassRow::rewritten).collect();
        lines.extend(self.rows.iter().filter_map(PositionRow::rewritten));
        if lines.is_empty() {
            lines.push("no position has moved".to_owned());
        }
        // A worker takes up to a second to see the end of the job, and then commits what it has read.
        lines.push("what the workers had read beyond the positions is rewritten, too".to_owned());
        lines
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::replay::stored_plan::PASS;

    #[test]
    fn a_stopped_job_names_the_offsets_whose_clicks_stay_rewritten() {
        let plan: ReplayPlan = serde_json::from_value(json!({
            "topic": "t", "window": { "log_time": { "from_ms": 0, "to_ms": null } },
            "ranges": { "0": [{ "first": 5, "end": 9 }], "2": [{ "first": 1, "end": 3 }] },
            "rules": { "program": 1, "geo": "", "user_agents": "", "crawlers": "", "referrers": "" },
        }))
        .unwrap();
        let counts = [(STARTED.to_owned(), 1), ("offsets_done".to_owned(), 4)].into();
        let half = PositionTable::of(&plan, &BTreeMap::from([(0, 8), (2, 1)]), &counts);
        let rewritten = half.rewritten();
        assert_eq!(rewritten[0], "clicks of 0:5-7 stay rewritten by the rules of the plan");
        assert!(rewritten[1].starts_with("what the workers had read"), "{rewritten:?}");
        let lines = half.lines();
        assert_eq!(lines[1].split_whitespace().collect::<Vec<_>>(), ["0", "1", "5", "8", "8", "1"]);
        assert_eq!(lines[3], "3 of 6 offsets are processed");
        assert_eq!(half.json()[0]["position"], 8);
        let ranges = [(5, 9), (20, 30), (50, 60)].map(|(first, end)| LogRange { first, end });
        let several = ReplayPlan { ranges: [(0, ranges.to_vec())].into(), ..plan.clone() };
        let rewritten = |position| {
            let positions = [(0, position)].into();
            let table = PositionTable::of(&several, &positions, &counts);
            (table.rewritten().swap_remove(0), table.rows[0].left())
        };
        let expected = "clicks of 0:5-23 in 2 of 3 ranges stay rewritten by the rules of the plan";
        assert_eq!(rewritten(24), (expected.to_owned(), 16));
        let expected = "clicks of 0:5-8 stay rewritten by the rules of the plan";
        assert_eq!(rewritten(20), (expected.to_owned(), 20), "between two ranges");
        let none = PositionTable::of(&plan, &BTreeMap::new(), &BTreeMap::new());
        assert_eq!(none.rewritten(), ["it never ran; no row has changed"]);
        let started = PositionTable::of(&plan, &BTreeMap::from([(0, 5), (2, 1)]), &counts);
        assert_eq!(started.rewritten()[0], "no position has moved");
        let expired = PositionTable::of(&plan, &BTreeMap::new(), &counts);
        assert!(expired.lines()[0].contains("have expired; 4 of 6 offsets"));
        assert_eq!(
            (expired.rewritten(), &expired.json()[0]["position"]),
            (expired.lines(), &Value::Null)
        );
    }

    #[test]
    fn a_stopped_job_of_several_passes_names_the_days_that_stay_rewritten() {
        let pass = |day: &str, first: i64, end: i64| json!({ "day": day, "ranges": { "0": [{ "first": first, "end": end }] } });
        let plan: ReplayPlan = serde_json::from_value(json!({
            "topic": "t", "window": { "log_time": { "from_ms": 0, "to_ms": null } },
            "passes": [pass("2026-11-28", 20, 30), pass("2026-11-27", 9, 20), pass("2026-11-26", 5, 9)],
            "rules": { "program": 1, "geo": "", "user_agents": "", "crawlers": "", "referrers": "" },
        }))
        .unwrap();
        let of = |number: u64, position| {
            let counts = [(STARTED.to_owned(), 1), (PASS.to_owned(), number)].into();
            PositionTable::of(&plan, &BTreeMap::from([(0, position)]), &counts)
        };
        let first = of(1, 25);
        assert_eq!(first.lines()[0], "pass 1 of 3, log day 2026-11-28");
        assert_eq!(first.lines().last().unwrap(), "5 of 25 offsets are processed");
        assert!(first.rewritten()[0].starts_with("clicks of 0:20-24 stay"), "{first:?}");
        let third = of(3, 7);
        assert_eq!(third.lines().last().unwrap(), "23 of 25 offsets are processed");
        let rewritten = third.rewritten();
        let expected = "all clicks of the log days 2026-11-27 to 2026-11-28 (2 of 3 passes) stay rewritten by the \
                        rules of the plan";
        assert_eq!(rewritten[0], expected);
        assert!(rewritten[1].starts_with("clicks of 0:5-6 stay"), "{rewritten:?}");
        let object = json!({ "number": 3, "passes": 3, "day": "2026-11-26" });
        assert_eq!((third.pass_json(), &third.json()[0]["position"]), (object, &json!(7)));
        assert!(of(2, 9).rewritten()[0].contains("log days 2026-11-28 (1 of 3"), "one day");
    }
}
