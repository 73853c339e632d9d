//! The verdict of one run of an audit. Pure.

use std::collections::{BTreeMap, BTreeSet};

use crate::audit::compared_log::{ComparedLog, ProcessedLog};
use crate::audit::entry::AuditReport;
use crate::audit::log_times::LogTimeRange;
use crate::audit::window::WindowReport;

/// Code of a verdict that is unknown because the group has not processed the window.
pub const GROUP_BEHIND: &str = "group_behind";

/// What is known of log and table.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum VerdictState {
    /// No event is lost or counted twice.
    Balanced,
    /// An event is, or a job has ended without having processed the gap of its skip.
    OutOfBalance,
    /// The run failed, or there was nothing that it could compare.
    Unknown,
}

impl VerdictState {
    /// As the table holds it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Balanced => "balanced",
            Self::OutOfBalance => "out_of_balance",
            Self::Unknown => "unknown",
        }
    }
}

/// What an audit compares.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AuditScope {
    /// The events of the newest part of the log, with their rows.
    Window,
    /// All that the log holds, and the rows of which it holds no record.
    Log,
}

impl AuditScope {
    /// As the table holds it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Window => "window",
            Self::Log => "log",
        }
    }
}

/// When the records with differences were logged. A later verdict whose part of the log holds this time has compared
/// them again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DifferenceTimes {
    /// Within these log times.
    Within(LogTimeRange),
    /// Not known, or of no record: only an audit of the whole log from here on compares them again.
    Anywhere {
        /// Log time of the first record that was compared, milliseconds since 1970.
        from_ms: i64,
    },
}

/// The verdict of one run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AuditVerdict {
    /// What was compared.
    pub scope: AuditScope,
    /// What is known.
    pub state: VerdictState,
    /// Why it is not balanced: a heading of RUNBOOK; empty if it is.
    pub code: &'static str,
    /// The part of the log that the verdict is about; `None` where the run failed.
    pub log: Option<ProcessedLog>,
    /// Where the log and the table differ; of a verdict that is out of balance.
    pub differences: Option<DifferenceTimes>,
    /// Findings of the run.
    pub counts: VerdictCounts,
}

/// Findings of a run; the meaning of each is that of [`AuditReport`] and [`WindowReport`].
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct VerdictCounts {
    /// Records that were read.
    pub records: u64,
    /// Distinct events that were compared.
    pub events: u64,
    /// Lost events.
    pub missing: u64,
    /// Rows beyond the first of an event.
    pub duplicates: u64,
    /// Rows on another shard than the one that their event ids name.
    pub misplaced: u64,
    /// Events of the view that the log does not hold, although their records have not expired.
    pub surplus: u64,
    /// Records that are neither row nor dead letter.
    pub undecodable: u64,
    /// Events that only dead letters hold.
    pub dead_lettered: u64,
    /// What the group has not processed.
    pub lagging: u64,
    /// What the job of a skip has to process, by job.
    pub in_jobs: BTreeMap<String, u64>,
    /// The jobs among them that have ended without being done.
    pub ended_jobs: BTreeSet<String>,
}

impl VerdictCounts {
    fn of_window(found: &WindowReport) -> Self {
        Self {
            records: found.records,
            events: found.events,
            missing: found.missing,
            duplicates: found.duplicates,
            misplaced: found.misplaced.rows(),
            surplus: 0,
            undecodable: found.undecodable_without_dead_letter,
            dead_lettered: found.dead_lettered,
            lagging: found.pending.lagging,
            in_jobs: found.pending.in_jobs.clone(),
            ended_jobs: found.pending.ended_jobs.clone(),
        }
    }

    fn of_log(found: &AuditReport) -> Self {
        Self {
            records: found.log_records,
            events: found.log_events,
            missing: found.missing,
            duplicates: found.duplicates,
            misplaced: found.misplaced,
            surplus: found.surplus - found.surplus_expired,
            undecodable: found.undecodable_without_dead_letter,
            dead_lettered: found.dead_lettered,
            lagging: found.lagging,
            in_jobs: found.in_jobs.clone(),
            ended_jobs: found.ended_jobs.clone(),
        }
    }
}

