//! What one worker is to the job: one worker leads it (reports it, and verifies it at the end), and the others
//! only process records.

use broker::ServerError;

use crate::clickhouse::job_table;
use crate::clickhouse::server::Server;
use crate::jobs::claim_rules::is_silent;
use crate::jobs::job::{Job, JobState, StoredJob};
use crate::jobs::job_request::JobRequest;
use crate::jobs::running_job::RunningJob;
use crate::replay::stored_plan::pass_number;

/// The role.
#[derive(Debug)]
pub(crate) enum JobRole {
    /// This process has the job.
    Leader(Box<RunningJob>),
    /// Another process has it.
    Member,
}

/// How far this worker is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum WorkPhase {
    /// It waits until the job runs, or until its next pass is to be read.
    Waits,
    /// It saw that the job runs, and processes or verifies records.
    Works,
}

/// What a worker has to do after a look at its job.
#[derive(Debug)]
pub(crate) enum JobNews {
    /// Continue.
    None,
    /// Start, or continue: the job runs, and its workers read the pass of this number.
    Running(usize),
    /// Stop: an operator cancelled it.
    Cancelled,
    /// Stop: its leader has ended it.
    Ended(Box<Job>),
}

impl JobRole {
    /// Claims the job; a member if another process has it.
    ///
    /// # Errors
    /// The job is unknown or done, or the server's refusal.
    pub(crate) async fn take(server: &Server, id: &str) -> Result<Self, ServerError> {
        match RunningJob::resume(server, id).await {
            Ok(job) => Ok(Self::Leader(Box::new(job))),
            Err(error) if error.code == "job_running" => Ok(Self::Member),
            Err(error) => Err(error),
        }
    }

    /// A leader reports the job, and becomes a member where another process has claimed it; a member reads it,
    /// and claims it where its leader is gone.
    ///
    /// # Errors
    /// Retryable: the server does not answer. Otherwise its refusal.
    pub(crate) async fn look(
        &mut self,
        server: &Server,
        id: &str,
        phase: WorkPhase,
    ) -> Result<JobNews, ServerError> {
        match self {
            Self::Leader(job) => match job.tick().await {
                Ok(JobRequest::Cancel) => Ok(JobNews::Cancelled),
                Ok(JobRequest::None | JobRequest::Rate(_)) => Ok(JobNews::None),
                Err(error) => {
                    self.follow(error)?;
                    Ok(JobNews::None)
                }
            },
            Self::Member => {
                let StoredJob { job, now_us } = job_table::report(server, id).await?;
                if job.state.has_ended() {
                    return Ok(JobNews::Ended(Box::new(job)));
                }
                if !job.state.has_process() || is_silent(&job, now_us) {
                    *self = match Self::take(server, id).await {
                        // Its leader has ended it meanwhile: the next look returns that.
                        Err(error) if error.code == "job_ended" => return Ok(JobNews::None),
                        taken => taken?,
                    };
                    if !continues(job.state, phase) {
                        return Ok(JobNews::None);
                    }
                    return match self.announce().await {
                        Ok(news) => Ok(news),
                        Err(error) => {
                            self.follow(error)?;
                            Ok(JobNews::None)
                        }
                    };
                }
                let is_running = job.state == JobState::Running;
                Ok(if is_running { running(&job) } else { JobNews::None })
            }
        }
    }

    /// Makes this worker a member, if the error of a report is that another process has claimed the job: it
    /// does so when the leader could not report for 15 s.
    ///
    /// # Errors
    /// Any other error.
    pub(crate) fn follow(&mut self, error: ServerError) -> Result<(), ServerError> {
        if error.code != "job_taken" {
            return Err(error);
        }
        tracing::warn!(code = error.code, %error, "this worker no longer leads the job");
        *self = Self::Member;
        Ok(())
    }

    /// Stores that the job continues to run, if this worker leads it.
    async fn announce(&mut self) -> Result<JobNews, ServerError> {
        let Self::Leader(job) = self else { return Ok(JobNews::None) };
        tracing::info!(job = job.job().id, "this worker leads the job now");
        job.running().await?;
        Ok(running(job.job()))
    }
}

/// The news that a job runs.
fn running(job: &Job) -> JobNews {
    JobNews::Running(pass_number(&job.counts))
}

/// Whether a job runs for its new leader as it did `before`: the starts of its ranges are committed. The state
/// alone does not state it, since another worker may have claimed the job, and have disappeared before it
/// stored that the job runs.
fn continues(before: JobState, phase: WorkPhase) -> bool {
    before == JobState::Running || phase == WorkPhase::Works
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_new_leader_that_works_stores_that_the_job_runs_in_any_state_of_it() {
        assert!(continues(JobState::Running, WorkPhase::Waits));
        assert!(!continues(JobState::Planning, WorkPhase::Waits), "the starts may be missing");
        assert!(continues(JobState::Planning, WorkPhase::Works));
    }

    #[test]
    fn a_leader_whose_job_was_claimed_by_another_worker_becomes_a_member() {
        let mut role = JobRole::Member;
        assert!(role.follow(ServerError::fatal("job_taken", "by another")).is_ok());
        assert!(matches!(role, JobRole::Member));
        let other = role.follow(ServerError::retryable("clickhouse_unreachable", "no answer"));
        assert_eq!(other.unwrap_err().code, "clickhouse_unreachable");
    }
}
