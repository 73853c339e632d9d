//! One worker of a replay: runs the pipeline within the ranges of the plan until every position is committed
//! at the end of its last range; the worker that leads the job then verifies it.

use std::pin::pin;
use std::time::Duration;

use broker::ServerError;
use prometheus_client::registry::Registry as MetricRegistry;
use records::dead_letters::shown_text::{json_line, shown};
use records::replay::replay_plan::{ReplayPlan, group};
use serde_json::json;
use tokio::task::JoinSet;
use tokio::time::{Interval, MissedTickBehavior};
use tokio_util::sync::CancellationToken;

use crate::audit::decoded_events::blocking;
use crate::audit::full_audit::SortSpace;
use crate::clickhouse::job_table;
use crate::clickhouse::server::Server;
use crate::config::{PipelineArgs, RulesArgs, Servers};
use crate::exit::{DIFFERS, DONE, TERMINATED, print_line};
use crate::jobs::job::{Job, JobState};
use crate::jobs::job_listing;
use crate::jobs::running_job::RunningJob;
use crate::kafka::dead_letter_writer::DeadLetterWriter;
use crate::kafka::group_consumer::GroupConsumer;
use crate::kafka::group_settings::{GroupProtocol, GroupSettings};
use crate::kafka::log_reader;
use crate::kafka::read_limits::ReadLimits;
use crate::metrics::processor::ProcessorMetrics;
use crate::replay::job_progress::JobProgress;
use crate::replay::job_role::{JobNews, JobRole, WorkPhase};
use crate::replay::loaded_rules;
use crate::replay::planning::refuse_conflict;
use crate::replay::replay_admin::ReplayAdmin;
use crate::replay::replay_group::{ReplayGroup, from_leaders};
use crate::replay::replay_progress::ReplayProgress;
use crate::replay::replay_sinks::{ReplayDeadLetters, ReplayTable};
use crate::replay::replay_verdict::ReplayVerdict;
use crate::replay::stored_plan::{STARTED, plan_of};
use crate::replay::throttle_state::SharedThrottle;
use crate::replay::throttled_source::ThrottledSource;
use crate::replay::verification::verify;
use crate::replay::window_ranges::window_error;
use crate::replay::worker_tasks::WorkerTasks;
use crate::rules::folder::SharedRuleSet;
use crate::run::pipeline::Pipeline;

/// Interval between two looks at the job and at the positions.
const TICK: Duration = Duration::from_secs(1);

/// How a worker runs and reports.
#[derive(Debug)]
pub(crate) struct ReplayRun {
    /// Job.
    pub(crate) id: String,
    /// The group of `processors run`.
    pub(crate) live_group: String,
    /// The admin port, if there is one.
    pub(crate) admin: Option<ReplayAdmin>,
    /// Its rules, which have to be those of the plan.
    pub(crate) rules: RulesArgs,
    /// Batches.
    pub(crate) pipeline: PipelineArgs,
    /// For the verdict.
    pub(crate) space: SortSpace,
    /// Prints JSON.
    pub(crate) json: bool,
}

/// Why a worker stops to process records.
#[derive(Debug)]
enum WorkEnd {
    /// Every position is at the end of its range.
    Complete,
    /// An operator cancelled the job.
    Cancelled,
    /// A signal.
    Signal,
    /// The leader has ended the job.
    Ended(Box<Job>),
}

/// A worker.
struct ReplayWorker<'a> {
    servers: &'a Servers,
    run: &'a ReplayRun,
    server: Server,
    plan: ReplayPlan,
    group: ReplayGroup,
    /// Cancelled by a signal.
    signal: CancellationToken,
    /// Cancelled by a signal, or by an operator who cancels the job.
    stop: CancellationToken,
    role: JobRole,
    ticks: Interval,
    /// Every position is at the end of its range: what is left is the verification.
    is_processed: bool,
}

