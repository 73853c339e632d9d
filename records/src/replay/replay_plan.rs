//! What a replay does, as the table of jobs stores it. Pure.

use serde::{Deserialize, Serialize};

use crate::replay::log_range::LogRange;
use crate::replay::log_window::LogWindow;
use crate::replay::pinned_rules::PinnedRules;
use crate::replay::replay_pass::{PartitionRanges, ReplayPass, joined};

/// The plan. Every worker reads it from the table.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "StoredPlan", into = "StoredPlan")]
pub struct ReplayPlan {
    /// The log.
    pub topic: String,
    /// What the operator asked for, with its times resolved.
    pub window: LogWindow,
    /// What all passes read of each partition: ranges in ascending order, without a common offset. A partition
    /// without a range is not in the plan.
    pub ranges: PartitionRanges,
    /// The passes in their order; empty: there is one, of all ranges.
    pub passes: Vec<ReplayPass>,
    /// The rules of every worker.
    pub rules: PinnedRules,
    /// Why, in the words of the operator.
    pub reason: String,
    /// It may run although another replay reads a part of the same offsets.
    pub force: bool,
    /// It writes the dead letters of its records: live processing has skipped them.
    pub writes_dead_letters: bool,
}

/// As stored: with the ranges, or with the passes, so that a version that knows no passes refuses the plan.
#[derive(Debug, Clone, Serialize, Deserialize)]
struct StoredPlan {
    topic: String,
    window: LogWindow,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    ranges: Option<PartitionRanges>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    passes: Vec<ReplayPass>,
    rules: PinnedRules,
    #[serde(default)]
    reason: String,
    #[serde(default)]
    force: bool,
    #[serde(default)]
    writes_dead_letters: bool,
}

impl TryFrom<StoredPlan> for ReplayPlan {
    type Error = &'static str;

    fn try_from(stored: StoredPlan) -> Result<Self, &'static str> {
        let StoredPlan { topic, window, ranges, passes, rules, reason, force, writes_dead_letters } =
            stored;
        let ranges = match (ranges, passes.as_slice()) {
            (Some(ranges), []) => ranges,
            (None, []) => return Err("it has neither ranges nor passes"),
            (None, passes) => joined(passes),
            (Some(_), _) => return Err("it has ranges and passes"),
        };
        Ok(Self { topic, window, ranges, passes, rules, reason, force, writes_dead_letters })
    }
}

impl From<ReplayPlan> for StoredPlan {
    fn from(plan: ReplayPlan) -> Self {
        let ReplayPlan { topic, window, ranges, passes, rules, reason, force, writes_dead_letters } =
            plan;
        let ranges = passes.is_empty().then_some(ranges);
        Self { topic, window, ranges, passes, rules, reason, force, writes_dead_letters }
    }
}

impl ReplayPlan {
    /// Checks what the reader of the ranges relies on.
    ///
    /// # Errors
    /// A pass or all passes together have ranges that cannot be read, which no version writes.
    pub fn check_ranges(&self) -> Result<(), String> {
        let all = ReplayPass { day: None, ranges: self.ranges.clone() };
        self.passes.iter().chain([&all]).try_for_each(ReplayPass::check_ranges)
    }

    /// Number of its passes.
    pub fn pass_count(&self) -> usize {
        self.passes.len().max(1)
    }

    /// The pass of a number, which begins at 1; the last one for a larger number.
    pub fn pass(&self, number: usize) -> ReplayPass {
        let pass = self.passes.get(number.clamp(1, self.pass_count()) - 1).cloned();
        pass.unwrap_or_else(|| ReplayPass { day: None, ranges: self.ranges.clone() })
    }

    /// Number of all ranges.
    pub fn range_count(&self) -> usize {
        self.ranges.values().map(Vec::len).sum()
    }

    /// Number of offsets of all ranges.
    pub fn offsets(&self) -> u64 {
        self.ranges.values().flatten().map(|range| range.offsets()).sum()
    }

    /// Number of offsets of the passes before the one of a number.
    pub fn offsets_before(&self, number: usize) -> u64 {
        self.passes.iter().take(number.saturating_sub(1)).map(ReplayPass::offsets).sum()
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
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::enrich::rule_set::RuleSet;
    use crate::replay::log_day::LogDay;

    fn ranges(all: &[(i32, i64, i64)]) -> PartitionRanges {
        let mut ranges = PartitionRanges::new();
        for &(partition, first, end) in all {
            ranges.entry(partition).or_default().push(LogRange { first, end });
        }
        ranges
    }

    fn plan(all: &[(i32, i64, i64)]) -> ReplayPlan {
        ReplayPlan {
            topic: "clicks.raw.v1".to_owned(),
            window: LogWindow::LogTime { from_ms: 1, to_ms: None },
            ranges: ranges(all),
            passes: Vec::new(),
            rules: PinnedRules::of(&RuleSet::default()),
            reason: "new geo data".to_owned(),
            force: false,
            writes_dead_letters: false,
        }
    }

    fn of_days() -> ReplayPlan {
        let pass = |day, all| ReplayPass { day: Some(LogDay(day)), ranges: ranges(all) };
        let passes = vec![pass(6, &[(0, 9, 12), (2, 1, 3)]), pass(5, &[(0, 5, 9)])];
        ReplayPlan { passes, ..plan(&[(0, 5, 12), (2, 1, 3)]) }
    }

    #[test]
    fn a_plan_is_read_as_it_was_stored_also_with_fields_of_a_newer_version() {
        for plan in [plan(&[(0, 5, 9), (2, 1, 2)]), of_days()] {
            let json = serde_json::to_string(&plan).unwrap();
            assert_eq!(serde_json::from_str::<ReplayPlan>(&json).unwrap(), plan);
            let newer = json.replacen('{', "{\"other\":1,", 1);
            assert_eq!(serde_json::from_str::<ReplayPlan>(&newer).unwrap(), plan);
        }
    }

    #[test]
    fn a_version_without_passes_finds_no_ranges_in_a_plan_that_has_them() {
        let stored = serde_json::to_value(of_days()).unwrap();
        assert_eq!(stored["passes"][0]["day"], "1970-01-07");
        assert!(stored.get("ranges").is_none(), "{stored}");
        let mut both = stored.clone();
        both["ranges"] = serde_json::json!({});
        let mut neither = stored;
        neither["passes"] = serde_json::json!([]);
        for bad in [both, neither] {
            assert!(serde_json::from_value::<ReplayPlan>(bad.clone()).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_plan_has_its_passes_in_order_or_one_of_all_ranges() {
        let single = plan(&[(0, 5, 9)]);
        assert_eq!((single.pass_count(), single.pass(1).ranges), (1, single.ranges));
        let plan = of_days();
        assert_eq!((plan.pass_count(), plan.pass(2).ranges), (2, ranges(&[(0, 5, 9)])));
        assert_eq!((plan.offsets(), plan.offsets_before(1), plan.offsets_before(2)), (9, 0, 5));
        assert_eq!(plan.pass(9), plan.pass(2));
        assert_eq!(plan.check_ranges(), Ok(()));
        let mut shared = plan.passes.clone();
        shared[1].ranges = ranges(&[(0, 5, 10)]);
        let shared = ReplayPlan { ranges: joined(&shared), passes: shared, ..plan };
        assert!(shared.check_ranges().is_err(), "two passes have an offset in common");
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
}
