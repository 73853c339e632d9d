//! Redrives dead letters: sends copies of their records to the source topic, or to another one, and
//! reports what became of them.
//!
//! A redrive is a job: its selection is fixed by events, an event precedes each copy, and another process
//! can resume it. A copy that would fail again is not sent unless the operator forces it.

#[cfg(test)]
mod example_letter;
mod job_selection;
mod judge;
mod progress_bar;
pub(crate) mod rate_limit;
pub(crate) mod record_source;
mod redrive_batch;
mod redrive_job;
mod redriver;
mod send_limit;
pub(crate) mod server_attempts;
mod tally;

use std::collections::VecDeque;
use std::time::Duration;

use broker::ServerError;
use records::dead_letters::redrive_decision::Mode;
use records::dead_letters::redrive_plan::RedrivePlan;
use records::dead_letters::shown_text::{json_line, shown};
use serde_json::json;

use crate::audit::decoded_events::blocking;
use crate::clickhouse::dead_letter_queries::count;
use crate::clickhouse::job_table;
use crate::clickhouse::redrive_counts::{counts_of_job, outcome};
use crate::clickhouse::redrive_queries::page_of_plan;
use crate::clickhouse::server::Server;
use crate::config::Servers;
use crate::exit::{DIFFERS, DONE, TERMINATED, print_line};
use crate::jobs::job::{Job, JobState};
use crate::jobs::running_job::RunningJob;
use crate::kafka::log_reader;
use crate::kafka::redrive_writer::RedriveWriter;
use crate::redrive::judge::Judge;
use crate::redrive::progress_bar::ProgressBar;
use crate::redrive::record_source::RecordSource;
use crate::redrive::redrive_batch::RedriveBatch;
use crate::redrive::redrive_job::{RedriveJob, SELECTED};
use crate::redrive::redriver::{Preparation, Sender};
use crate::redrive::send_limit::SendLimit;
use crate::redrive::server_attempts::{Interrupt, ServerAttempts};
use crate::redrive::tally::{Outcome, Tally};

/// Kind of the job.
const KIND: &str = "redrive";
/// Dead letters that a dry run reads at once, within the bytes of a batch.
const DRY_BATCH: usize = 100;
/// Time between two looks at the states of what was sent.
const POLL_EVERY: Duration = Duration::from_secs(1);

/// What to redrive.
#[derive(Debug)]
pub(crate) enum Start {
    /// Counts what a redrive would do.
    DryRun(RedrivePlan),
    /// A new job.
    New(RedrivePlan),
    /// The job of this id.
    Resume(String),
}

/// How a redrive runs and reports.
#[derive(Debug)]
pub(crate) struct RedriveRun {
    /// What to redrive.
    pub(crate) start: Start,
    /// Maximum records a second, instead of that of the plan.
    pub(crate) rate: Option<u32>,
    /// How long to wait for what becomes of the copies.
    pub(crate) wait: Option<Duration>,
    /// Prints JSON.
    pub(crate) json: bool,
}

/// Runs a redrive to its end; returns the exit code.
///
/// # Errors
/// A fatal error, or a server that does not answer when the redrive begins.
pub(crate) async fn redrive(servers: &Servers, run: RedriveRun) -> Result<u8, ServerError> {
    let signal = service::shutdown::on_signal()
        .map_err(|error| ServerError::fatal("signal_handler", error))?;
    let stop = signal.child_token();
    let attempts = ServerAttempts::new(stop.clone());
    let server = servers.clickhouse.server()?;
    let parts = |plan: &RedrivePlan| {
        let writer = RedriveWriter::open(&servers.kafka.brokers(), plan.target())?;
        Ok::<_, ServerError>((preparation(servers, &server, plan, &attempts)?, writer))
    };
    let (plan, (mut preparation, writer), job) = match &run.start {
        Start::DryRun(plan) => {
            let (mut preparation, _) = parts(plan)?;
            let ended = dry_run(&server, plan, &mut preparation, &attempts, run.json).await;
            return interrupted(ended);
        }
        Start::New(plan) => {
            check_topic(servers, plan).await?;
            let (text, parts) = (plan_text(plan)?, parts(plan)?);
            let job = RunningJob::plan(&server, KIND, text, &plan.actor).await?;
            (plan.clone(), parts, job)
        }
        Start::Resume(id) => {
            let stored = job_table::job(&server, id).await?.job;
            if let Some(within) = run.wait
                && stored.kind == KIND
                && stored.state == JobState::Done
            {
                return print_done(&server, &attempts, &stored, within, run.json).await;
            }
            // Before the claim, which keeps other processes from a job that this one cannot run.
            let plan = plan_of(&stored)?;
            let parts = parts(&plan)?;
            (plan, parts, RunningJob::resume(&server, id).await?)
        }
    };
    let limit = SendLimit::new(run.rate.or(plan.rate));
    let mut job = RedriveJob::new(job, stop, limit.clone());
    let id = job.id();
    print_begin(&id, &run);
    let sender = Sender { server, writer, plan, job: id, attempts, limit };
    let ended = job.run(&mut preparation, &sender).await;
    finish(&mut job, &sender, ended, &run, signal.is_cancelled()).await
}

