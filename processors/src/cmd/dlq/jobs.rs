//! `processors dlq jobs`.

use broker::ServerError;
use clap::{Args, Subcommand};

use super::actor::ActorArgs;
use crate::clickhouse::job_table;
use crate::clickhouse::server::Server;
use crate::config::Servers;
use crate::exit::{DONE, TEMPORARY, print_line};
use crate::jobs::cancellation::cancel;
use crate::jobs::claim_rules::is_silent;
use crate::jobs::job::StoredJob;
use crate::jobs::job_listing;
use crate::jobs::job_request::JobRequest;
use crate::replay;

/// Arguments of `dlq jobs`.
#[derive(Debug, Args)]
pub(super) struct JobsArgs {
    /// Print one JSON object for each job.
    #[arg(long, global = true)]
    json: bool,
    #[command(subcommand)]
    action: Option<JobsAction>,
}

#[derive(Debug, Subcommand)]
enum JobsAction {
    /// Print one job: its plan, counts and process.
    Show {
        /// Job.
        id: String,
    },
    /// Stop a job, and wait up to five seconds until it has ended; exit code 75 when it has not.
    Cancel {
        /// Job.
        id: String,
        #[command(flatten)]
        actor: ActorArgs,
    },
    /// Change how many records a second a running job sends.
    Rate {
        /// Job.
        id: String,
        /// Maximum number of records a second.
        #[arg(value_parser = clap::value_parser!(u32).range(1..))]
        rate: u32,
        #[command(flatten)]
        actor: ActorArgs,
    },
}

pub(super) async fn jobs(servers: &Servers, args: JobsArgs) -> Result<u8, ServerError> {
    let server = servers.clickhouse.server()?;
    match args.action {
        None => list(&server, args.json).await,
        Some(JobsAction::Show { id }) => {
            let stored = job_table::job(&server, &id).await?;
            match args.json {
                true => print_line(job_listing::json(&stored)),
                false => job_listing::lines(&stored).iter().for_each(print_line),
            }
            Ok(DONE)
        }
        Some(JobsAction::Cancel { id, actor }) => {
            let job = cancel(&server, &id, actor.name()).await?;
            let ended = job.state.has_ended();
            print(&StoredJob { now_us: job.updated_at_us, job }, args.json);
            if !ended && !args.json {
                print_line("not ended within 5 s: if its process is gone, repeat this in 15 s");
            }
            Ok(if ended { DONE } else { TEMPORARY })
        }
        Some(JobsAction::Rate { id, rate, actor }) => {
            let stored = job_table::job(&server, &id).await?;
            if stored.job.state.has_ended() || is_silent(&stored.job, stored.now_us) {
                let text =
                    format!("no process works on job {id}: give the rate when you resume it");
                return Err(ServerError::fatal("job_ended", text));
            }
            if stored.job.kind == replay::stored_plan::KIND {
                let text =
                    format!("job {id} is a replay: use `processors replay tune {id} --rate N`");
                return Err(ServerError::fatal("job_plan", text));
            }
            let request = JobRequest::Rate(rate);
            job_table::add_request(&server, &id, request, actor.name()).await?;
            print(&stored, args.json);
            Ok(DONE)
        }
    }
}

async fn list(server: &Server, json: bool) -> Result<u8, ServerError> {
    let jobs = job_table::jobs(server).await?;
    jobs.iter().for_each(|stored| print(stored, json));
    if jobs.is_empty() && !json {
        print_line("no job was planned yet");
    }
    Ok(DONE)
}

fn print(stored: &StoredJob, json: bool) {
    match json {
        true => print_line(job_listing::json(stored)),
        false => print_line(job_listing::line(stored)),
    }
}
