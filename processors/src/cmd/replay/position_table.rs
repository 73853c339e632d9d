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
use crate::replay::replay_worker::STARTED;

/// The committed position of each partition of a plan; that of a range that was not begun is its start. The
/// brokers delete the positions of a group without members after their `offsets.retention.minutes`.
#[derive(Debug)]
pub(super) struct PositionTable {
    rows: Vec<(i32, LogRange, i64)>,
    have_expired: bool,
    done: u64,
    offsets: u64,
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
        let ranges =
            plan.ranges.iter().flat_map(|(own, all)| all.iter().map(move |it| (*own, *it)));
        let row = |(own, range): (i32, LogRange)| {
            let position = positions.get(&own).copied().unwrap_or(range.first);
            (own, range, position.clamp(range.first, range.end))
        };
        let rows = ranges.map(row).collect();
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

    /// As JSON; a position that has expired is null.
    pub(super) fn json(&self) -> Value {
        let row = |(partition, range, position): &(i32, LogRange, i64)| {
            let (first, end) = (range.first, range.end);
            let position = (!self.have_expired).then_some(*position);
            json!({ "partition": partition, "first": first, "end": end, "position": position })
        };
        Value::Array(self.rows.iter().map(row).collect())
    }

    /// The lines that state what a job that has stopped leaves rewritten.
    pub(super) fn rewritten(&self) -> Vec<String> {
        if self.have_expired {
            return self.lines();
        }
        let done = self.rows.iter().filter(|(_, range, position)| *position > range.first);
        let mut lines: Vec<String> = done
            .map(|(partition, range, position)| {
                let done = LogRange { first: range.first, end: *position };
                format!("clicks of {partition}:{done} stay rewritten by the rules of the plan")
            })
            .collect();
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
        assert_eq!(lines[1].split_whitespace().collect::<Vec<_>>(), ["0", "5", "8", "8", "1"]);
        assert_eq!(lines[3], "3 of 6 offsets are processed");
        assert_eq!(half.json()[0]["position"], 8);
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
