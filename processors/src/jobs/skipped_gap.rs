//! The gap of a skip: the offsets that the live group has passed unread, and that only the job of the skip reads. Pure.

use crate::jobs::job::{Job, JobState};

/// The count of the job of a skip that holds the offsets of its gap. A job whose gap was closed, and any other one,
/// has no such count.
pub(crate) const GAP: &str = "gap_offsets";

/// Whether the offsets of a job have no rows until it is done. Any other replay reads offsets that live processing
/// has read, too: it never makes a click missing, and explains none.
pub(crate) fn is_open(job: &Job) -> bool {
    job.state != JobState::Done && job.counts.contains_key(GAP)
}

/// Whether the job of an open gap has ended: no process fills the gap unless an operator resumes the job.
pub(crate) fn is_left(job: &Job) -> bool {
    is_open(job) && job.state.has_ended()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_job_of_a_skip_has_a_gap_which_is_open_until_it_is_done_or_closed() {
        let skip = |state, counts: &[(&str, u64)]| {
            let counts = counts.iter().map(|(name, count)| ((*name).to_owned(), *count)).collect();
            let job = Job { counts, ..Job::example("replay", state, "{}") };
            (is_open(&job), is_left(&job))
        };
        for state in JobState::ALL {
            let is_open = state != JobState::Done;
            assert_eq!(
                skip(state, &[(GAP, 5)]),
                (is_open, is_open && state.has_ended()),
                "{state}"
            );
            assert_eq!(skip(state, &[("offsets", 5)]), (false, false), "{state}");
        }
    }
}
