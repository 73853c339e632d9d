//! `processors offsets`: the committed positions of a consumer group.

mod reset;

use broker::ServerError;
use clap::{Args, Subcommand};

use crate::config::Servers;

/// Arguments of `offsets`.
#[derive(Debug, Args)]
pub struct OffsetsArgs {
    #[command(flatten)]
    pub(super) servers: Servers,
    #[command(subcommand)]
    action: OffsetsAction,
}

#[derive(Debug, Subcommand)]
enum OffsetsAction {
    /// Move the committed positions of the group, so that its members read from there; with --live they leave the
    /// group for that time, otherwise a group that has members is refused.
    Reset(reset::ResetOffsetsArgs),
}

pub(super) async fn offsets(args: OffsetsArgs) -> Result<u8, ServerError> {
    match args.action {
        OffsetsAction::Reset(reset) => reset::reset(&args.servers, &reset).await,
    }
}
