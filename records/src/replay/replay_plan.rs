//! What a replay does, as the table of jobs stores it. Pure.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::replay::log_range::LogRange;
use crate::replay::log_window::LogWindow;
use crate::replay::pinned_rules::PinnedRules;

/// The plan. Every worker reads it from the table.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReplayPlan {
    /// The log.
    pub topic: String,
    /// What the operator asked for, with its times resolved.
    pub window: LogWindow,
    /// What is read of each partition: ranges in ascending order, without a common offset. A partition
    /// without a range is not in the plan.
    pub ranges: BTreeMap<i32, Vec<LogRange>>,
    /// The rules of every worker.
    pub rules: PinnedRules,
    /// Why, in the words of the operator.
    #[serde(default)]
    pub reason: String,
    /// It may run although another replay reads a part of the same offsets.
    #[serde(default)]
    pub force: bool,
    /// It writes the dead letters of its records: live processing has skipped them.
    #[serde(default)]
    pub writes_dead_letters: bool,
}

impl ReplayPlan {
    /// Checks what the reader of the ranges relies on.
    ///
    /// # Errors
    /// A partition has no range, an empty range, or ranges that are not in ascending order; no version writes
    /// such a plan.
    pub fn check_ranges(&self) -> Result<(), String> {
        for (partition, ranges) in &self.ranges {
            if ranges.is_empty() {
                return Err(format!("partition {partition} has no range"));
            }
            if let Some(empty) = ranges.iter().find(|range| range.first >= range.end) {
                return Err(format!("partition {partition} has the empty range {empty}"));
            }
            if !ranges.is_sorted_by(|one, next| one.end <= next.first) {
                return Err(format!("the ranges of partition {partition} are not in order"));
            }
        }
        Ok(())
    }

    /// Number of all ranges.
    pub fn range_count(&self) -> usize {
        self.ranges.values().map(Vec::len).sum()
    }

    /// Number of offsets of all ranges.
    pub fn offsets(&self) -> u64 {
        self.ranges.values().flatten().map(|range| range.offsets()).sum()
    }

    /// The first range that both plans read, by partition.
    pub fn overlap(&self, other: &Self) -> Option<(i32, LogRange)> {
        if self.topic != other.topic {
            return None;
        }
        self.ranges.iter().find_map(|(partition, own)| {
            let others = other.ranges.get(partition)?;
            let is_shared = |own: &&LogRange| others.iter().any(|other| own.overlaps(*other));
            own.iter().find(is_shared).map(|range| (*partition, *range))
        })
    }

    /// As [`ReplayPlan::overlap`], of two jobs that are to run; none if an operator planned one of them
    /// although they overlap.
    pub fn conflict(&self, other: &Self) -> Option<(i32, LogRange)> {
        if self.force || other.force { None } else { self.overlap(other) }
    }

    /// How many offsets of the ranges precede these positions.
    pub fn done(&self, positions: &BTreeMap<i32, i64>) -> u64 {
        let done = |(partition, range): (&i32, &LogRange)| {
            let position = positions.get(partition).copied().unwrap_or(range.first);
            LogRange { end: position.min(range.end), ..*range }.offsets()
        };
        let ranges = self.ranges.iter().flat_map(|(own, all)| all.iter().map(move |it| (own, it)));
        ranges.map(done).sum()
    }

    /// Whether each range ends at or before the position of its partition.
    pub fn is_done(&self, positions: &BTreeMap<i32, i64>) -> bool {
        self.ranges.iter().all(|(partition, ranges)| {
            let position = positions.get(partition);
            ranges.last().is_none_or(|last| position.is_some_and(|it| *it >= last.end))
        })
    }
}

