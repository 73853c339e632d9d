//! A job that this process works on.
#![expect(
    clippy::disallowed_methods,
    reason = "a process that cannot report stops in time though the server does not answer"
)]

use std::time::{Duration, Instant};

use broker::ServerError;
use uuid::Builder;

use crate::clickhouse::job_table::{self, FirstRequest};
use crate::clickhouse::server::Server;
use crate::clickhouse::server_clock;
use crate::jobs::claim::{Claim, claim};
use crate::jobs::claim_rules::{self, LEASE, WRITE_EVERY};
use crate::jobs::job::{Job, JobState, JobVersion, StoredJob};
use crate::jobs::job_request::JobRequest;
use crate::random_bits::random_bits;

const RETRY_EVERY: Duration = Duration::from_millis(500);

/// A job that this process works on. Call [`RunningJob::tick`] about once a second and [`RunningJob::end`]
/// at the end; a job whose process only disappears can be resumed 15 seconds later.
#[derive(Debug)]
pub struct RunningJob {
    server: Server,
    job: Job,
    owner: u32,
    /// Before the last version that the server acknowledged was sent.
    written_at: Instant,
    /// The first request that is for this process.
    first_request: FirstRequest,
    requested: JobRequest,
}

impl RunningJob {
    /// Stores a new job, whose state is `planning`.
    ///
    /// # Errors
    /// The server's refusal.
    pub async fn plan(
        server: &Server,
        kind: &str,
        plan: String,
        actor: &str,
    ) -> Result<Self, ServerError> {
        let now_us = server_clock::now_us(server).await?;
        let owner = random_owner();
        let job = Job {
            id: new_id(now_us),
            version: JobVersion::first(owner),
            kind: kind.to_owned(),
            state: JobState::Planning,
            plan,
            counts: [].into(),
            actor: actor.to_owned(),
            host: host(),
            message: String::new(),
            created_at_us: now_us,
            updated_at_us: now_us,
        };
        job_table::add_plan(server, &job.id, &job.plan).await?;
        let written_at = Instant::now();
        job_table::add_version(server, &job).await?;
        let server = server.clone();
        let (first_request, requested) = (FirstRequest::default(), JobRequest::None);
        Ok(Self { server, job, owner, written_at, first_request, requested })
    }

    /// Stores that the job waits for a process, which resumes it.
    ///
    /// # Errors
    /// As [`RunningJob::running`].
    pub async fn planned(mut self) -> Result<Job, ServerError> {
        self.job.state = JobState::Planned;
        self.checked_write().await?;
        Ok(self.job)
    }

    /// Resumes a job that was cancelled, failed, or whose process has ended. Its state is `planning`; its
    /// counts are those of its last version, at most some seconds older than what it did. Takes about two
    /// seconds.
    ///
    /// # Errors
    /// No job has the id (`job_unknown`), it is done (`job_ended`), another process works on it
    /// (`job_running`), or the server's refusal.
    pub async fn resume(server: &Server, id: &str) -> Result<Self, ServerError> {
        let owner = random_owner();
        let state = JobState::Planning;
        // Earlier requests were for the process before.
        let first_request = job_table::next_request(server, id).await?;
        // The claim is sent later.
        let written_at = Instant::now();
        let claim_of = Claim { owner, host: host(), state, message: String::new(), forget: None };
        let job = claim(server, id, claim_of).await?;
        let server = server.clone();
        let requested = JobRequest::None;
        Ok(Self { server, job, owner, written_at, first_request, requested })
    }

    /// The job, with the counts of this process.
    pub fn job(&self) -> &Job {
        &self.job
    }

    /// Sets a count. The table has it with the next version.
    pub fn count(&mut self, name: &str, count: u64) {
        self.job.counts.insert(name.to_owned(), count);
    }

    /// Removes a count. The table no longer has it with the next version.
    pub fn forget(&mut self, name: &str) {
        self.job.counts.remove(name);
    }

    /// Stores that the job runs, and its counts.
    ///
    /// # Errors
    /// Another process took over the job (`job_taken`), or the server's refusal.
    pub async fn running(&mut self) -> Result<(), ServerError> {
        self.job.state = JobState::Running;
        self.checked_write().await
    }

