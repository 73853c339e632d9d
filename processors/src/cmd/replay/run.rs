//! `processors replay run`.

use std::net::SocketAddr;

use broker::ServerError;
use clap::Args;
use service::admin_args::AdminHostsArgs;

use crate::audit::sort_args::SortArgs;
use crate::config::{PipelineArgs, RulesArgs, Servers};
use crate::replay::replay_admin::ReplayAdmin;
use crate::replay::replay_worker::{self, ReplayRun};

/// Arguments of `replay run`.
#[derive(Debug, Args)]
pub(super) struct RunReplayArgs {
    /// Job that `replay plan` has printed.
    id: String,
    /// Print JSON: one line when the worker starts, one with the verdict.
    #[arg(long)]
    json: bool,
    /// Consumer group of `processors run`; the replay pauses while it is late.
    #[arg(long, env = "CLICKTRAIL_GROUP", default_value = "clicktrail-processors")]
    group: String,
    /// Address of an admin port of this worker: /metrics /livez /readyz. By default there is none.
    #[arg(long, env = "CLICKTRAIL_REPLAY_ADMIN_LISTEN", value_name = "ADDRESS")]
    admin_listen: Option<SocketAddr>,
    #[command(flatten)]
    hosts: AdminHostsArgs,
    #[command(flatten)]
    pipeline: PipelineArgs,
    #[command(flatten)]
    sort: SortArgs,
    #[command(flatten)]
    rules: RulesArgs,
}

pub(super) async fn run(servers: &Servers, args: RunReplayArgs) -> Result<u8, ServerError> {
    let RunReplayArgs { id, json, group, admin_listen, hosts, pipeline, sort, rules } = args;
    let admin = match admin_listen {
        Some(address) => Some(ReplayAdmin::listen(address, hosts.admin_hosts).await?),
        None => None,
    };
    let space = sort.space();
    let run = ReplayRun { id, live_group: group, rules, pipeline, space, json };
    replay_worker::run(servers, &run, admin).await
}