impl AuditVerdict {
    /// The verdict of a complete run. `is_behind`: the group has not processed a record that is older than the window,
    /// so that nothing is known of the time up to the window.
    pub fn of_window(found: &WindowReport, compared: &ComparedLog, is_behind: bool) -> Self {
        let scope = AuditScope::Window;
        let log = compared.before(&found.lagging_from);
        let counts = VerdictCounts::of_window(found);
        if found.balanced() {
            return Self::without_difference(scope, (log, counts), is_behind);
        }
        // A difference without a record, and a misplaced row, is somewhere in the window.
        let located = compared.times_of(&found.differences).filter(|_| counts.misplaced == 0);
        let times = located.unwrap_or_else(|| compared.times());
        Self::out_of_balance(scope, (log, counts), DifferenceTimes::Within(times))
    }

    /// The verdict of an audit of the whole log.
    pub fn of_log(found: &AuditReport, compared: &ComparedLog) -> Self {
        let scope = AuditScope::Log;
        let log = compared.before(&found.lagging_from);
        let counts = VerdictCounts::of_log(found);
        if found.balanced() {
            return Self::without_difference(scope, (log, counts), false);
        }
        let located = compared.times_of(&found.differences).filter(|_| found.lacks_rows_only());
        let anywhere = DifferenceTimes::Anywhere { from_ms: log.from_ms };
        let times = located.map_or(anywhere, DifferenceTimes::Within);
        Self::out_of_balance(scope, (log, counts), times)
    }

    fn without_difference(
        scope: AuditScope,
        (log, counts): (ProcessedLog, VerdictCounts),
        is_behind: bool,
    ) -> Self {
        // A log without records is balanced.
        let is_unprocessed = log.is_empty() && (counts.lagging > 0 || scope == AuditScope::Window);
        let (state, code) = match is_behind || is_unprocessed {
            true => (VerdictState::Unknown, GROUP_BEHIND),
            false => (VerdictState::Balanced, ""),
        };
        Self { scope, state, code, log: Some(log), differences: None, counts }
    }

    fn out_of_balance(
        scope: AuditScope,
        (log, counts): (ProcessedLog, VerdictCounts),
        differences: DifferenceTimes,
    ) -> Self {
        let (state, code) = (VerdictState::OutOfBalance, "out_of_balance");
        Self { scope, state, code, log: Some(log), differences: Some(differences), counts }
    }