/// Waits for what becomes of the copies of a job that is done, and prints it; sends nothing.
async fn print_done(
    server: &Server,
    attempts: &ServerAttempts,
    job: &Job,
    within: Duration,
    json: bool,
) -> Result<u8, ServerError> {
    let tally = Tally::of_job(&counts_of_job(server, &job.id).await?);
    let selected = job.counts.get(SELECTED).copied().unwrap_or_default();
    let sent = SentJob { server, attempts, id: &job.id, selected, tally: &tally };
    sent.print_outcome(within, json).await
}

/// Ends the job and prints the result.
async fn finish(
    job: &mut RedriveJob,
    sender: &Sender,
    ended: Result<(u64, Tally), Interrupt>,
    run: &RedriveRun,
    is_signal: bool,
) -> Result<u8, ServerError> {
    let (selected, tally) = match ended {
        Ok(done) => done,
        Err(Interrupt::Stopped) => {
            let stored = job.end(JobState::Cancelled, stop_cause(is_signal), None).await;
            print_early_end("stopped", &sender.job, run);
            return stored.map(|()| TERMINATED);
        }
        Err(Interrupt::Failed(error)) => {
            let stored = job.end(JobState::Failed, &error.to_string(), None).await;
            print_early_end("failed", &sender.job, run);
            return Err(stored.err().unwrap_or(error));
        }
    };
    let id = sender.job.as_str();
    job.end(JobState::Done, &tally.to_string(), Some(&tally)).await?;
    // Copies in another topic change no state, so that nothing is known of them.
    let Some(within) = run.wait.filter(|_| sender.plan.changes_states()) else {
        let text = || tally.to_string();
        print_end(run.json, text, || json!({ "job": id, "selected": selected, "counts": tally }));
        return Ok(DONE);
    };
    let (server, attempts) = (&sender.server, &sender.attempts);
    SentJob { server, attempts, id, selected, tally: &tally }.print_outcome(within, run.json).await
}

/// The message of a job that was stopped before its last record.
fn stop_cause(is_signal: bool) -> &'static str {
    match is_signal {
        true => "stopped by a signal; it can be resumed",
        false => "cancelled by an operator; it can be resumed",
    }
}

/// A job that has sent all that it sends.
struct SentJob<'a> {
    server: &'a Server,
    attempts: &'a ServerAttempts,
    id: &'a str,
    selected: u64,
    tally: &'a Tally,
}

impl SentJob<'_> {
    /// Waits for what becomes of the copies, prints it, and returns the exit code.
    async fn print_outcome(&self, within: Duration, json: bool) -> Result<u8, ServerError> {
        let (outcome, is_stopped) = self.until_known(within).await?;
        let Self { id, selected, tally, .. } = self;
        let value =
            || json!({ "job": id, "selected": selected, "counts": tally, "outcome": outcome });
        print_end(json, || outcome.text(tally), value);
        if is_stopped {
            return Ok(TERMINATED);
        }
        let is_success = outcome.is_success(tally.sent) && tally.not_sent() == 0;
        Ok(if is_success { DONE } else { DIFFERS })
    }

    /// Waits until it is known what became of all copies, at most for `within`. Returns what is known, and
    /// whether a signal ended the wait.
    async fn until_known(&self, within: Duration) -> Result<(Outcome, bool), ServerError> {
        let mut known = Outcome::default();
        let wait = async {
            loop {
                let look = async || outcome(self.server, self.id).await;
                known = Outcome::of(&self.attempts.until_ok("outcome", look).await?);
                if known.pending == 0 {
                    return Ok(());
                }
                self.attempts.pause(POLL_EVERY).await?;
            }
        };
        match tokio::time::timeout(within, wait).await {
            Ok(Ok(())) | Err(_) => Ok((known, false)),
            Ok(Err(Interrupt::Stopped)) => Ok((known, true)),
            Ok(Err(Interrupt::Failed(error))) => Err(error),
        }
    }
}