/// Runs one worker to the end of the job; returns the exit code.
///
/// # Errors
/// The worker may not run the job, another process has taken it over, or a server does not answer.
pub(crate) async fn run(servers: &Servers, run: &ReplayRun) -> Result<u8, ServerError> {
    let signal = service::shutdown::on_signal()
        .map_err(|error| ServerError::fatal("signal_handler", error))?;
    let server = servers.clickhouse.server()?;
    let job = job_table::job(&server, &run.id).await?.job;
    let plan = plan_of(&job, &servers.kafka.topic)?;
    let rules = loaded_rules::load(&run.rules).await?;
    loaded_rules::check(&plan.rules, &rules)?;
    check_log(servers, &plan).await?;
    refuse_conflict(&server, servers, &plan, &run.id).await?;
    let group = ReplayGroup::open(&servers.kafka.brokers(), &run.id, &plan)?;
    let role = JobRole::take(&server, &run.id).await?;
    let mut ticks = tokio::time::interval(TICK);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let stop = signal.child_token();
    let is_processed = false;
    let mut worker =
        ReplayWorker { servers, run, server, plan, group, signal, stop, role, ticks, is_processed };
    match worker.work(rules).await {
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

/// Checks that the log reaches to the end of the last range of each partition: it does not if the topic was recreated.
async fn check_log(servers: &Servers, plan: &ReplayPlan) -> Result<(), ServerError> {
    let (brokers, topic) = (servers.kafka.brokers(), plan.topic.clone());
    let bounds = blocking(move || log_reader::bounds(&brokers, &topic)).await?;
    for (partition, ranges) in &plan.ranges {
        let high = bounds.get(partition).map_or(0, |bounds| bounds.high);
        if let Some(range) = ranges.last().filter(|range| high < range.end) {
            return Err(window_error(format!(
                "partition {partition} of {} ends at offset {high}, before the end of the planned range \
                 {range}: the topic was recreated; plan a new replay",
                plan.topic
            )));
        }
    }
    Ok(())
}

impl ReplayWorker<'_> {
    async fn work(&mut self, rules: SharedRuleSet) -> Result<u8, ServerError> {
        if let Some(end) = self.begin().await? {
            return self.finish(end).await;
        }
        self.print_begin();
        let dead_letters = self.dead_letters()?;
        let settings = self.run.pipeline.driver(&self.servers.kafka.brokers());
        let (limits, occurred) = (settings.linger.limits, self.plan.window.occurred());
        let metrics = ProcessorMetrics::register(&mut MetricRegistry::default(), limits);
        // Serves the admin port until the worker ends.
        let mut tasks = JoinSet::new();
        let mut progress = self.tasks().start(&metrics, &mut tasks).await?;
        let pipeline =
            Pipeline { servers: self.servers, rules, metrics: metrics.clone(), settings, occurred };
        // It waits until all servers answer.
        let (server, stop) = (self.server.clone(), self.stop.clone());
        let opening = async {
            tokio::select! {
                table = pipeline.open_table(&server) => table.map(Some),
                () = stop.cancelled() => Ok(None),
            }
        };
        let Some(table) = self.beside(&CancellationToken::new(), opening).await? else {
            return self.finish(self.stopped()).await;
        };
        let table = match self.plan.writes_dead_letters {
            true => ReplayTable::guarded(table),
            false => ReplayTable::new(table, self.plan.ranges.keys().copied()),
        };
        let source = self.source(progress.throttle())?;
        let driver = pipeline.driver(source, table, dead_letters.clone())?;
        let halt = CancellationToken::new();
        let end = {
            let mut driving = pin!(driver.run(halt.clone()));
            let end = tokio::select! {
                ended = &mut driving => {
                    let early = || ServerError::fatal("task_panicked", "the driver has ended");
                    return Err(ended.err().unwrap_or_else(early));
                }
                end = self.supervise(&mut progress) => end?,
            };
            halt.cancel();
            // What was read is stored and committed; the job is reported meanwhile.
            self.beside(&CancellationToken::new(), driving).await?;
            end
        };
        drop(progress);
        let (records, rows) = (metrics.records.get(), metrics.rows.get());
        let undecodable = dead_letters.count();
        tracing::info!(records, rows, undecodable, "the worker has stopped");
        self.finish(end).await
    }

    fn tasks(&self) -> WorkerTasks<'_> {
        WorkerTasks {
            servers: self.servers,
            id: &self.run.id,
            plan: &self.plan,
            live_group: &self.run.live_group,
            admin: self.run.admin.as_ref(),
        }
    }

    /// A member of the group of the replay, which reads its ranges as the throttle allows.
    fn source(
        &self,
        throttle: &SharedThrottle,
    ) -> Result<ThrottledSource<GroupConsumer>, ServerError> {
        let (id, instance_id) = (group(&self.run.id), None);
        let member = GroupSettings { id, protocol: GroupProtocol::Classic, instance_id };
        let brokers = from_leaders(self.servers.kafka.brokers());
        let limits = Some(ReadLimits::new(self.plan.ranges.clone()));
        let source = GroupConsumer::join_within(&brokers, &member, &self.plan.topic, limits)?;
        Ok(ThrottledSource::new(source, throttle))
    }

    fn dead_letters(&self) -> Result<ReplayDeadLetters, ServerError> {
        if !self.plan.writes_dead_letters {
            return Ok(ReplayDeadLetters::counted());
        }
        let (brokers, topic) = (self.servers.kafka.brokers(), &self.servers.kafka.topic);
        let writer = DeadLetterWriter::open(&brokers, &topic.dead_letters())?;
        Ok(ReplayDeadLetters::written(writer))
    }

    /// Waits until the job runs. The leader commits the starts of the ranges before that.
    async fn begin(&mut self) -> Result<Option<WorkEnd>, ServerError> {
        loop {
            tokio::select! {
                _ = self.ticks.tick() => {}
                () = self.signal.cancelled() => return Ok(Some(WorkEnd::Signal)),
            }
            let begun = match &mut self.role {
                JobRole::Leader(job) => {
                    match start(&self.server, &self.group, &self.plan, job).await {
                        Ok(()) => Ok(JobNews::Running),
                        Err(error) => self.role.follow(error).map(|()| JobNews::None),
                    }
                }
                JobRole::Member => self.look(WorkPhase::Waits).await,
            };
            match begun {
                Ok(JobNews::Running) => return Ok(None),
                Ok(JobNews::None) => {}
                Ok(JobNews::Cancelled) => return Ok(Some(WorkEnd::Cancelled)),
                Ok(JobNews::Ended(job)) => return Ok(Some(WorkEnd::Ended(job))),
                Err(error) => warn(error)?,
            }
        }
    }

    async fn look(&mut self, phase: WorkPhase) -> Result<JobNews, ServerError> {
        self.role.look(&self.server, &self.run.id, phase).await
    }

    /// Looks at the job and at the positions each second, until the work is complete or has to stop.
    async fn supervise(&mut self, progress: &mut ReplayProgress) -> Result<WorkEnd, ServerError> {
        loop {
            let now = tokio::select! {
                now = self.ticks.tick() => now,
                () = self.stop.cancelled() => return Ok(self.stopped()),
            };
            match self.look(WorkPhase::Works).await {
                Ok(JobNews::None | JobNews::Running) => {}
                Ok(JobNews::Cancelled) => return Ok(WorkEnd::Cancelled),
                Ok(JobNews::Ended(job)) => return Ok(WorkEnd::Ended(job)),
                Err(error) => warn(error)?,
            }
            match self.group.positions().await {
                Ok(positions) => {
                    let noted = progress.note(&self.plan, &positions, now);
                    self.note_progress(&noted);
                    if self.plan.is_done(&positions) {
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
                        Ok(JobNews::None | JobNews::Running | JobNews::Ended(_)) => {}
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
            WorkEnd::Ended(job) => return Ok(self.print_ended(&job)),
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
        let resume = self.command("run");
        match self.run.json {
            true => print_line(json_line(
                &json!({ "job": self.run.id, "ended": how, "resume": resume }),
            )),
            false => print_line(format_args!("replay: {how}; resume with: {resume}")),
        }
        Ok(TERMINATED)
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
                    Ok(JobNews::None | JobNews::Running | JobNews::Cancelled) => Ok(None),
                    Err(error) => Err(error),
                },
            };
            match ended {
                Ok(Some(job)) => return Ok(Some(self.print_ended(&job))),
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
        let (servers, run, plan) = (self.servers, self.run, self.plan.clone());
        let leads = self.stop.child_token();
        let verifying = async {
            tokio::select! {
                found = verify(servers, &run.space, &plan, started_us, &leads) => found,
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

    fn print_begin(&self) {
        let (id, cancel, run) = (&self.run.id, self.command("cancel"), self.command("run"));
        if self.run.json {
            print_line(json_line(&json!({ "job": id, "run": run, "cancel": cancel })));
        } else {
            print_line(format_args!("replay: job {id}"));
            print_line(format_args!("replay: add a worker, or resume, with: {run}"));
            print_line(format_args!("replay: cancel with: {cancel}"));
        }
    }

    fn command(&self, action: &str) -> String {
        format!("processors replay {action} {}", self.run.id)
    }

    /// Prints how the job ended; returns the exit code.
    fn print_ended(&self, job: &Job) -> u8 {
        let verdict = ReplayVerdict::of_counts(&job.counts).filter(|_| job.state == JobState::Done);
        let is_balanced = verdict.is_some_and(|verdict| verdict.is_balanced());
        if self.run.json {
            let (id, state) = (&job.id, job.state.name());
            print_line(json_line(&json!({
                "job": id, "state": state, "balanced": is_balanced, "verdict": verdict,
                "message": job.message,
            })));
        } else {
            print_line(format_args!("replay: {}: {}", job.state, shown(&job.message)));
            if job.state != JobState::Done {
                let resume = job_listing::resume_command(job);
                print_line(format_args!("replay: resume with: {resume}"));
            }
        }
        match (job.state == JobState::Done, is_balanced) {
            (true, true) => DONE,
            (true, false) => DIFFERS,
            (false, _) => TERMINATED,
        }
    }
}

/// Notes when the job started, commits the starts of its ranges, and stores that it runs.
async fn start(
    server: &Server,
    group: &ReplayGroup,
    plan: &ReplayPlan,
    job: &mut RunningJob,
) -> Result<(), ServerError> {
    if !job.job().counts.contains_key(STARTED) {
        job.count(STARTED, job_table::now_us(server).await?.unsigned_abs());
    }
    group.commit_starts(plan).await?;
    job.running().await
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
