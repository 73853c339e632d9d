//! `processors replay status`.

use std::time::Duration;

use broker::ServerError;
use clap::Args;
use records::dead_letters::shown_text::json_line;
use records::replay::throttle_limits::ThrottleLimits;
use serde_json::json;

use super::position_table::PositionTable;
use crate::clickhouse::server::Server;
use crate::clickhouse::{job_table, throttle_requests};
use crate::config::Servers;
use crate::exit::{DONE, print_line};
use crate::jobs::job::{JobState, StoredJob};
use crate::jobs::job_listing;
use crate::replay::job_progress::{JobProgress, limits_json};
use crate::replay::stored_plan::plan_of;

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
        job_listing::lines(&stored).iter().for_each(print_line);
        throttle_lines(&stored, &limits).iter().for_each(print_line);
        positions.lines().iter().for_each(print_line);
    }
    Ok(stored)
}

/// The progress of a job that runs. The last one of any other job is among its counts.
fn progress(stored: &StoredJob) -> Option<JobProgress> {
    let is_running = stored.job.state == JobState::Running;
    is_running.then(|| JobProgress::of_counts(&stored.job.counts))
}

fn throttle_lines(stored: &StoredJob, limits: &ThrottleLimits) -> Vec<String> {
    let progress = progress(stored).map(|progress| format!("progress: {progress}"));
    [format!("throttle: {limits}")].into_iter().chain(progress).collect()
}
