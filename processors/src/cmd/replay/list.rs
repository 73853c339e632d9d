//! `processors replay list`.

use broker::ServerError;
use clap::Args;

use crate::clickhouse::job_table;
use crate::config::Servers;
use crate::exit::{DONE, print_line};
use crate::jobs::job_listing;
use crate::replay::stored_plan::KIND;

/// Arguments of `replay list`.
#[derive(Debug, Args)]
pub(super) struct ListArgs {
    /// Print one JSON object for each job.
    #[arg(long)]
    json: bool,
}

pub(super) async fn list(servers: &Servers, args: &ListArgs) -> Result<u8, ServerError> {
    let jobs = job_table::jobs(&servers.clickhouse.server()?).await?;
    let replays: Vec<_> = jobs.iter().filter(|stored| stored.job.kind == KIND).collect();
    for stored in &replays {
        match args.json {
            true => print_line(job_listing::json(stored)),
            false => print_line(job_listing::line(stored)),
        }
    }
    if replays.is_empty() && !args.json {
        print_line("no replay was planned yet");
    }
    Ok(DONE)
}
