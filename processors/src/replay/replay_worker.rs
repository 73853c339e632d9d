//! One worker of a replay: runs the pipeline within the ranges of one pass after the other, each until every
//! position is committed at the end of its last range; the worker that leads the job then verifies it.

use std::pin::pin;
use std::time::Duration;

use broker::ServerError;
use prometheus_client::registry::Registry as MetricRegistry;
use records::replay::replay_plan::ReplayPlan;
use tokio::task::JoinSet;
use tokio::time::{Interval, MissedTickBehavior};
use tokio_util::sync::CancellationToken;

use crate::audit::full_audit::SortSpace;
use crate::clickhouse::job_table;
use crate::clickhouse::server::Server;
use crate::clickhouse::server_clock;
use crate::clickhouse::shard_tables::ShardTables;
use crate::config::{PipelineArgs, RulesArgs, Servers};
use crate::jobs::claim_rules;
use crate::jobs::job::{Job, JobState};
use crate::jobs::running_job::RunningJob;
use crate::metrics::processor::ProcessorMetrics;
use crate::replay::job_progress::{JobProgress, PASSES};
use crate::replay::job_role::{JobNews, JobRole, WorkPhase};
use crate::replay::loaded_rules;
use crate::replay::pass_pipeline::{PassPipeline, dead_letters};
use crate::replay::planning::refuse_conflict;
use crate::replay::replay_admin::ReplayAdmin;
use crate::replay::replay_group::ReplayGroup;
use crate::replay::replay_progress::ReplayProgress;
use crate::replay::stored_plan::{PASS, STARTED, pass_number, plan_of};
use crate::replay::verification::verify;
use crate::replay::window_ranges::check_log;
use crate::replay::work_end::WorkEnd;
use crate::replay::worker_output::WorkerOutput;
use crate::replay::worker_tasks::WorkerTasks;
use crate::rules::folder::SharedRuleSet;

/// Interval between two looks at the job and at the positions.
const TICK: Duration = Duration::from_secs(1);

/// How a worker runs and reports.
#[derive(Debug)]
pub(crate) struct ReplayRun {
    /// Job.
    pub(crate) id: String,
    /// The group of `processors run`.
    pub(crate) live_group: String,
    /// Its rules, which have to be those of the plan.
    pub(crate) rules: RulesArgs,
    /// Batches.
    pub(crate) pipeline: PipelineArgs,
    /// For the verdict.
    pub(crate) space: SortSpace,
    /// Prints JSON.
    pub(crate) json: bool,
}

/// A worker.
struct ReplayWorker<'a> {
    servers: &'a Servers,
    run: &'a ReplayRun,
    server: Server,
    plan: &'a ReplayPlan,
    /// The group of the pass that it reads.
    group: ReplayGroup,
    /// Cancelled by a signal.
    signal: CancellationToken,
    /// Cancelled by a signal, or by an operator who cancels the job.
    stop: CancellationToken,
    role: JobRole,
    ticks: Interval,
    /// Every pass is complete: what is left is the verification.
    is_processed: bool,
}

/// Runs one worker to the end of the job; returns the exit code.
///
/// # Errors
/// The worker may not run the job, another process has taken it over, or a server does not answer.
pub(crate) async fn run(
    servers: &Servers,
    run: &ReplayRun,
    admin: Option<ReplayAdmin>,
) -> Result<u8, ServerError> {
    let signal = service::shutdown::on_signal()
        .map_err(|error| ServerError::fatal("signal_handler", error))?;
    let server = servers.clickhouse.server()?;
    let job = job_table::job(&server, &run.id).await?.job;
    let plan = &plan_of(&job, &servers.kafka.topic)?;
    if job.state == JobState::Done {
        return Err(claim_rules::done(&job));
    }
    let rules = loaded_rules::load(&run.rules).await?;
    loaded_rules::check(&plan.rules, &rules)?;
    check_log(servers, plan).await?;
    refuse_conflict(&server, servers, plan, &run.id).await?;
    let group = ReplayGroup::open(&servers.kafka.brokers(), &run.id, plan, 1)?;
    let role = JobRole::take(&server, &run.id).await?;
    let mut ticks = tokio::time::interval(TICK);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let stop = signal.child_token();
    let is_processed = false;
    let mut worker =
        ReplayWorker { servers, run, server, plan, group, signal, stop, role, ticks, is_processed };
    match worker.work(rules, admin).await {
        Ok(code) => Ok(code),
        Err(error) => {
            let state = worker.early_end(JobState::Failed);
            if let JobRole::Leader(job) = &mut worker.role {
                // The error of the work counts, not that of this report.
                drop(job.end(state, &error.to_string()).await);
            }
            Err(error)
        }
    }
}