/// Counts what a redrive would do; sends and writes nothing.
async fn dry_run(
    server: &Server,
    plan: &RedrivePlan,
    preparation: &mut Preparation,
    attempts: &ServerAttempts,
    json: bool,
) -> Result<u8, Interrupt> {
    let all =
        attempts.until_ok("dead_letters", async || count(server, &plan.condition).await).await?;
    let mut left = plan.limit.unwrap_or(all).min(all);
    let (mut tally, mut selected, mut after) = (Tally::default(), 0_u64, None);
    let mut progress = ProgressBar::new(left, &tally);
    while left > 0 {
        let page = async || page_of_plan(server, plan, after.as_ref()).await;
        let page = attempts.until_ok("dead_letters", page).await?;
        let Some(last) = page.last else { break };
        after = Some(last);
        let mut letters = page.letters;
        letters.truncate(usize::try_from(left).unwrap_or(usize::MAX));
        let length = letters.len() as u64;
        (selected, left) = (selected + length, left - length);
        let mut rest: VecDeque<_> = letters.into();
        while !rest.is_empty() {
            let RedriveBatch(batch) = preparation.prepare(&mut rest, DRY_BATCH).await?;
            batch.iter().for_each(|(_, own)| own.count(&mut tally));
            progress.add(batch.len() as u64);
        }
    }
    progress.clear();
    let text = || format!("{selected} selected: {}", tally.planned());
    print_end(json, text, || json!({ "dry_run": true, "selected": selected, "counts": tally }));
    if let Some(repair) = plan.repair.as_deref().filter(|_| !json) {
        let lines = tally.unrepaired_lines(repair);
        lines.iter().for_each(|line| print_line(format_args!("redrive: {}", shown(line))));
    }
    Ok(DONE)
}

fn preparation(
    servers: &Servers,
    server: &Server,
    plan: &RedrivePlan,
    attempts: &ServerAttempts,
) -> Result<Preparation, ServerError> {
    let repair = plan.repair.as_deref().map(str::parse).transpose();
    let repair = repair.map_err(|why| unknown_plan(format_args!("repair: {why}")))?;
    let registry = servers.registry.registry()?;
    // A job of another topic is judged by the schemas of that topic.
    let topic: schemas::TopicName =
        plan.topic.parse().map_err(|why| unknown_plan(format_args!("{why}")))?;
    let brokers = servers.kafka.brokers();
    Ok(Preparation {
        mode: Mode { force: plan.force, changes_states: plan.changes_states() },
        source: RecordSource::new(server.clone(), brokers, attempts.clone()),
        judge: Judge::new(registry, topic.subject(), repair, attempts.clone()),
    })
}

fn plan_text(plan: &RedrivePlan) -> Result<String, ServerError> {
    serde_json::to_string(plan).map_err(|error| ServerError::fatal("task_panicked", error))
}

fn plan_of(job: &Job) -> Result<RedrivePlan, ServerError> {
    if job.kind != KIND {
        return Err(unknown_plan(format_args!("its kind is {:?}", job.kind)));
    }
    serde_json::from_str(&job.plan).map_err(|error| unknown_plan(format_args!("{error}")))
}

fn unknown_plan(why: std::fmt::Arguments<'_>) -> ServerError {
    ServerError::fatal("job_plan", format!("this version cannot run the plan of the job: {why}"))
}

/// Checks that the topic that receives the copies exists, and that it may hold clicks.
async fn check_topic(servers: &Servers, plan: &RedrivePlan) -> Result<(), ServerError> {
    let (brokers, topic) = (servers.kafka.brokers(), plan.target().to_owned());
    let (links, dead_letters) = (&servers.kafka.links_topic, servers.kafka.topic.dead_letters());
    if topic == links.as_str() || topic == dead_letters {
        let text = format!("--to {topic}: that topic holds no clicks; name another one");
        return Err(ServerError::fatal("redrive_topic", text));
    }
    blocking(move || log_reader::bounds(&brokers, &topic).map(drop)).await
}

fn interrupted(ended: Result<u8, Interrupt>) -> Result<u8, ServerError> {
    match ended {
        Ok(code) => Ok(code),
        Err(Interrupt::Stopped) => Ok(TERMINATED),
        Err(Interrupt::Failed(error)) => Err(error),
    }
}

/// The command that resumes the job, and waits if this one does.
fn resume_command(id: &str, is_waiting: bool) -> String {
    let wait = if is_waiting { " --wait" } else { "" };
    format!("processors dlq redrive --resume {id}{wait}")
}

/// Printed before the first record is sent.
fn print_begin(id: &str, run: &RedriveRun) {
    let resume = resume_command(id, run.wait.is_some());
    if run.json {
        print_line(json_line(&json!({ "job": id, "resume": resume })));
    } else {
        print_line(format_args!("redrive: job {id}"));
        print_line(format_args!("redrive: resume with: {resume}"));
    }
}

/// Printed when a redrive ends before its last record.
fn print_early_end(how: &str, id: &str, run: &RedriveRun) {
    let resume = resume_command(id, run.wait.is_some());
    let text = || format!("{how}; resume with: {resume}");
    print_end(run.json, text, || json!({ "job": id, "ended": how, "resume": resume }));
}

fn print_end(json: bool, text: impl Fn() -> String, value: impl Fn() -> serde_json::Value) {
    if json {
        print_line(json_line(&value()));
    } else {
        print_line(format_args!("redrive: {}", text()));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_that_resumes_a_job_waits_if_its_start_did() {
        assert_eq!(resume_command("J", false), "processors dlq redrive --resume J");
        assert_eq!(resume_command("J", true), "processors dlq redrive --resume J --wait");
    }
}
