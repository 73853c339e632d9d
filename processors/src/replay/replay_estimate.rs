//! What a replay will cost, as far as the servers state it. Pure.

use std::collections::BTreeSet;
use std::time::Duration;

use jiff::Timestamp;
use serde_json::{Value, json};

use crate::clickhouse::range_rows::RangeRows;
use crate::clickhouse::table_size::TableSize;
use crate::jobs::job::{Job, JobState};
use crate::replay::stored_plan::STARTED;

/// Fewest offsets of a replay whose rate counts: of a shorter one, the starts of its workers take most of the
/// time.
const RATED_OFFSETS_MIN: u64 = 100_000;
/// Seconds of a day.
const DAY: i64 = 86_400;

/// The cost. What no server stated is `None`.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub(crate) struct ReplayEstimate {
    /// Rows of the view that are rewritten.
    pub(crate) rows: Option<u64>,
    /// Their days, in days since 1970.
    pub(crate) days: Option<BTreeSet<u32>>,
    /// Bytes of the new versions, until merges remove the old ones.
    pub(crate) table_bytes: Option<u64>,
    /// Bytes that are free on the disks of the table.
    pub(crate) free_bytes: Option<u64>,
    /// How long the job takes, its verification included.
    pub(crate) time: Option<Duration>,
}

impl ReplayEstimate {
    /// Of a replay of so many offsets; `jobs` are all replays.
    pub(crate) fn of(
        offsets: u64,
        rows: Option<&RangeRows>,
        size: Option<TableSize>,
        jobs: &[Job],
    ) -> Self {
        let row_count = rows.map(RangeRows::rows);
        Self {
            rows: row_count,
            days: rows.map(|rows| rows.days.clone()),
            table_bytes: size.zip(row_count).and_then(|(size, rows)| size.bytes_of(rows)),
            free_bytes: size.map(|size| size.free_bytes).filter(|bytes| *bytes > 0),
            time: newest_rate(jobs).and_then(|rate| {
                let millis = u128::from(offsets) * 1_000 / u128::from(rate);
                u64::try_from(millis).ok().map(Duration::from_millis)
            }),
        }
    }

    /// A line for each.
    pub(crate) fn lines(&self) -> Vec<String> {
        let unknown = || "unknown".to_owned();
        let mut lines = vec![
            format!("rows to rewrite: {}", self.rows.map_or_else(unknown, |rows| rows.to_string())),
            format!("days: {}", self.days.as_ref().map_or_else(unknown, days_text)),
            format!(
                "extra bytes of the table until merges: {}, free on its disks: {}",
                self.table_bytes.map_or_else(unknown, size_text),
                self.free_bytes.map_or_else(unknown, size_text)
            ),
            self.time.map_or_else(
                || {
                    format!(
                        "time: unknown: no replay of {RATED_OFFSETS_MIN} offsets or more is done"
                    )
                },
                |time| format!("time: {} at the rate of the newest replay", time_text(time)),
            ),
        ];
        if self.lacks_room() {
            lines.push(
                "warning: the new rows may not fit on the disks of the table; cancel the job, and replay \
                 one day after the other"
                    .to_owned(),
            );
        }
        lines
    }

    /// Whether the new rows would take more than half of what is free: a merge needs the same again.
    fn lacks_room(&self) -> bool {
        self.table_bytes.zip(self.free_bytes).is_some_and(|(bytes, free)| bytes > free / 2)
    }

    /// As JSON; what is not known is null.
    pub(crate) fn json(&self) -> Value {
        let days: Option<Vec<_>> =
            self.days.as_ref().map(|days| days.iter().map(|day| day_text(*day)).collect());
        json!({
            "rows": self.rows,
            "days": days,
            "table_bytes": self.table_bytes,
            "free_bytes": self.free_bytes,
            "seconds": self.time.map(|time| time.as_secs()),
        })
    }
}

