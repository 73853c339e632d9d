//! The gap of a skip: the offsets that the live group has passed unread, and that only the job of the skip reads. Pure.

use crate::jobs::job::{Job, JobState, StoredJob};

/// The count of the job of a skip that holds the offsets of its gap. A job whose gap was closed, and any other one,
/// has no such count.
pub(crate) const GAP: &str = "gap_offsets";

/// Microseconds from which on a planned job is one that no operator runs: its skip was killed, or the job forgotten.
pub(crate) const UNSTARTED_AFTER_US: i64 = 3_600_000_000;

/// Whether the offsets of a job have no rows until it is done. Any other replay reads offsets that live processing
/// has read, too: it never makes a click missing, and explains none.
pub(crate) fn is_open(job: &Job) -> bool {
    job.state != JobState::Done && job.counts.contains_key(GAP)
}

/// Whether the job of an open gap has ended, or was planned an hour ago and not started: no process fills the gap
/// unless an operator runs the job.
pub(crate) fn is_left(StoredJob { job, now_us }: &StoredJob) -> bool {
    let is_unstarted = job.state == JobState::Planned
        && now_us.saturating_sub(job.updated_at_us) >= UNSTARTED_AFTER_US;
    is_open(job) && (job.state.has_ended() || is_unstarted)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_job_of_a_skip_has_a_gap_which_is_open_until_it_is_done_or_closed() {
        let is_open_of = |state, name: &str| {
            let counts = [(name.to_owned(), 5)].into();
            is_open(&Job { counts, ..Job::example("replay", state, "{}") })
        };
        for state in JobState::ALL {
            assert_eq!(is_open_of(state, GAP), state != JobState::Done, "{state}");
            assert!(!is_open_of(state, "offsets"), "{state}");
        }
    }

    #[test]
    fn a_gap_is_left_when_its_job_has_ended_early_or_was_not_started_for_an_hour() {
        let left = |state, name: &str, now_us| {
            let counts = [(name.to_owned(), 5)].into();
            is_left(&StoredJob {
                job: Job { counts, ..Job::example("replay", state, "{}") },
                now_us,
            })
        };
        for state in JobState::ALL {
            let has_ended = state.has_ended() && state != JobState::Done;
            assert_eq!(left(state, GAP, UNSTARTED_AFTER_US - 1), has_ended, "{state}");
            let is_left = has_ended || state == JobState::Planned;
            assert_eq!(left(state, GAP, UNSTARTED_AFTER_US), is_left, "{state}");
            assert!(!left(state, "offsets", UNSTARTED_AFTER_US), "{state}");
        }
    }
}
