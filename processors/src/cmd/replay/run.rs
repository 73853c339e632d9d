//! `processors replay run`.

use broker::ServerError;
use clap::Args;

use crate::audit::sort_args::SortArgs;
use crate::config::{PipelineArgs, RulesArgs, Servers};
use crate::replay::replay_worker::{self, ReplayRun};

/// Arguments of `replay run`.
#[derive(Debug, Args)]
pub(super) struct RunReplayArgs {
    /// Job that `replay plan` has printed.
    id: String,
    /// Print JSON: one line when the worker starts, one with the verdict.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    pipeline: PipelineArgs,
    #[command(flatten)]
    sort: SortArgs,
    #[command(flatten)]
    rules: RulesArgs,
}

pub(super) async fn run(servers: &Servers, args: RunReplayArgs) -> Result<u8, ServerError> {
    let RunReplayArgs { id, json, pipeline, sort, rules } = args;
    let run = ReplayRun { id, rules, pipeline, space: sort.space(), json };
    replay_worker::run(servers, &run).await
}
