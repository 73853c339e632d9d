//! How far a replay is in each partition.

use std::collections::BTreeMap;

use broker::ServerError;
use records::replay::log_range::LogRange;
use records::replay::replay_plan::ReplayPlan;
use serde_json::{Value, json};

use crate::cmd::dlq::table::Table;
use crate::config::Servers;
use crate::replay::replay_group::ReplayGroup;

/// The committed position of each partition of a plan; that of a range that was not begun is its start.
#[derive(Debug)]
pub(super) struct PositionTable {
    rows: Vec<(i32, LogRange, i64)>,
    done: u64,
    offsets: u64,
}

impl PositionTable {
    /// Reads the positions of the group of the job `id`.
    ///
    /// # Errors
    /// The brokers do not answer.
    pub(super) async fn read(
        servers: &Servers,
        id: &str,
        plan: &ReplayPlan,
    ) -> Result<Self, ServerError> {
        let group = ReplayGroup::open(&servers.kafka.brokers(), id, plan)?;
        Ok(Self::of(plan, &group.positions().await?))
    }

    fn of(plan: &ReplayPlan, positions: &BTreeMap<i32, i64>) -> Self {
        let ranges =
            plan.ranges.iter().flat_map(|(own, all)| all.iter().map(move |it| (*own, *it)));
        let row = |(own, range): (i32, LogRange)| {
            let position = positions.get(&own).copied().unwrap_or(range.first);
            (own, range, position.clamp(range.first, range.end))
        };
        let rows = ranges.map(row).collect();
        Self { rows, done: plan.done(positions), offsets: plan.offsets() }
    }

    /// As a table.
    pub(super) fn lines(&self) -> Vec<String> {
        let row = |(partition, range, position): &(i32, LogRange, i64)| {
            let left = LogRange { first: *position, end: range.end }.offsets();
            let numbers = [range.first, range.end - 1, *position].map(|number| number.to_string());
            [vec![partition.to_string()], numbers.to_vec(), vec![left.to_string()]].concat()
        };
        let mut table = Table::new(&["PARTITION", "FIRST", "LAST", "POSITION", "LEFT"]);
        let mut lines = table.lines(self.rows.iter().map(row).collect());
        lines.push(format!("{} of {} offsets are processed", self.done, self.offsets));
        lines
    }

    /// As JSON.
    pub(super) fn json(&self) -> Value {
        let row = |(partition, range, position): &(i32, LogRange, i64)| {
            let (first, end) = (range.first, range.end);
            json!({ "partition": partition, "first": first, "end": end, "position": position })
        };
        Value::Array(self.rows.iter().map(row).collect())
    }

    /// The lines that state what a job that has stopped leaves rewritten.
    pub(super) fn rewritten(&self) -> Vec<String> {
        let done = self.rows.iter().filter(|(_, range, position)| *position > range.first);
        let mut lines: Vec<String> = done
            .map(|(partition, range, position)| {
                let done = LogRange { first: range.first, end: *position };
                format!("clicks of {partition}:{done} stay rewritten by the rules of the plan")
            })
            .collect();
        if lines.is_empty() {
            lines.push(
                "no position has moved: at most the batches in flight are rewritten".to_owned(),
            );
        }
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
        let half = PositionTable::of(&plan, &BTreeMap::from([(0, 8), (2, 1)]));
        assert_eq!(half.rewritten(), ["clicks of 0:5-7 stay rewritten by the rules of the plan"]);
        let lines = half.lines();
        assert_eq!(lines[1].split_whitespace().collect::<Vec<_>>(), ["0", "5", "8", "8", "1"]);
        assert_eq!(lines[3], "3 of 6 offsets are processed");
        assert_eq!(half.json()[0]["position"], 8);
        let none = PositionTable::of(&plan, &BTreeMap::new());
        assert!(none.rewritten()[0].starts_with("no position has moved"));
    }
}