    /// The verdict of a run of the continuous audit that an error ended.
    pub fn failed(code: &'static str) -> Self {
        Self {
            scope: AuditScope::Window,
            state: VerdictState::Unknown,
            code,
            log: None,
            differences: None,
            counts: VerdictCounts::default(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::audit::entry::LogPosition;
    use crate::audit::pending_offsets::PendingOffsets;
    use crate::shards::shard_layout::ShardLayout;

    /// A window with a record each second; those from `lagging_from` on have no row and are lagging.
    fn verdict(lagging_from: Option<i64>, is_behind: bool, missing: u64) -> AuditVerdict {
        let mut compared = ComparedLog::new(0, 60_000, [(0, 100)].into_iter());
        (0..60).for_each(|n| {
            compared.add(LogPosition { partition: 0, offset: 100 + n }, n * 1_000);
        });
        let mut found = WindowReport::default();
        found.missing += missing;
        (0..missing).for_each(|_| found.differences.note(0, 142));
        if let Some(offset) = lagging_from {
            let pending = PendingOffsets::new([(0, offset)].into(), Vec::new());
            found.add_undecodable(&pending, LogPosition { partition: 0, offset: offset + 1 });
            found.add_undecodable(&pending, LogPosition { partition: 0, offset });
        }
        AuditVerdict::of_window(&found, &compared, is_behind)
    }

    #[test]
    fn a_balanced_log_is_known_up_to_the_first_lagging_record() {
        let all = verdict(None, false, 0);
        assert_eq!((all.state, all.code), (VerdictState::Balanced, ""));
        assert_eq!(all.log.unwrap().until_ms, 60_000);
        let some = verdict(Some(130), false, 0);
        assert_eq!((some.state, some.counts.lagging), (VerdictState::Balanced, 2));
        let log = some.log.unwrap();
        assert_eq!((log.until_ms, log.offsets[&0].end), (29_999, 130));
    }

    #[test]
    fn nothing_is_known_of_a_window_that_the_group_has_not_reached() {
        let behind = (VerdictState::Unknown, GROUP_BEHIND);
        for found in [verdict(Some(100), false, 0), verdict(None, true, 0)] {
            assert_eq!((found.state, found.code), behind);
        }
    }

    #[test]
    fn a_lost_event_is_out_of_balance_beside_lagging_ones() {
        for found in [verdict(None, false, 1), verdict(Some(100), true, 1)] {
            assert_eq!((found.state, found.code), (VerdictState::OutOfBalance, "out_of_balance"));
            assert_eq!(found.counts.missing, 1);
            let times = LogTimeRange { from_ms: 42_000, until_ms: 42_000 };
            assert_eq!(found.differences, Some(DifferenceTimes::Within(times)));
        }
    }

    #[test]
    fn a_misplaced_row_is_somewhere_in_the_window() {
        let mut compared = ComparedLog::new(5_000, 60_000, [(0, 0)].into_iter());
        compared.add(LogPosition { partition: 0, offset: 7 }, 9_000);
        let mut found = WindowReport::default();
        found.missing += 1;
        found.differences.note(0, 7);
        let within =
            |from_ms, until_ms| Some(DifferenceTimes::Within(LogTimeRange { from_ms, until_ms }));
        let missing = AuditVerdict::of_window(&found, &compared, false);
        assert_eq!(missing.differences, within(9_000, 9_000));
        let layout = ShardLayout::new(vec![1, 1]);
        found.misplaced.add(&layout, 1 - layout.owner(&[7; 16]), ([7; 16], 1));
        let both = AuditVerdict::of_window(&found, &compared, false);
        assert_eq!(both.differences, within(5_000, 60_000));
    }

    #[test]
    fn of_the_whole_log_only_a_lack_of_rows_has_a_time() {
        let mut compared = ComparedLog::whole(60_000, [(0, 0)].into_iter());
        (0..60).for_each(|n| compared.add(LogPosition { partition: 0, offset: n }, 1_000 * n));
        let judged = |found: &AuditReport| {
            let AuditVerdict { scope, state, differences, .. } =
                AuditVerdict::of_log(found, &compared);
            assert_eq!(scope, AuditScope::Log);
            (state, differences)
        };
        let mut found = AuditReport::default();
        assert_eq!(judged(&found), (VerdictState::Balanced, None));
        found.missing = 1;
        found.differences.note(0, 17);
        let times = DifferenceTimes::Within(LogTimeRange { from_ms: 17_000, until_ms: 17_000 });
        assert_eq!(judged(&found), (VerdictState::OutOfBalance, Some(times)));
        let anywhere = Some(DifferenceTimes::Anywhere { from_ms: 0 });
        for other in [
            AuditReport { surplus: 1, ..found.clone() },
            AuditReport { duplicates: 1, ..found.clone() },
            AuditReport { misplaced: 1, ..found.clone() },
        ] {
            assert_eq!(judged(&other), (VerdictState::OutOfBalance, anywhere));
        }
        found.lagging_from.insert(0, 0);
        found = AuditReport { missing: 0, lagging: 60, ..found };
        assert_eq!(judged(&found), (VerdictState::Unknown, None));
    }

    #[test]
    fn a_run_that_failed_is_unknown_and_about_no_part_of_the_log() {
        let failed = AuditVerdict::failed("kafka_unreachable");
        let unknown = (VerdictState::Unknown, "kafka_unreachable", None);
        assert_eq!((failed.state, failed.code, failed.log), unknown);
    }
}
