//! Plans a replay: resolves its window to offsets, pins the rules, and stores the job.

use broker::ServerError;
use records::replay::log_range::LogRange;
use records::replay::log_window::LogWindow;
use records::replay::pinned_rules::PinnedRules;
use records::replay::planned_partition::PlannedPartition;
use records::replay::replay_pass::PartitionRanges;
use records::replay::replay_plan::ReplayPlan;

use crate::audit::decoded_events::blocking;
use crate::clickhouse::job_table;
use crate::clickhouse::range_rows::{RangeRows, RowRanges, range_rows};
use crate::clickhouse::selected_rows::{SelectedRows, condition, selected_rows};
use crate::clickhouse::server::Server;
use crate::clickhouse::table_size::table_size;
use crate::config::{RulesArgs, Servers};
use crate::jobs::job::Job;
use crate::jobs::running_job::RunningJob;
use crate::jobs::skipped_gap::GAP;
use crate::kafka::log_reader;
use crate::replay::loaded_rules;
use crate::replay::pass_days::of_days;
use crate::replay::replay_estimate::ReplayEstimate;
use crate::replay::stored_plan::{KIND, plan_of, plan_text};
use crate::replay::window_ranges::{held, of_rows, of_window, window_error};
use crate::shards::cluster::Cluster;

/// What a plan does with the rows that the replay would rewrite. The server reads some columns of all rows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum RowCheck {
    /// Counts them, and refuses rules that are older than theirs.
    RefuseOlder,
    /// Counts them.
    Count,
    /// Nothing: the plan must not take long.
    Omit,
}

/// What an operator asks for.
#[derive(Debug, Clone)]
pub(crate) struct ReplayRequest {
    /// What to replay.
    pub(crate) window: LogWindow,
    /// By a pass for each day of log time, the newest one first.
    pub(crate) newest_first: bool,
    /// Plans it although a job that has not ended reads a part of it.
    pub(crate) force: bool,
    /// What it does with the rows that the replay would rewrite.
    pub(crate) rows: RowCheck,
    /// The replay writes the dead letters of its records.
    pub(crate) writes_dead_letters: bool,
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
    /// The rows that the window selects; `None`: it is a window of the log.
    pub(crate) selected: Option<SelectedRows>,
    /// What it will cost.
    pub(crate) estimate: ReplayEstimate,
}

/// Plans a replay, and stores it.
///
/// # Errors
/// The log holds nothing of the window, another job reads a part of it, its rules are older than those of its
/// rows, or a server does not answer.
pub(crate) async fn plan(
    servers: &Servers,
    rules: &RulesArgs,
    request: ReplayRequest,
) -> Result<PlannedReplay, ServerError> {
    let ReplayRequest { window, newest_first, force, rows, writes_dead_letters, actor, reason } =
        request;
    let topic = servers.kafka.topic.to_string();
    let rules = PinnedRules::of(&loaded_rules::load(rules).await?.load());
    let cluster = servers.clickhouse.cluster()?;
    let server = cluster.any();
    let (partitions, selected) = resolve(servers, &cluster, &rules, &window).await?;
    let some = partitions.iter().filter(|own| !own.ranges.is_empty());
    let ranges: PartitionRanges = some.map(|own| (own.partition, own.ranges.clone())).collect();
    if ranges.is_empty() {
        return Err(empty_error(&window, &partitions, selected.as_ref()));
    }
    let passes = match newest_first {
        true => of_days(servers, &ranges).await?,
        false => Vec::new(),
    };
    let plan =
        ReplayPlan { topic, window, ranges, passes, rules, reason, force, writes_dead_letters };
    if !force {
        let found = overlapping(server, servers, |_, other| plan.overlap(other)).await?;
        if let Some((other, shared)) = found {
            return Err(overlap_error(&other, shared, "plan this one with --force"));
        }
    }
    let rows = rows_of(&cluster, &plan, rows).await?;
    let estimate = estimate(&cluster, &plan, rows.as_ref()).await;
    let mut job = RunningJob::plan(server, KIND, plan_text(&plan)?, &actor).await?;
    if writes_dead_letters {
        job.count(GAP, plan.offsets());
    }
    Ok(PlannedReplay { job: job.planned().await?, plan, partitions, selected, estimate })
}

/// The partitions of a window, and the rows that it selects.
async fn resolve(
    servers: &Servers,
    cluster: &Cluster,
    rules: &PinnedRules,
    window: &LogWindow,
) -> Result<(Vec<PlannedPartition>, Option<SelectedRows>), ServerError> {
    let (brokers, topic) = (servers.kafka.brokers(), servers.kafka.topic.to_string());
    if let LogWindow::Rows(selection) = window {
        let condition = condition(selection, rules)?;
        let name = topic.clone();
        let bounds = blocking(move || log_reader::bounds(&brokers, &name)).await?;
        let selected = selected_rows(cluster, &topic, &condition, &held(&bounds)).await?;
        return Ok((of_rows(&selected), Some(selected)));
    }
    let window = window.clone();
    let partitions = blocking(move || {
        of_window(&brokers, &topic, &log_reader::bounds(&brokers, &topic)?, &window)
    });
    Ok((partitions.await?, None))
}