/// Offsets a second of the newest replay that is done and long enough.
fn newest_rate(jobs: &[Job]) -> Option<u64> {
    let rate = |job: &Job| {
        let offsets = job.counts.get("offsets").copied().filter(|all| *all >= RATED_OFFSETS_MIN)?;
        let started_us = i64::try_from(*job.counts.get(STARTED)?).ok()?;
        let us = u64::try_from(job.updated_at_us - started_us).ok().filter(|us| *us > 0)?;
        u64::try_from(u128::from(offsets) * 1_000_000 / u128::from(us))
            .ok()
            .filter(|rate| *rate > 0)
    };
    let mut done: Vec<_> = jobs.iter().filter(|job| job.state == JobState::Done).collect();
    done.sort_by_key(|job| job.updated_at_us);
    done.into_iter().rev().find_map(rate)
}

fn day_text(day: u32) -> String {
    let time = Timestamp::from_second(i64::from(day) * DAY);
    time.map_or_else(|_| day.to_string(), |time| time.strftime("%F").to_string())
}

fn days_text(days: &BTreeSet<u32>) -> String {
    match (days.first(), days.last()) {
        (Some(first), Some(last)) if first == last => format!("1 ({})", day_text(*first)),
        (Some(first), Some(last)) => {
            format!("{} ({} to {})", days.len(), day_text(*first), day_text(*last))
        }
        _ => "none".to_owned(),
    }
}

fn size_text(bytes: u64) -> String {
    const UNITS: [(u64, &str); 3] = [(1 << 30, "GiB"), (1 << 20, "MiB"), (1 << 10, "KiB")];
    let unit = UNITS.into_iter().find(|(size, _)| bytes >= *size);
    unit.map_or_else(
        || format!("{bytes} B"),
        |(size, name)| format!("{}.{} {name}", bytes / size, bytes % size * 10 / size),
    )
}

fn time_text(time: Duration) -> String {
    match time.as_secs() {
        seconds @ 0..120 => format!("{} s", seconds.max(1)),
        seconds @ 120..7_200 => format!("{} min", seconds / 60),
        seconds => format!("{} h", seconds / 3_600),
    }
}

#[cfg(test)]
mod tests {
    use records::enrich::rule_set::RuleSet;
    use records::replay::pinned_rules::PinnedRules;

    use super::*;

    fn job(state: JobState, offsets: u64, seconds: i64) -> Job {
        Job {
            counts: [("offsets".to_owned(), offsets), (STARTED.to_owned(), 1_000_000)].into(),
            updated_at_us: 1_000_000 + seconds * 1_000_000,
            ..Job::example("replay", state, "")
        }
    }

    #[test]
    fn what_no_server_stated_is_unknown() {
        let estimate = ReplayEstimate::of(5, None, None, &[]);
        assert_eq!(estimate, ReplayEstimate::default());
        let lines = estimate.lines();
        assert!(lines.len() == 4 && lines.iter().all(|line| line.contains("unknown")), "{lines:?}");
        assert!(estimate.json()["rows"].is_null() && estimate.json()["seconds"].is_null());
    }

    #[test]
    fn rows_days_bytes_and_time_are_estimated_from_what_is_known() {
        let rules = PinnedRules::of(&RuleSet::default());
        let rows = RangeRows { days: [20_000, 20_002].into(), versions: vec![(rules, 3 << 20)] };
        let size = TableSize { row_count: 1 << 20, bytes: 100 << 20, free_bytes: 1 << 30 };
        let jobs = [
            job(JobState::Done, 100_000, 1),
            job(JobState::Done, 600_000, 60),
            job(JobState::Failed, 900_000, 70),
            job(JobState::Done, 10, 80),
        ];
        let estimate = ReplayEstimate::of(3_000_000, Some(&rows), Some(size), &jobs);
        assert_eq!(estimate.time, Some(Duration::from_secs(300)));
        let expected = [
            "rows to rewrite: 3145728",
            "days: 2 (2024-10-04 to 2024-10-06)",
            "extra bytes of the table until merges: 300.0 MiB, free on its disks: 1.0 GiB",
            "time: 5 min at the rate of the newest replay",
        ];
        assert_eq!(estimate.lines(), expected);
        assert_eq!(estimate.json()["days"][1], "2024-10-06");
        let full = TableSize { free_bytes: 500 << 20, ..size };
        let full = ReplayEstimate::of(1, Some(&rows), Some(full), &[]);
        assert!(full.lines().last().unwrap().starts_with("warning: the new rows"));
    }
}
