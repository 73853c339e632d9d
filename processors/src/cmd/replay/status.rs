//! `processors replay status`.

use broker::ServerError;
use clap::Args;
use serde_json::json;

use super::position_table::PositionTable;
use crate::clickhouse::job_table;
use crate::config::Servers;
use crate::exit::{DONE, print_line};
use crate::jobs::job_listing;
use crate::replay::stored_plan::plan_of;
use records::dead_letters::shown_text::json_line;

/// Arguments of `replay status`.
#[derive(Debug, Args)]
pub(super) struct StatusArgs {
    /// Job.
    id: String,
    /// Print one JSON object.
    #[arg(long)]
    json: bool,
}

pub(super) async fn status(servers: &Servers, args: &StatusArgs) -> Result<u8, ServerError> {
    let server = servers.clickhouse.server()?;
    let stored = job_table::job(&server, &args.id).await?;
    let plan = plan_of(&stored.job, &servers.kafka.topic)?;
    let positions = PositionTable::read(servers, &stored.job, &plan).await?;
    if args.json {
        let job = job_listing::object(&stored);
        print_line(json_line(&json!({ "job": job, "positions": positions.json() })));
    } else {
        job_listing::lines(&stored).iter().for_each(print_line);
        positions.lines().iter().for_each(print_line);
    }
    Ok(DONE)
}
