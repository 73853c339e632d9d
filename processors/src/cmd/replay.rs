//! `processors replay`: reads ranges of the log again, as a job.

mod cancel;
mod dry_run;
mod list;
mod plan;
mod plan_report;
mod position_table;
mod rules_text;
mod run;
mod shown_state;
mod skip;
mod status;
mod tune;

use broker::ServerError;
use clap::{Args, Subcommand};

use crate::config::Servers;

/// Arguments of `replay`.
#[derive(Debug, Args)]
pub struct ReplayArgs {
    #[command(flatten)]
    pub(super) servers: Servers,
    #[command(subcommand)]
    action: ReplayAction,
}

#[derive(Debug, Subcommand)]
enum ReplayAction {
    /// Resolve a window to offsets, pin the rules, and store the job; read no record.
    Plan(plan::PlanArgs),
    /// Compare what a planned job would insert with the view, by column; insert and commit nothing.
    DryRun(dry_run::DryRunArgs),
    /// Run a planned job to its end as one of its workers, or resume it; exit code 1 if its verdict is not
    /// balanced.
    Run(Box<run::RunReplayArgs>),
    /// Print one job: its plan, counts, positions and verdict.
    Status(status::StatusArgs),
    /// List the replays.
    List(list::ListArgs),
    /// Change the limits of a job, pause it, or end a pause; takes effect on every worker within two seconds.
    Tune(tune::TuneArgs),
    /// Move the live group forwards, and first plan the replay of the offsets that it skips.
    Skip(Box<skip::SkipArgs>),
    /// Stop a job, and print what stays rewritten; exit code 75 when it has not ended within five seconds.
    Cancel(cancel::CancelArgs),
}

impl ReplayArgs {
    /// Whether the command ends by itself on a signal, after it has stored its state.
    pub(super) fn handles_signals(&self) -> bool {
        match self.action {
            ReplayAction::Run(_) | ReplayAction::Skip(_) => true,
            ReplayAction::Plan(_)
            | ReplayAction::DryRun(_)
            | ReplayAction::Status(_)
            | ReplayAction::List(_)
            | ReplayAction::Tune(_)
            | ReplayAction::Cancel(_) => false,
        }
    }
}

pub(super) async fn replay(args: ReplayArgs) -> Result<u8, ServerError> {
    let servers = &args.servers;
    match args.action {
        ReplayAction::Plan(args) => plan::plan(servers, args).await,
        ReplayAction::DryRun(args) => dry_run::dry_run(servers, args).await,
        ReplayAction::Run(args) => run::run(servers, *args).await,
        ReplayAction::Status(args) => status::status(servers, &args).await,
        ReplayAction::Skip(args) => skip::skip(servers, &args).await,
        ReplayAction::List(args) => list::list(servers, &args).await,
        ReplayAction::Tune(args) => tune::tune(servers, &args).await,
        ReplayAction::Cancel(args) => cancel::cancel(servers, &args).await,
    }
}
