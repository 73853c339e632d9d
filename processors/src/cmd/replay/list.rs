//! `processors replay list`.

use broker::ServerError;
use clap::Args;
use records::dead_letters::shown_text::shown;
use records::replay::replay_plan::ReplayPlan;

use super::shown_state::shown_state;
use crate::clickhouse::job_table;
use crate::cmd::dlq::table::Table;
use crate::config::Servers;
use crate::exit::{DONE, print_line};
use crate::jobs::job::{Job, StoredJob};
use crate::jobs::job_listing;
use crate::replay::job_progress::JobProgress;
use crate::replay::replay_verdict::ReplayVerdict;
use crate::replay::stored_plan::KIND;

const HEADINGS: [&str; 9] =
    ["ID", "STATE", "PROGRESS", "REWRITTEN", "MISSING", "PLANNED", "BY", "REASON", "WINDOW"];
/// Characters of a reason.
const REASON_CHARS_MAX: usize = 40;
/// A cell without a value.
const NONE: &str = "-";

/// Arguments of `replay list`.
#[derive(Debug, Args)]
pub(super) struct ListArgs {
    /// Print one JSON object for each job, with all its counts.
    #[arg(long)]
    json: bool,
}

pub(super) async fn list(servers: &Servers, args: &ListArgs) -> Result<u8, ServerError> {
    let jobs = job_table::jobs(&servers.clickhouse.server()?).await?;
    let replays = jobs.iter().filter(|stored| stored.job.kind == KIND);
    if args.json {
        replays.map(job_listing::json).for_each(print_line);
        return Ok(DONE);
    }
    match replays.map(row).collect::<Vec<_>>() {
        rows if rows.is_empty() => print_line("no replay was planned yet"),
        rows => Table::new(&HEADINGS).lines(rows).iter().for_each(print_line),
    }
    Ok(DONE)
}

fn row(stored: &StoredJob) -> Vec<String> {
    let job = &stored.job;
    // A plan of a later version is listed without its window.
    let plan = serde_json::from_str::<ReplayPlan>(&job.plan).ok();
    let window = plan.as_ref().map(|plan| shown(&plan.window.to_string()));
    let verdict = ReplayVerdict::of_counts(&job.counts);
    let count = |count: fn(&ReplayVerdict) -> u64| {
        verdict.as_ref().map_or(NONE.to_owned(), |verdict| count(verdict).to_string())
    };
    vec![
        job.id.clone(),
        shown_state(stored, verdict.as_ref()),
        progress(job, plan.as_ref()),
        count(|verdict| verdict.rewritten),
        count(|verdict| verdict.missing),
        job_listing::time(job.created_at_us),
        job_listing::actor(job),
        plan.as_ref().map_or(NONE.to_owned(), reason),
        window.unwrap_or(NONE.to_owned()),
    ]
}

/// The reason of a plan, or its beginning.
fn reason(plan: &ReplayPlan) -> String {
    match plan.reason.char_indices().nth(REASON_CHARS_MAX) {
        _ if plan.reason.is_empty() => NONE.to_owned(),
        Some((end, _)) => format!("{}…", shown(&plan.reason[..end])),
        None => shown(&plan.reason),
    }
}

/// The part of the offsets that is processed.
fn progress(job: &Job, plan: Option<&ReplayPlan>) -> String {
    let offsets = plan.map_or(0, ReplayPlan::offsets);
    let done = JobProgress::of_counts(&job.counts).done;
    match (done * 100).checked_div(offsets) {
        Some(percent) => format!("{percent} % of {offsets}"),
        None => NONE.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::jobs::claim_rules::SILENT_AFTER_US;
    use crate::jobs::job::JobState;

    fn stored(state: JobState, counts: &[(&str, u64)]) -> StoredJob {
        let plan = r#"{"topic":"t","window":{"rows":{"where":"a =\n1"}},
            "ranges":{"0":[{"first":100,"end":1300}]},"rules":{"program":1,"geo":"",
            "user_agents":"","crawlers":"","referrers":""},"reason":"new\ngeo data"}"#;
        let counts = counts.iter().map(|(name, count)| ((*name).to_owned(), *count)).collect();
        let (actor, created_at_us) = ("anna".to_owned(), 1_764_000_000_000_000);
        let job = Job { counts, actor, created_at_us, ..Job::example(KIND, state, plan) };
        StoredJob { job, now_us: 0 }
    }

    #[test]
    fn a_row_has_the_state_the_progress_and_the_counts_of_the_verdict_that_matter() {
        let planned = row(&stored(JobState::Planned, &[]));
        let expected = ["j", "planned", "0 % of 1200", "-", "-", "2025-11-24T16:00:00Z", "anna"];
        assert_eq!(planned[..7], expected);
        assert_eq!(planned[7], "new\\ngeo data");
        assert!(planned[8].contains(r"a =\n1"), "{planned:?}");
        let paused = [("offsets_done", 400), ("paused_live_lag", 1)];
        let mut running = stored(JobState::Running, &paused);
        assert_eq!(row(&running)[1..3], ["running, paused: live_lag", "33 % of 1200"]);
        running.now_us = SILENT_AFTER_US;
        assert_eq!(row(&running)[1], "running: no process");
        let verdict = ReplayVerdict { rewritten: 1_190, missing: 10, ..ReplayVerdict::default() };
        let mut counts = verdict.counts().to_vec();
        counts.push(("offsets_done", 1_200));
        let done = row(&stored(JobState::Done, &counts));
        assert_eq!(done[1..5], ["done: not balanced", "100 % of 1200", "1190", "10"]);
        let mut unknown = stored(JobState::Planned, &[]);
        unknown.job.plan = "{}".into();
        assert_eq!(row(&unknown)[2..3], ["-"]);
        assert_eq!(row(&unknown)[7..], ["-", "-"]);
        let plan = ReplayPlan {
            reason: "ä".repeat(41),
            ..serde_json::from_str(&stored(JobState::Planned, &[]).job.plan).unwrap()
        };
        assert_eq!(reason(&plan), format!("{}…", "ä".repeat(40)));
    }
}
