//! `processors replay status`.

use std::time::Duration;

use broker::ServerError;
use clap::Args;
use records::dead_letters::shown_text::{json_line, shown};
use records::replay::replay_plan::ReplayPlan;
use records::replay::throttle_limits::ThrottleLimits;
use serde_json::json;

use super::position_table::PositionTable;
use super::rules_text::rules_text;
use super::shown_state::shown_state;
use crate::clickhouse::server::Server;
use crate::clickhouse::{job_table, throttle_requests};
use crate::config::Servers;
use crate::exit::{DONE, print_line};
use crate::jobs::job::{JobState, StoredJob};
use crate::jobs::job_listing;
use crate::jobs::skipped_gap;
use crate::replay::job_progress::{JobProgress, limits_json};
use crate::replay::replay_verdict::ReplayVerdict;
use crate::replay::stored_plan::{STARTED, plan_of};

/// Interval between two lines of --watch.
const WATCH_EVERY: Duration = Duration::from_secs(2);

/// Arguments of `replay status`.
#[derive(Debug, Args)]
pub(super) struct StatusArgs {
    /// Job.
    id: String,
    /// Print the progress every two seconds until the job ends.
    #[arg(long)]
    watch: bool,
    /// Print one JSON object; with --watch one a line.
    #[arg(long)]
    json: bool,
}

pub(super) async fn status(servers: &Servers, args: &StatusArgs) -> Result<u8, ServerError> {
    let server = servers.clickhouse.server()?;
    let stored = print_all(servers, &server, args).await?;
    if !args.watch || stored.job.state.has_ended() {
        return Ok(DONE);
    }
    loop {
        tokio::time::sleep(WATCH_EVERY).await;
        let has_ended = if args.json {
            print_all(servers, &server, args).await?.job.state.has_ended()
        } else {
            let job = job_table::job(&server, &args.id).await?.job;
            print_line(format_args!("{}: {}", job.state, JobProgress::of_counts(&job.counts)));
            job.state.has_ended()
        };
        if has_ended {
            return Ok(DONE);
        }
    }
}

async fn print_all(
    servers: &Servers,
    server: &Server,
    args: &StatusArgs,
) -> Result<StoredJob, ServerError> {
    let stored = job_table::job(server, &args.id).await?;
    let plan = plan_of(&stored.job, &servers.kafka.topic)?;
    let limits = throttle_requests::limits(server, &args.id).await?;
    let positions = PositionTable::read(servers, &stored.job, &plan).await?;
    if args.json {
        let job = job_listing::object(&stored);
        let progress = progress(&stored).map(|progress| progress.json());
        print_line(json_line(&json!({
            "job": job, "throttle": limits_json(&limits), "progress": progress,
            "pass": positions.pass_json(), "positions": positions.json(),
        })));
    } else {
        lines(&stored, &plan).iter().for_each(print_line);
        throttle_lines(&stored, &limits).iter().for_each(print_line);
        positions.lines().iter().for_each(print_line);
        if stored.job.state.has_ended() && stored.job.state != JobState::Done {
            positions.rewritten().iter().for_each(print_line);
        }
    }
    Ok(stored)
}

/// The job in words; `--json` has all counts.
fn lines(stored: &StoredJob, plan: &ReplayPlan) -> Vec<String> {
    let job = &stored.job;
    let verdict = ReplayVerdict::of_counts(&job.counts);
    let mut lines = vec![
        format!("job:      {}", job.id),
        format!("state:    {}", shown_state(stored, verdict.as_ref())),
        format!("window:   {}", shown(&plan.window.to_string())),
        format!("rules:    {}", rules_text(&plan.rules)),
        format!(
            "planned:  {} by {}",
            job_listing::time(job.created_at_us),
            job_listing::actor(job)
        ),
    ];
    if !plan.reason.is_empty() {
        lines.push(format!("reason:   {}", shown(&plan.reason)));
    }
    let started = job.counts.get(STARTED).and_then(|us| i64::try_from(*us).ok());
    lines.extend(started.map(|us| format!("started:  {}", job_listing::time(us))));
    let reported = job_listing::time(job.updated_at_us);
    lines.push(format!("reported: {reported} by process {}", shown(&job.host)));
    if !job.message.is_empty() {
        lines.push(format!("result:   {}", shown(&job.message)));
    }
    if job_listing::is_abandoned(stored) {
        let resume = job_listing::resume_command(job);
        lines.push(format!("No process works on it. Resume it: {resume}"));
    }
    if skipped_gap::is_left(stored) {
        let resume = job_listing::resume_command(job);
        lines.push(format!(
            "The skipped offsets have no rows until the job is done. Run it: {resume}"
        ));
    }
    lines
}

/// The progress of a job that runs. The last one of any other job is among its counts.
fn progress(stored: &StoredJob) -> Option<JobProgress> {
    let is_running = stored.job.state == JobState::Running;
    is_running.then(|| JobProgress::of_counts(&stored.job.counts))
}

fn throttle_lines(stored: &StoredJob, limits: &ThrottleLimits) -> Vec<String> {
    let progress = progress(stored).map(|progress| match progress.offsets {
        0 => "progress: not reported yet".to_owned(),
        _ => format!("progress: {progress}"),
    });
    [format!("throttle: {limits}")].into_iter().chain(progress).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::jobs::job::Job;
    use crate::jobs::skipped_gap::GAP;

    #[test]
    fn a_status_has_the_facts_of_the_job_in_words() {
        let plan = r#"{"topic":"t","window":{"rows":{"where":"a = 1"}},"ranges":{"0":[{"first":1,"end":3}]},
            "rules":{"program":1,"geo":"","user_agents":"","crawlers":"","referrers":""},"reason":"wrong line"}"#;
        let counts = [(STARTED.to_owned(), 1_764_000_000_000_000), (GAP.to_owned(), 2)].into();
        let message = "cancelled by an operator".to_owned();
        let job = Job { counts, message, ..Job::example("replay", JobState::Cancelled, plan) };
        let plan = serde_json::from_str(&job.plan).unwrap();
        let stored = StoredJob { job, now_us: 0 };
        let lines = lines(&stored, &plan);
        for expected in [
            "state:    cancelled: open gap",
            "window:   rows where a = 1",
            "rules:    program 1, geo none, user_agents none, crawlers none, referrers none",
            "planned:  1970-01-01T00:00:00Z by unknown",
            "reason:   wrong line",
            "started:  2025-11-24T16:00:00Z",
            "result:   cancelled by an operator",
        ] {
            assert!(lines.iter().any(|line| line == expected), "{expected}: {lines:#?}");
        }
        assert!(lines.last().unwrap().ends_with("processors replay run j"), "{lines:#?}");
        let begun = StoredJob { job: Job { state: JobState::Running, ..stored.job }, now_us: 0 };
        let throttle = throttle_lines(&begun, &ThrottleLimits::default());
        assert_eq!(throttle[1], "progress: not reported yet");
    }
}
