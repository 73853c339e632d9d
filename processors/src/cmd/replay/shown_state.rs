//! The state of a replay as a text.

use crate::jobs::job::{JobState, StoredJob};
use crate::jobs::{job_listing, skipped_gap};
use crate::replay::job_progress::JobProgress;
use crate::replay::replay_verdict::ReplayVerdict;

/// The state, and what an operator asks next: the verdict, why it pauses, or that no process works on it.
pub(super) fn shown_state(stored: &StoredJob, verdict: Option<&ReplayVerdict>) -> String {
    let job = &stored.job;
    let note = match job.state {
        JobState::Done => verdict.map(|verdict| match verdict.is_balanced() {
            true => "balanced",
            false => "not balanced",
        }),
        JobState::Running | JobState::Planning if job_listing::is_abandoned(stored) => {
            Some("no process")
        }
        JobState::Running => {
            let cause = JobProgress::of_counts(&job.counts).cause;
            return cause.map_or_else(
                || job.state.to_string(),
                |cause| format!("{}, paused: {}", job.state, cause.name()),
            );
        }
        JobState::Planned | JobState::Cancelled | JobState::Failed | JobState::Unverified => {
            skipped_gap::is_left(stored).then_some("open gap")
        }
        JobState::Planning => None,
    };
    note.map_or_else(|| job.state.to_string(), |note| format!("{}: {note}", job.state))
}
