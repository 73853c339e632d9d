//! Plans a replay: resolves its window to offsets, pins the rules, and stores the job.

use std::collections::BTreeMap;

use broker::{Brokers, ServerError};
use records::replay::log_range::LogRange;
use records::replay::log_window::LogWindow;
use records::replay::pinned_rules::PinnedRules;
use records::replay::planned_partition::{PartitionFacts, PlannedPartition};
use records::replay::replay_plan::ReplayPlan;

use crate::audit::decoded_events::blocking;
use crate::clickhouse::job_table;
use crate::clickhouse::server::Server;
use crate::config::{RulesArgs, Servers};
use crate::jobs::job::Job;
use crate::jobs::running_job::RunningJob;
use crate::kafka::log_reader::{self, Bounds};
use crate::kafka::log_times::offsets_at;
use crate::replay::loaded_rules;
use crate::replay::stored_plan::{KIND, plan_of, plan_text};

/// What an operator asks for.
#[derive(Debug, Clone)]
pub(crate) struct ReplayRequest {
    /// What to replay.
    pub(crate) window: LogWindow,
    /// Plans it although a job that has not ended reads a part of it.
    pub(crate) force: bool,
    /// User.
    pub(crate) actor: String,
    /// Why.
    pub(crate) reason: String,
}

/// A job that no process has run yet.
#[derive(Debug)]
pub(crate) struct PlannedReplay {
    /// As stored.
    pub(crate) job: Job,
    /// Its plan.
    pub(crate) plan: ReplayPlan,
    /// Each partition of the window, those without a record included.
    pub(crate) partitions: Vec<PlannedPartition>,
}

/// Plans a replay, and stores it.
///
/// # Errors
/// The log holds nothing of the window, another job reads a part of it, or a server does not answer.
pub(crate) async fn plan(
    servers: &Servers,
    rules: &RulesArgs,
    request: ReplayRequest,
) -> Result<PlannedReplay, ServerError> {
    let topic = &servers.kafka.topic;
    let (brokers, name, window) =
        (servers.kafka.brokers(), topic.to_string(), request.window.clone());
    let partitions = blocking(move || partitions_of(&brokers, &name, &window)).await?;
    let held = partitions.iter().filter(|own| own.range.offsets() > 0);
    let ranges: BTreeMap<_, _> = held.map(|own| (own.partition, vec![own.range])).collect();
    if ranges.is_empty() {
        let deleted: u64 = partitions.iter().map(|own| own.deleted.most()).sum();
        return Err(window_error(format!(
            "the log holds no record of the window ({}); retention has deleted at most {deleted} \
             offsets of it",
            request.window
        )));
    }
    let rules = PinnedRules::of(&loaded_rules::load(rules).await?.load());
    let ReplayRequest { window, force, actor, reason } = request;
    let plan = ReplayPlan { topic: topic.to_string(), window, ranges, rules, reason, force };
    let server = servers.clickhouse.server()?;
    if !force {
        let found = overlapping(&server, servers, |_, other| plan.overlap(other)).await?;
        if let Some((other, shared)) = found {
            return Err(overlap_error(&other, shared, "plan this one with --force"));
        }
    }
    let job = RunningJob::plan(&server, KIND, plan_text(&plan)?, &actor).await?;
    Ok(PlannedReplay { job: job.planned().await?, plan, partitions })
}

/// Resolves a window to offsets. Blocks.
fn partitions_of(
    brokers: &Brokers,
    topic: &str,
    window: &LogWindow,
) -> Result<Vec<PlannedPartition>, ServerError> {
    let bounds = log_reader::bounds(brokers, topic)?;
    let logged = |from_ms: i64, to_ms: Option<i64>| {
        let firsts = offsets_at(brokers, topic, &bounds, from_ms)?;
        let ends = match to_ms {
            Some(to_ms) => offsets_at(brokers, topic, &bounds, to_ms)?,
            None => bounds.iter().map(|(own, bounds)| (*own, bounds.high)).collect(),
        };
        let range =
            |(own, first): (i32, i64)| Some((own, LogRange { first, end: *ends.get(&own)? }));
        Ok::<BTreeMap<_, _>, ServerError>(firsts.into_iter().filter_map(range).collect())
    };
    let named = match window {
        LogWindow::Offsets(ranges) => ranges.clone(),
        LogWindow::LogTime { from_ms, to_ms } => logged(*from_ms, *to_ms)?,
        LogWindow::Occurred(window) => logged(window.first_log_ms(), None)?,
    };
    let names_offsets = matches!(window, LogWindow::Offsets(_));
    let planned = |(partition, named): (i32, LogRange)| match bounds.get(&partition) {
        Some(Bounds { low, high }) => {
            let held = LogRange { first: *low, end: *high };
            Ok(PlannedPartition::of(partition, PartitionFacts { held, named, names_offsets }))
        }
        None => Err(window_error(format!("the topic {topic} has no partition {partition}"))),
    };
    named.into_iter().map(planned).collect()
}

/// Refuses to run the job `id` beside another of which it reads a part, unless an operator planned one of them
/// although they overlap: the rules of the last insert would decide.
///
/// # Errors
/// Another job that has not ended reads a part of the same offsets, or the server's refusal.
pub(crate) async fn refuse_conflict(
    server: &Server,
    servers: &Servers,
    plan: &ReplayPlan,
    id: &str,
) -> Result<(), ServerError> {
    let conflict =
        |other: &str, found: &ReplayPlan| if other == id { None } else { plan.conflict(found) };
    match overlapping(server, servers, conflict).await? {
        Some((other, shared)) => Err(overlap_error(&other, shared, "plan another with --force")),
        None => Ok(()),
    }
}

/// The first job that has not ended and, by its id and plan, has a range of `shared`.
async fn overlapping(
    server: &Server,
    servers: &Servers,
    shared: impl Fn(&str, &ReplayPlan) -> Option<(i32, LogRange)>,
) -> Result<Option<(Job, (i32, LogRange))>, ServerError> {
    let jobs = job_table::jobs(server).await?.into_iter().map(|stored| stored.job);
    for job in jobs.filter(|job| job.kind == KIND && !job.state.has_ended()) {
        // A job of another topic, or of another version, is no reason to refuse this one.
        let Ok(other) = plan_of(&job, &servers.kafka.topic) else { continue };
        if let Some(shared) = shared(&job.id, &other) {
            return Ok(Some((job, shared)));
        }
    }
    Ok(None)
}

fn overlap_error(job: &Job, (partition, range): (i32, LogRange), otherwise: &str) -> ServerError {
    let text = format!(
        "job {} is {} and reads offsets of {partition}:{range}, too: wait for its end, cancel it with \
         `processors replay cancel {}`, or {otherwise}",
        job.id, job.state, job.id
    );
    ServerError::fatal("replay_overlap", text)
}

/// The error of a window that cannot be replayed.
pub(crate) fn window_error(text: String) -> ServerError {
    ServerError::fatal("replay_window", text)
}
