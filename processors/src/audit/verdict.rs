//! The verdict of one run of the continuous audit. Pure.

use std::collections::{BTreeMap, BTreeSet};

use crate::audit::compared_log::{ComparedLog, ProcessedLog};
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

/// The verdict of one run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AuditVerdict {
    /// What is known.
    pub state: VerdictState,
    /// Why it is not balanced: a heading of RUNBOOK; empty if it is.
    pub code: &'static str,
    /// The part of the log that the verdict is about; `None` where the run failed.
    pub log: Option<ProcessedLog>,
    /// Findings of the run.
    pub counts: VerdictCounts,
}

/// Findings of a run; the meaning of each is that of [`WindowReport`].
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
    fn of(found: &WindowReport) -> Self {
        Self {
            records: found.records,
            events: found.events,
            missing: found.missing,
            duplicates: found.duplicates,
            undecodable: found.undecodable_without_dead_letter,
            dead_lettered: found.dead_lettered,
            lagging: found.pending.lagging,
            in_jobs: found.pending.in_jobs.clone(),
            ended_jobs: found.pending.ended_jobs.clone(),
        }
    }
}

impl AuditVerdict {
    /// The verdict of a complete run. `is_behind`: the group has not processed a record that is older than the window,
    /// so that nothing is known of the time up to the window.
    pub fn of(found: &WindowReport, compared: &ComparedLog, is_behind: bool) -> Self {
        let log = compared.before(&found.lagging_from);
        let (state, code) = if !found.balanced() {
            (VerdictState::OutOfBalance, "out_of_balance")
        } else if is_behind || log.is_empty() {
            (VerdictState::Unknown, GROUP_BEHIND)
        } else {
            (VerdictState::Balanced, "")
        };
        Self { state, code, log: Some(log), counts: VerdictCounts::of(found) }
    }

    /// The verdict of a run that an error ended.
    pub fn failed(code: &'static str) -> Self {
        Self { state: VerdictState::Unknown, code, log: None, counts: VerdictCounts::default() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::audit::entry::LogPosition;
    use crate::audit::pending_offsets::PendingOffsets;

    /// A window with a record each second; those from `lagging_from` on have no row and are lagging.
    fn verdict(lagging_from: Option<i64>, is_behind: bool, missing: u64) -> AuditVerdict {
        let mut compared = ComparedLog::new(0, 60_000, [(0, 100)].into_iter());
        (0..60).for_each(|n| {
            compared.add(LogPosition { partition: 0, offset: 100 + n }, n * 1_000);
        });
        let mut found = WindowReport::default();
        found.missing += missing;
        if let Some(offset) = lagging_from {
            let pending = PendingOffsets::new([(0, offset)].into(), Vec::new());
            found.add_undecodable(&pending, LogPosition { partition: 0, offset: offset + 1 });
            found.add_undecodable(&pending, LogPosition { partition: 0, offset });
        }
        AuditVerdict::of(&found, &compared, is_behind)
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
        }
    }

    #[test]
    fn a_run_that_failed_is_unknown_and_about_no_part_of_the_log() {
        let failed = AuditVerdict::failed("kafka_unreachable");
        let unknown = (VerdictState::Unknown, "kafka_unreachable", None);
        assert_eq!((failed.state, failed.code, failed.log), unknown);
    }
}
