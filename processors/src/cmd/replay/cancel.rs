//! `processors replay cancel`.

use broker::ServerError;
use clap::Args;
use records::dead_letters::shown_text::json_line;
use serde_json::json;

use super::position_table::PositionTable;
use crate::clickhouse::job_table;
use crate::cmd::dlq::actor::ActorArgs;
use crate::config::Servers;
use crate::exit::{DONE, TEMPORARY, print_line};
use crate::jobs::cancellation;
use crate::jobs::job::StoredJob;
use crate::jobs::job_listing;
use crate::replay::stored_plan::plan_of;

/// Arguments of `replay cancel`.
#[derive(Debug, Args)]
pub(super) struct CancelArgs {
    /// Job.
    id: String,
    /// Print one JSON object.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    actor: ActorArgs,
}

pub(super) async fn cancel(servers: &Servers, args: &CancelArgs) -> Result<u8, ServerError> {
    let server = servers.clickhouse.server()?;
    // Refuses a job of another kind.
    let plan = plan_of(&job_table::job(&server, &args.id).await?.job, &servers.kafka.topic)?;
    let job = cancellation::cancel(&server, &args.id, args.actor.name()).await?;
    let has_ended = job.state.has_ended();
    let positions = PositionTable::read(servers, &job, &plan).await?;
    let stored = StoredJob { now_us: job.updated_at_us, job };
    if args.json {
        let object = json!({
            "job": job_listing::object(&stored), "positions": positions.json(),
        });
        print_line(json_line(&object));
    } else {
        print_line(job_listing::line(&stored));
        positions.rewritten().iter().for_each(print_line);
        if !has_ended {
            print_line("not ended within 5 s: if its process is gone, repeat this in 15 s");
        }
    }
    Ok(if has_ended { DONE } else { TEMPORARY })
}
