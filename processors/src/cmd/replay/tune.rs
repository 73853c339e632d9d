//! `processors replay tune`.

use broker::ServerError;
use clap::Args;
use records::dead_letters::shown_text::json_line;
use records::replay::throttle_limits::{LimitChange, ThrottleLimit};
use serde_json::json;

use crate::clickhouse::{job_table, throttle_requests};
use crate::cmd::dlq::actor::ActorArgs;
use crate::config::Servers;
use crate::exit::{DONE, print_line};
use crate::jobs::job::JobState;
use crate::replay::job_progress::limits_json;
use crate::replay::stored_plan::plan_of;

/// Arguments of `replay tune`.
#[derive(Debug, Args)]
pub(super) struct TuneArgs {
    /// Job.
    id: String,
    #[command(flatten)]
    changes: ChangeArgs,
    /// Print one JSON object.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    actor: ActorArgs,
}

/// What changes; what is not given stays.
#[derive(Debug, Clone, Args)]
#[group(required = true, multiple = true)]
struct ChangeArgs {
    /// Maximum number of records a second that all workers together read, or `none`.
    #[arg(long, value_name = "N", allow_negative_numbers = true)]
    rate: Option<ThrottleLimit>,
    /// Pause while live processing is later by more seconds than this, or `none`.
    #[arg(long, value_name = "SECONDS", allow_negative_numbers = true)]
    max_lag: Option<ThrottleLimit>,
    /// Pause while a partition of the table of clicks has more active parts than this, or `none`.
    #[arg(long, value_name = "N", allow_negative_numbers = true)]
    max_parts: Option<ThrottleLimit>,
    /// Pause until --resume.
    #[arg(long, conflicts_with = "resume")]
    pause: bool,
    /// End the pause of --pause.
    #[arg(long)]
    resume: bool,
}

impl ChangeArgs {
    fn changes(&self) -> Vec<LimitChange> {
        let all = [
            self.rate.map(LimitChange::Rate),
            self.max_lag.map(LimitChange::MaxLag),
            self.max_parts.map(LimitChange::MaxParts),
            self.pause.then_some(LimitChange::Pause),
            self.resume.then_some(LimitChange::Resume),
        ];
        all.into_iter().flatten().collect()
    }
}

pub(super) async fn tune(servers: &Servers, args: &TuneArgs) -> Result<u8, ServerError> {
    let (server, id) = (servers.clickhouse.server()?, &args.id);
    let job = job_table::job(&server, id).await?.job;
    // Refuses a job of another kind.
    plan_of(&job, &servers.kafka.topic)?;
    if job.state == JobState::Done {
        let text = format!("job {id} is done: no worker reads any more");
        return Err(ServerError::fatal("job_ended", text));
    }
    let changes = args.changes.changes();
    throttle_requests::add_changes(&server, id, &changes, args.actor.name()).await?;
    let limits = throttle_requests::limits(&server, id).await?;
    match args.json {
        true => print_line(json_line(&json!({ "job": id, "throttle": limits_json(&limits) }))),
        false => print_line(format_args!("throttle: {limits}")),
    }
    Ok(DONE)
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Debug, Parser)]
    struct Cli {
        #[command(flatten)]
        args: TuneArgs,
    }

    #[test]
    fn each_flag_is_one_change_and_at_least_one_is_given() {
        let changes = |args: &[&str]| {
            let all = ["tune", "j"].iter().chain(args);
            Cli::try_parse_from(all).map(|cli| cli.args.changes.changes())
        };
        let limit = |limit| ThrottleLimit(limit);
        let all = ["--rate", "50", "--max-lag", "none", "--max-parts", "9", "--pause"];
        let expected = [
            LimitChange::Rate(limit(Some(50))),
            LimitChange::MaxLag(limit(None)),
            LimitChange::MaxParts(limit(Some(9))),
            LimitChange::Pause,
        ];
        assert_eq!(changes(&all).unwrap(), expected);
        assert_eq!(changes(&["--resume"]).unwrap(), [LimitChange::Resume]);
        for bad in [&[][..], &["--rate", "0"], &["--max-lag", "x"], &["--pause", "--resume"]] {
            assert!(changes(bad).is_err(), "{bad:?}");
        }
    }
}