/// The consumer group of a job's only pass. It is not the group of `processors run`.
pub fn group(job: &str) -> String {
    format!("clicktrail-replay-{job}-1")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::enrich::rule_set::RuleSet;

    fn plan(ranges: &[(i32, i64, i64)]) -> ReplayPlan {
        let mut all: BTreeMap<i32, Vec<LogRange>> = BTreeMap::new();
        for &(partition, first, end) in ranges {
            all.entry(partition).or_default().push(LogRange { first, end });
        }
        ReplayPlan {
            topic: "clicks.raw.v1".to_owned(),
            window: LogWindow::LogTime { from_ms: 1, to_ms: None },
            ranges: all,
            rules: PinnedRules::of(&RuleSet::default()),
            reason: "new geo data".to_owned(),
            force: false,
            writes_dead_letters: false,
        }
    }

    #[test]
    fn a_plan_is_read_as_it_was_stored_also_with_fields_of_a_newer_version() {
        let plan = plan(&[(0, 5, 9), (2, 1, 2)]);
        let json = serde_json::to_string(&plan).unwrap();
        assert_eq!(serde_json::from_str::<ReplayPlan>(&json).unwrap(), plan);
        let newer = json.replacen('{', "{\"other\":1,", 1);
        assert_eq!(serde_json::from_str::<ReplayPlan>(&newer).unwrap(), plan);
    }

    #[test]
    fn a_plan_is_done_when_the_position_of_each_partition_is_at_its_end() {
        let plan = plan(&[(0, 5, 9), (2, 1, 3)]);
        assert_eq!((plan.offsets(), plan.range_count()), (6, 2));
        for (positions, done, is_done) in [
            (&[][..], 0, false),
            (&[(0, 5), (2, 1)], 0, false),
            (&[(0, 9)], 4, false),
            (&[(0, 8), (2, 3)], 5, false),
            (&[(0, 9), (2, 3)], 6, true),
            (&[(0, 2), (2, 40)], 2, false),
            (&[(0, 12), (2, 40)], 6, true),
        ] {
            let positions = positions.iter().copied().collect();
            assert_eq!((plan.done(&positions), plan.is_done(&positions)), (done, is_done));
        }
    }

    #[test]
    fn plans_overlap_where_they_share_an_offset_of_one_topic() {
        let one = plan(&[(0, 5, 9), (2, 1, 3)]);
        assert_eq!(one.overlap(&plan(&[(0, 9, 12), (1, 1, 3)])), None);
        let shared = Some((2, LogRange { first: 1, end: 3 }));
        assert_eq!(one.overlap(&plan(&[(2, 2, 12)])), shared);
        assert_eq!(one.conflict(&plan(&[(2, 2, 12)])), shared);
        let forced = ReplayPlan { force: true, ..one.clone() };
        assert_eq!((one.conflict(&forced), forced.conflict(&one)), (None, None));
        assert!(one.overlap(&forced).is_some(), "a new plan has to be forced, too");
        let other = ReplayPlan { topic: "other.v1".to_owned(), ..one.clone() };
        assert_eq!(one.overlap(&other), None);
    }

    #[test]
    fn several_ranges_of_a_partition_are_done_one_after_the_other() {
        let plan = plan(&[(0, 5, 9), (0, 20, 30), (2, 1, 3)]);
        assert_eq!((plan.offsets(), plan.range_count()), (16, 3));
        for (position, done, is_done) in
            [(5, 2, false), (20, 6, false), (25, 11, false), (30, 16, true)]
        {
            let positions = [(0, position), (2, 3)].into();
            assert_eq!((plan.done(&positions), plan.is_done(&positions)), (done, is_done));
        }
    }

    #[test]
    fn ranges_that_are_empty_or_not_in_ascending_order_are_refused() {
        for good in [&[(0, 5, 9), (0, 9, 30)][..], &[(0, 5, 9), (1, 0, 3)], &[]] {
            assert_eq!(plan(good).check_ranges(), Ok(()));
        }
        for bad in [&[(0, 5, 5)][..], &[(0, 5, 9), (0, 8, 30)], &[(0, 20, 30), (0, 5, 9)]] {
            assert!(plan(bad).check_ranges().is_err(), "{bad:?}");
        }
    }
}