impl ReplayWorker<'_> {
    async fn work(
        &mut self,
        rules: SharedRuleSet,
        admin: Option<ReplayAdmin>,
    ) -> Result<u8, ServerError> {
        if let Some(end) = self.enter(1).await? {
            return self.finish(end).await;
        }
        self.output().begin();
        let (servers, plan) = (self.servers, self.plan);
        let settings = self.run.pipeline.driver(&servers.kafka.brokers());
        let limits = settings.linger.limits;
        let metrics = ProcessorMetrics::register(&mut MetricRegistry::default(), limits);
        let dead_letters = dead_letters(servers, plan)?;
        let pipeline = PassPipeline { servers, plan, rules, settings, metrics, dead_letters };
        // Serves the admin port until the worker ends.
        let mut tasks = JoinSet::new();
        let mut progress = self.tasks().start(admin, &pipeline.metrics, &mut tasks)?;
        let end = self.read(&pipeline, &mut progress).await?;
        drop(progress);
        let (records, rows) = (pipeline.metrics.records.get(), pipeline.metrics.rows.get());
        let undecodable = pipeline.dead_letters.count();
        tracing::info!(records, rows, undecodable, "the worker has stopped");
        self.finish(end).await
    }

    /// Reads the passes from that of the group on.
    async fn read(
        &mut self,
        pipeline: &PassPipeline<'_>,
        progress: &mut ReplayProgress,
    ) -> Result<WorkEnd, ServerError> {
        // It waits until all servers answer.
        let stop = self.stop.clone();
        let opening = async {
            tokio::select! {
                table = pipeline.open_table() => table.map(Some),
                () = stop.cancelled() => Ok(None),
            }
        };
        let Some(table) = self.beside(&CancellationToken::new(), opening).await? else {
            return Ok(self.stopped());
        };
        loop {
            progress.begin(&self.group);
            let end = self.read_pass(pipeline, table.clone(), progress).await?;
            let pass = self.group.number;
            let next = match end {
                None => pass,
                Some(WorkEnd::Complete) if pass < self.plan.pass_count() => {
                    tracing::info!(pass, "all records of the pass are processed");
                    pass + 1
                }
                Some(end) => return Ok(end),
            };
            if let Some(end) = self.enter(next).await? {
                return Ok(end);
            }
        }
    }

    /// Reads one pass as a member of its group. `None`: the member could not read on, as when its partitions
    /// could not be assigned in an outage; another member reads again what it has not committed.
    async fn read_pass(
        &mut self,
        pipeline: &PassPipeline<'_>,
        table: ShardTables,
        progress: &mut ReplayProgress,
    ) -> Result<Option<WorkEnd>, ServerError> {
        let driver = pipeline.driver(table, &self.group, progress.throttle())?;
        let halt = CancellationToken::new();
        let mut driving = pin!(driver.run(halt.clone()));
        let end = tokio::select! {
            ended = &mut driving => {
                let early = || ServerError::fatal("task_panicked", "the driver has ended");
                warn(ended.err().unwrap_or_else(early))?;
                None
            }
            end = self.supervise(progress) => Some(end?),
        };
        if let Some(end) = &end {
            halt.cancel();
            // What was read is stored and committed; the job is reported meanwhile.
            let drained = self.beside(&CancellationToken::new(), driving).await;
            drained.or_else(|error| end.after_drain(error))?;
        }
        pipeline.metrics.left_group();
        Ok(end)
    }

    fn tasks(&self) -> WorkerTasks<'_> {
        WorkerTasks {
            servers: self.servers,
            id: &self.run.id,
            plan: self.plan,
            live_group: &self.run.live_group,
        }
    }

    fn output(&self) -> WorkerOutput<'_> {
        WorkerOutput { id: &self.run.id, json: self.run.json }
    }

    /// Waits until the pass of a number, or a later one, is to be read, and makes its group the one of this
    /// worker. The leader commits the starts of its ranges before that.
    async fn enter(&mut self, number: usize) -> Result<Option<WorkEnd>, ServerError> {
        loop {
            tokio::select! {
                _ = self.ticks.tick() => {}
                () = self.stop.cancelled() => return Ok(Some(self.stopped())),
            }
            let group = match self.look(WorkPhase::Waits).await {
                Ok(JobNews::Cancelled) => return Ok(Some(WorkEnd::Cancelled)),
                Ok(JobNews::Ended(job)) => return Ok(Some(WorkEnd::Ended(job))),
                Ok(news) => self.group_from(number, &news).await,
                Err(error) => Err(error),
            };
            match group {
                Ok(Some(group)) => {
                    self.group = group;
                    return Ok(None);
                }
                Ok(None) => {}
                Err(error) => warn(error)?,
            }
        }
    }

    /// The group of the pass of a number, or of a later one; `None`: the leader has yet to begin it.
    async fn group_from(
        &mut self,
        number: usize,
        news: &JobNews,
    ) -> Result<Option<ReplayGroup>, ServerError> {
        let (brokers, id, plan) = (self.servers.kafka.brokers(), &self.run.id, self.plan);
        let open = |number| ReplayGroup::open(&brokers, id, plan, number);
        match (&mut self.role, news) {
            (JobRole::Leader(job), _) => match start(&self.server, plan, job, number, open).await {
                Ok(group) => Ok(Some(group)),
                Err(error) => self.role.follow(error).map(|()| None),
            },
            (JobRole::Member, JobNews::Running(pass)) if *pass >= number => open(*pass).map(Some),
            (JobRole::Member, _) => Ok(None),
        }
    }

    async fn look(&mut self, phase: WorkPhase) -> Result<JobNews, ServerError> {
        self.role.look(&self.server, &self.run.id, phase).await
    }

    /// Looks at the job and at the positions each second, until the pass is complete or the work has to stop.
    async fn supervise(&mut self, progress: &mut ReplayProgress) -> Result<WorkEnd, ServerError> {
        loop {
            let now = tokio::select! {
                now = self.ticks.tick() => now,
                () = self.stop.cancelled() => return Ok(self.stopped()),
            };
            match self.look(WorkPhase::Works).await {
                // This worker could not read the positions meanwhile.
                Ok(JobNews::Running(pass)) if pass > self.group.number => {
                    return Ok(WorkEnd::Complete);
                }
                Ok(JobNews::None | JobNews::Running(_)) => {}
                Ok(JobNews::Cancelled) => return Ok(WorkEnd::Cancelled),
                Ok(JobNews::Ended(job)) => return Ok(WorkEnd::Ended(job)),
                Err(error) => warn(error)?,
            }
            match self.group.positions().await {
                Ok(positions) => {
                    let noted = progress.note(self.plan, &self.group, &positions, now);
                    self.note_progress(&noted);
                    if self.group.pass.is_done(&positions) {
                        return Ok(WorkEnd::Complete);
                    }
                }
                Err(error) => warn(error)?,
            }
        }
    }

    fn note_progress(&mut self, progress: &JobProgress) {
        let JobRole::Leader(job) = &mut self.role else { return };
        for (name, count) in progress.counts() {
            match count {
                Some(count) => job.count(&name, count),
                None => job.forget(&name),
            }
        }
    }

    /// The state of a job that ends before its verdict: `state`, unless only the verdict is left.
    fn early_end(&self, state: JobState) -> JobState {
        if self.is_processed { JobState::Unverified } else { state }
    }

    /// Why the worker has stopped before its work was complete.
    fn stopped(&self) -> WorkEnd {
        if self.signal.is_cancelled() { WorkEnd::Signal } else { WorkEnd::Cancelled }
    }

    /// Does `work`. A leader reports the job each second meanwhile, and cancels `leads` when another worker
    /// has claimed it.
    async fn beside<T>(
        &mut self,
        leads: &CancellationToken,
        work: impl Future<Output = Result<T, ServerError>>,
    ) -> Result<T, ServerError> {
        let mut work = pin!(work);
        loop {
            tokio::select! {
                done = &mut work => return done,
                _ = self.ticks.tick() => {
                    if matches!(self.role, JobRole::Member) {
                        leads.cancel();
                        continue;
                    }
                    match self.look(WorkPhase::Works).await {
                        Ok(JobNews::Cancelled) => self.stop.cancel(),
                        Ok(JobNews::None | JobNews::Running(_) | JobNews::Ended(_)) => {}
                        Err(error) => warn(error)?,
                    }
                }
            }
        }
    }

    async fn finish(&mut self, mut end: WorkEnd) -> Result<u8, ServerError> {
        if matches!(end, WorkEnd::Complete) {
            self.is_processed = true;
            match self.verify().await? {
                Some(code) => return Ok(code),
                None => end = self.stopped(),
            }
        }
        let (how, message) = match end {
            WorkEnd::Ended(job) => return Ok(self.output().ended(&job)),
            WorkEnd::Cancelled => ("cancelled", "cancelled by an operator; it can be resumed"),
            WorkEnd::Complete | WorkEnd::Signal => {
                ("stopped", "stopped by a signal; it can be resumed")
            }
        };
        let state = self.early_end(JobState::Cancelled);
        if let JobRole::Leader(job) = &mut self.role
            && let Err(error) = job.end(state, message).await
        {
            self.role.follow(error)?;
        }
        Ok(self.output().stopped(how))
    }

    /// Verifies the ranges as the leader, or waits until the leader has done so. Returns the exit code;
    /// `None` if it was stopped first. A server that does not answer is waited for.
    async fn verify(&mut self) -> Result<Option<u8>, ServerError> {
        while !self.stop.is_cancelled() {
            let ended = match &self.role {
                JobRole::Leader(job) => {
                    let started_us = started_us(job);
                    self.verify_as_leader(started_us).await
                }
                JobRole::Member => match self.look(WorkPhase::Works).await {
                    Ok(JobNews::Ended(job)) => Ok(Some(*job)),
                    Ok(JobNews::None | JobNews::Running(_) | JobNews::Cancelled) => Ok(None),
                    Err(error) => Err(error),
                },
            };
            match ended {
                Ok(Some(job)) => return Ok(Some(self.output().ended(&job))),
                Ok(None) => {}
                Err(error) => warn(error)?,
            }
            tokio::select! {
                _ = self.ticks.tick() => {}
                () = self.stop.cancelled() => {}
            }
        }
        Ok(None)
    }

    /// Verifies the ranges, and ends the job with the verdict. `None` if it was stopped, or another worker has
    /// claimed the job.
    async fn verify_as_leader(&mut self, started_us: i64) -> Result<Option<Job>, ServerError> {
        let (servers, run, plan) = (self.servers, self.run, self.plan);
        let leads = self.stop.child_token();
        let verifying = async {
            tokio::select! {
                found = verify(servers, &run.space, plan, started_us, &leads) => found,
                () = leads.cancelled() => Ok(None),
            }
        };
        let Some(found) = self.beside(&leads, verifying).await? else { return Ok(None) };
        let JobRole::Leader(job) = &mut self.role else { return Ok(None) };
        let mut message = found.verdict.to_string();
        if !found.verdict.is_balanced() && !found.examples.is_empty() {
            message.push_str(&format!("; such as {}", found.examples));
        }
        for (name, count) in found.verdict.counts() {
            job.count(name, count);
        }
        match job.end(JobState::Done, &message).await {
            Ok(()) => Ok(Some(job.job().clone())),
            Err(error) => self.role.follow(error).map(|()| None),
        }
    }
}

