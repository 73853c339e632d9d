//! Which process may work on a job: by the version of its newest row, and by the server's clock. Pure.
//!
//! A process that works on a job writes a version at least every few seconds. A job without a new version
//! for [`SILENT_AFTER_US`] has no live process, and another process may claim it: it reads the job, writes
//! a version with a random number of its own, waits for [`SETTLE`], and reads again; it has the job if its
//! version is still the newest one.
//!
//! Two processes that claim a job at once cannot both succeed. Each rejects its own claim if more than
//! [`SETTLE`] lies between its first read and the acknowledgement of its version. If neither saw the
//! version of the other at its first read, then each version was stored less than [`SETTLE`] after the
//! other one, so that both second reads see both versions, and only one is the newest. All times are the
//! server's: hosts whose clocks differ agree. The bound fails only where the server's clock is set back
//! meanwhile; the loser then finds the other version at its next tick.

use std::time::Duration;

use broker::ServerError;

use crate::jobs::job::{Job, JobState};

/// Microseconds after its last version from which on a job has no live process.
pub const SILENT_AFTER_US: i64 = 15_000_000;
/// Longest time from the first read of a claim to its acknowledgement, and how long a claim then waits.
pub const SETTLE: Duration = Duration::from_secs(2);
/// A process stops working on a job whose last version it wrote longer ago; well before another process
/// may claim the job.
pub const LEASE: Duration = Duration::from_secs(10);
/// How often a process writes a version.
pub const WRITE_EVERY: Duration = Duration::from_secs(2);

/// Whether no live process works on a job. `now_us` is the server's time.
pub fn is_silent(job: &Job, now_us: i64) -> bool {
    now_us.saturating_sub(job.updated_at_us) >= SILENT_AFTER_US
}

/// Whether a process may resume a job.
///
/// # Errors
/// The job is done, or another process works on it.
pub fn may_resume(job: &Job, now_us: i64) -> Result<(), ServerError> {
    match job.state {
        JobState::Done => Err(done(job)),
        JobState::Planned | JobState::Cancelled | JobState::Failed | JobState::Unverified => Ok(()),
        JobState::Planning | JobState::Running if is_silent(job, now_us) => Ok(()),
        JobState::Planning | JobState::Running => Err(running(job, now_us)),
    }
}

/// The error of a job that is done.
pub fn done(job: &Job) -> ServerError {
    let text = format!("job {} is done: plan a new one for what is left", job.id);
    ServerError::fatal("job_ended", text)
}

/// The error of a job that another process works on.
pub fn running(job: &Job, now_us: i64) -> ServerError {
    let seconds = now_us.saturating_sub(job.updated_at_us).max(0) / 1_000_000;
    ServerError::retryable(
        "job_running",
        format!(
            "process {} worked on job {} {seconds} s ago: cancel the job, or repeat this command {} s \
             after that process has ended",
            job.host,
            job.id,
            SILENT_AFTER_US / 1_000_000
        ),
    )
}

/// Whether a claim was stored soon enough after its first read, by the server's times of both.
pub fn was_in_time(read_us: i64, stored_us: i64) -> bool {
    u64::try_from(stored_us.saturating_sub(read_us))
        .is_ok_and(|us| Duration::from_micros(us) <= SETTLE)
}

/// Checks that the newest version of a job is of this process.
///
/// # Errors
/// Another process wrote it.
pub fn still_owns(newest: &Job, owner: u32) -> Result<(), ServerError> {
    if newest.version.owner() == owner {
        return Ok(());
    }
    Err(ServerError::fatal(
        "job_taken",
        format!("process {} took over job {}, which is {}", newest.host, newest.id, newest.state),
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn job(state: JobState, updated_at_us: i64) -> Job {
        Job { updated_at_us, ..Job::example("redrive", state, "{}") }
    }

    #[test]
    fn a_job_is_resumed_when_it_ended_early_or_its_process_is_silent() {
        let at = 1_000_000_000;
        for (state, age_us, code) in [
            (JobState::Done, 0, Some("job_ended")),
            (JobState::Done, SILENT_AFTER_US, Some("job_ended")),
            (JobState::Planned, 0, None),
            (JobState::Cancelled, 0, None),
            (JobState::Failed, 0, None),
            (JobState::Unverified, 0, None),
            (JobState::Planning, SILENT_AFTER_US - 1, Some("job_running")),
            (JobState::Running, 0, Some("job_running")),
            (JobState::Running, -5_000_000, Some("job_running")),
            (JobState::Planning, SILENT_AFTER_US, None),
            (JobState::Running, SILENT_AFTER_US, None),
        ] {
            let refused = may_resume(&job(state, at), at + age_us).err().map(|error| error.code);
            assert_eq!(refused, code, "{state} {age_us}");
        }
    }

    #[test]
    fn a_process_stops_before_another_may_claim_its_job() {
        let silent = Duration::from_micros(SILENT_AFTER_US.unsigned_abs());
        assert!(LEASE + SETTLE < silent && WRITE_EVERY * 4 < LEASE);
    }

    /// Every order of the reads and writes of two claims, in steps of half a second of the server's time.
    #[test]
    fn of_two_claims_at_any_times_at_most_one_succeeds() {
        #[derive(Clone, Copy)]
        struct Claim {
            read: i64,
            stored: i64,
            owner: u32,
        }
        let half = 500_000;
        let settle = i64::try_from(SETTLE.as_micros()).unwrap();
        let mut both_claimed = 0;
        for (other_read, delay, other_delay) in
            (-20..=20).flat_map(|read| (0..8).flat_map(move |a| (0..8).map(move |b| (read, a, b))))
        {
            let claims = [
                Claim { read: 0, stored: delay * half, owner: 3 },
                Claim {
                    read: other_read * half,
                    stored: (other_read + other_delay) * half,
                    owner: 5,
                },
            ];
            let stored_before = |time: i64| claims.iter().filter(move |it| it.stored <= time);
            let succeeds = |own: &Claim| {
                // A version of the other claim is new, so that the job is not silent.
                if stored_before(own.read).any(|it| it.owner != own.owner) {
                    return false;
                }
                let newest = stored_before(own.stored + settle).max_by_key(|it| it.owner);
                was_in_time(own.read, own.stored) && newest.is_some_and(|it| it.owner == own.owner)
            };
            let won = claims.iter().filter(|own| succeeds(own)).count();
            assert!(won <= 1, "{other_read} {delay} {other_delay}");
            both_claimed += usize::from(won == 1);
        }
        assert!(both_claimed > 100, "{both_claimed}");
    }

    #[test]
    fn a_process_finds_that_another_took_its_job() {
        let newest = job(JobState::Running, 0);
        assert!(still_owns(&newest, 1).is_ok());
        assert_eq!(still_owns(&newest, 2).unwrap_err().code, "job_taken");
    }
}