    /// Reads the requests of operators, stores the counts where the last version is two seconds old, and
    /// checks that no other process took over the job. Returns each request once. While the server does
    /// not answer, it returns no request, for ten seconds; then an error, and the process has to stop,
    /// since another one may soon resume the job.
    ///
    /// # Errors
    /// Another process took over the job (`job_taken`), or the server's refusal.
    pub async fn tick(&mut self) -> Result<JobRequest, ServerError> {
        match self.report().await {
            Ok(request) if request == self.requested => Ok(JobRequest::None),
            Ok(request) => {
                self.requested = request;
                Ok(request)
            }
            Err(error) if error.is_retryable() && self.written_at.elapsed() < LEASE => {
                tracing::warn!(job = %self.job.id, code = error.code, %error, "the job could not be reported");
                Ok(JobRequest::None)
            }
            Err(error) => Err(error),
        }
    }

    /// Stores how the job ended, and its counts; repeats a write that the server did not answer, for ten
    /// seconds after the last version.
    ///
    /// # Errors
    /// Another process took over the job (`job_taken`), or the server's refusal.
    pub async fn end(&mut self, state: JobState, message: &str) -> Result<(), ServerError> {
        debug_assert!(state.has_ended(), "{state}");
        self.job.state = state;
        message.clone_into(&mut self.job.message);
        loop {
            match self.checked_write().await {
                Err(error) if error.is_retryable() && self.written_at.elapsed() < LEASE => {
                    tokio::time::sleep(RETRY_EVERY).await;
                }
                ended => return ended,
            }
        }
    }

    async fn report(&mut self) -> Result<JobRequest, ServerError> {
        self.check().await?;
        if self.written_at.elapsed() >= WRITE_EVERY {
            self.write().await?;
        }
        job_table::requests(&self.server, &self.job.id, self.first_request).await
    }

    async fn checked_write(&mut self) -> Result<(), ServerError> {
        self.check().await?;
        self.write().await
    }

    async fn check(&self) -> Result<(), ServerError> {
        let StoredJob { job: newest, .. } = job_table::report(&self.server, &self.job.id).await?;
        claim_rules::still_owns(&newest, self.owner)
    }

    async fn write(&mut self) -> Result<(), ServerError> {
        // Also of a write whose acknowledgement is lost: no version is written twice.
        self.job.version = self.job.version.next(self.owner);
        let written_at = Instant::now();
        job_table::add_version(&self.server, &self.job).await?;
        self.written_at = written_at;
        Ok(())
    }
}

/// Marks a job cancelled on which no process works, and removes the count `forget`.
///
/// # Errors
/// As [`RunningJob::resume`].
pub(super) async fn cancel_silent(
    server: &Server,
    id: &str,
    message: String,
    forget: Option<&'static str>,
) -> Result<Job, ServerError> {
    let state = JobState::Cancelled;
    claim(server, id, Claim { owner: random_owner(), host: host(), state, message, forget }).await
}

/// A UUID v7 of the server's time.
pub(crate) fn new_id(now_us: i64) -> String {
    let ms = now_us.unsigned_abs() / 1000;
    // The bytes of version and variant are not random.
    let [a, b, c, d, e, f, _, g, _, h, i, j, ..] = random_bits();
    let random = [a, b, c, d, e, f, g, h, i, j];
    Builder::from_unix_timestamp_millis(ms, &random).into_uuid().to_string()
}

/// A random number that names this process.
pub(crate) fn random_owner() -> u32 {
    let [a, b, c, d, ..] = random_bits();
    u32::from_be_bytes([a, b, c, d])
}

/// Host and process.
pub(crate) fn host() -> String {
    let name = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    let name = if name.trim().is_empty() { "unknown" } else { name.trim() };
    format!("{name}:{}", std::process::id())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_is_a_uuid_of_the_servers_time_and_no_two_are_equal() {
        let now_us = 1_764_000_000_123_456;
        let (id, other) = (new_id(now_us), new_id(now_us));
        assert_ne!(id, other);
        let id = uuid::Uuid::parse_str(&id).unwrap();
        assert_eq!(id.get_version_num(), 7);
        assert_eq!(id.get_timestamp().unwrap().to_unix().0, 1_764_000_000);
        assert!(new_id(now_us + 1000) > other);
    }
}