/// Notes when the job started, commits the starts of the first pass from `number` on that is not complete, and
/// stores that the job runs. Returns the group of that pass.
async fn start(
    server: &Server,
    plan: &ReplayPlan,
    job: &mut RunningJob,
    number: usize,
    open: impl Fn(usize) -> Result<ReplayGroup, ServerError>,
) -> Result<ReplayGroup, ServerError> {
    if !job.job().counts.contains_key(STARTED) {
        job.count(STARTED, server_clock::now_us(server).await?.unsigned_abs());
    }
    let mut number = pass_number(&job.job().counts).max(number);
    let group = loop {
        let group = open(number)?;
        group.commit_starts().await?;
        // The leader may have been killed when a pass was complete, before it stored that the next one is read.
        if number >= plan.pass_count() || !group.pass.is_done(&group.positions().await?) {
            break group;
        }
        number += 1;
    };
    job.count(PASS, group.number as u64);
    job.count(PASSES, plan.pass_count() as u64);
    job.running().await?;
    Ok(group)
}

/// When the job started. All of its workers insert later.
fn started_us(job: &RunningJob) -> i64 {
    let started = job.job().counts.get(STARTED).copied();
    // Without the count, which `start` stores before the first worker, no row counts as rewritten.
    started.and_then(|us| i64::try_from(us).ok()).unwrap_or(i64::MAX)
}

/// Logs an error of an attempt, which the next tick repeats.
///
/// # Errors
/// An error that waiting cannot resolve.
fn warn(error: ServerError) -> Result<(), ServerError> {
    if !error.is_retryable() {
        return Err(error);
    }
    let code = error.code;
    tracing::warn!(code, %error, "an attempt of the replay failed, and is repeated");
    Ok(())
}