fn empty_error(
    window: &LogWindow,
    partitions: &[PlannedPartition],
    selected: Option<&SelectedRows>,
) -> ServerError {
    let deleted: u64 = partitions.iter().map(|own| own.deleted.most()).sum();
    window_error(match (selected, window) {
        (Some(SelectedRows { expired: expired @ 1.., .. }), _) => format!(
            "the log holds no record of the selection ({window}); the records of {expired} selected rows \
             are no longer in the log"
        ),
        (Some(_), LogWindow::Rows(selection)) => {
            format!("no row is selected: {}; there is nothing to replay", selection.none())
        }
        (Some(_), _) => format!("no row is selected ({window}); there is nothing to replay"),
        (None, _) if deleted == 0 => format!("the log holds no record of the window ({window})"),
        (None, _) => format!(
            "the log holds no record of the window ({window}); retention has deleted at most {deleted} \
             offsets of it"
        ),
    })
}

/// The rows that the replay rewrites; `None` if they are not counted.
///
/// # Errors
/// Only of a check that refuses older rules: some rows have newer rules than the plan, or the server's refusal.
async fn rows_of(
    cluster: &Cluster,
    plan: &ReplayPlan,
    check: RowCheck,
) -> Result<Option<RangeRows>, ServerError> {
    let refuses = match check {
        RowCheck::Omit => return Ok(None),
        RowCheck::Count => false,
        RowCheck::RefuseOlder => true,
    };
    let ReplayPlan { topic, ranges, window, rules, .. } = plan;
    let of = RowRanges { topic, ranges, occurred: window.occurred() };
    match range_rows(cluster, of).await {
        Ok(rows) => match downgrade_error(rules, &rows).filter(|_| refuses) {
            Some(error) => Err(error),
            None => Ok(Some(rows)),
        },
        Err(error) if !refuses => {
            let code = error.code;
            tracing::warn!(code, %error, "the rows of the window cannot be counted");
            Ok(None)
        }
        Err(error) => Err(error),
    }
}

/// The error of rules that are older than those of rows of the window; `None` if none are.
fn downgrade_error(rules: &PinnedRules, rows: &RangeRows) -> Option<ServerError> {
    let older = |(row, count): &(PinnedRules, u64)| {
        let older = rules.older_than(row);
        (!older.is_empty()).then(|| (older.join(", "), *count))
    };
    let found: Vec<_> = rows.versions.iter().filter_map(older).collect();
    let (example, _) = found.first()?;
    let count: u64 = found.iter().map(|(_, count)| count).sum();
    let text = format!(
        "the rules of this replay are older than those of {count} rows of the window: {example}; use the \
         newer rules, or plan it with --downgrade"
    );
    Some(ServerError::fatal("replay_downgrade", text))
}

/// What a server does not state is unknown: an estimate prevents no replay.
async fn estimate(
    cluster: &Cluster,
    plan: &ReplayPlan,
    rows: Option<&RangeRows>,
) -> ReplayEstimate {
    let (size, jobs) = tokio::join!(table_size(cluster), job_table::jobs(cluster.any()));
    let size = size.inspect_err(
        |error| tracing::warn!(code = error.code, %error, "the size of the table is not known"),
    );
    let jobs = jobs.unwrap_or_default().into_iter().map(|stored| stored.job);
    let replays: Vec<_> = jobs.filter(|job| job.kind == KIND).collect();
    ReplayEstimate::of(plan.offsets(), rows, size.ok(), &replays)
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

#[cfg(test)]
mod tests {
    use records::enrich::rule_set::RuleSet;
    use records::replay::row_selection::{RowSelection, StaleRules};

    use super::*;

    #[test]
    fn a_window_without_records_names_what_it_lacks() {
        let stale = LogWindow::Rows(RowSelection::Stale(vec![StaleRules::Bots]));
        let selected = |expired| Some(SelectedRows { offsets: Vec::new(), rows: 0, expired });
        let text = |window, selected: Option<SelectedRows>| {
            let error = empty_error(window, &[], selected.as_ref());
            assert_eq!(error.code, "replay_window");
            error.message
        };
        let expected =
            "no row is selected: none has another version of bots; there is nothing to replay";
        assert_eq!(text(&stale, selected(0)), expected);
        assert!(text(&stale, selected(2)).ends_with("2 selected rows are no longer in the log"));
        let times = LogWindow::LogTime { from_ms: 0, to_ms: None };
        let expected = "the log holds no record of the window (log time from 1970-01-01T00:00:00Z to the end of the log)";
        assert_eq!(text(&times, None), expected);
    }

    #[test]
    fn rules_older_than_those_of_a_row_are_refused_with_the_number_of_rows() {
        let rules = PinnedRules::of(&RuleSet::default());
        let newer = PinnedRules { program: rules.program + 1, ..rules.clone() };
        let of = |versions| RangeRows { days: [].into(), versions };
        assert!(downgrade_error(&rules, &of(vec![])).is_none());
        assert!(downgrade_error(&newer, &of(vec![(rules.clone(), 5)])).is_none());
        let crawlers = PinnedRules { crawlers: "abc".into(), ..rules.clone() };
        let rows = of(vec![(rules.clone(), 5), (newer, 2), (crawlers, 1)]);
        let refused = downgrade_error(&rules, &rows).unwrap();
        assert_eq!(refused.code, "replay_downgrade");
        assert!(refused.message.contains("of 3 rows of the window: program"), "{refused}");
    }
}
