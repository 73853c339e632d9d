//! How far a replay is in each partition.

use std::collections::BTreeMap;

use broker::ServerError;
use records::replay::log_range::LogRange;
use records::replay::replay_plan::ReplayPlan;
use serde_json::{Value, json};

use crate::cmd::dlq::table::Table;
use crate::config::Servers;
use crate::jobs::job::Job;
use crate::replay::replay_group::ReplayGroup;
use crate::replay::stored_plan::STARTED;

/// The committed position of each partition of a plan; that of a partition that was not begun is the start of
/// its first range. The brokers delete the positions of a group without members after their
/// `offsets.retention.minutes`.
#[derive(Debug)]
pub(super) struct PositionTable {
    rows: Vec<PositionRow>,
    have_expired: bool,
    done: u64,
    offsets: u64,
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
    /// Reads the positions of the group of a job.
    ///
    /// # Errors
    /// The brokers do not answer.
    pub(super) async fn read(
        servers: &Servers,
        job: &Job,
        plan: &ReplayPlan,
    ) -> Result<Self, ServerError> {
        let group = ReplayGroup::open(&servers.kafka.brokers(), &job.id, plan)?;
        Ok(Self::of(plan, &group.positions().await?, &job.counts))
    }

    fn of(
        plan: &ReplayPlan,
        positions: &BTreeMap<i32, i64>,
        counts: &BTreeMap<String, u64>,
    ) -> Self {
        // The start of the job commits a position of each range.
        let have_expired = positions.is_empty() && counts.contains_key(STARTED);
        let reported = counts.get("offsets_done").copied().unwrap_or_default();
        let done = if have_expired { reported } else { plan.done(positions) };
        let row = |(own, ranges): (&i32, &Vec<LogRange>)| {
            PositionRow::of(*own, ranges, positions.get(own).copied())
        };
        let rows = plan.ranges.iter().filter_map(row).collect();
        Self { rows, have_expired, done, offsets: plan.offsets() }
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
        let mut table = Table::new(&headings);
        let mut lines = table.lines(self.rows.iter().map(row).collect());
        lines.push(format!("{} of {} offsets are processed", self.done, self.offsets));
        lines
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
        let mut lines: Vec<_> = self.rows.iter().filter_map(PositionRow::rewritten).collect();
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
        assert_eq!(none.rewritten()[0], "no position has moved");
        let expired = PositionTable::of(&plan, &BTreeMap::new(), &counts);
        assert!(expired.lines()[0].contains("have expired; 4 of 6 offsets"));
        assert_eq!(
            (expired.rewritten(), &expired.json()[0]["position"]),
            (expired.lines(), &Value::Null)
        );
    }
}
