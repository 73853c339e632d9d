//! `processors dlq reopen`: revokes that dead letters are discarded, parked or resolved.

use broker::ServerError;
use clap::Args;
use records::dead_letters::state::DeadLetterState;

use crate::clickhouse::dead_letter_events::EventKind;
use crate::cmd::dlq::state_change::{ChangeSpec, StateChangeArgs, change};
use crate::config::Servers;

/// Arguments of `dlq reopen`.
#[derive(Debug, Args)]
pub(super) struct ReopenArgs {
    #[command(flatten)]
    common: StateChangeArgs,
    /// Reason, stored with each dead letter.
    #[arg(long, default_value = "")]
    reason: String,
}

pub(super) async fn reopen(servers: &Servers, args: ReopenArgs) -> Result<u8, ServerError> {
    let mut from = vec![DeadLetterState::Discarded, DeadLetterState::Parked];
    if args.common.filter.state.contains(&DeadLetterState::Resolved) {
        from.push(DeadLetterState::Resolved);
    }
    let spec = ChangeSpec {
        command: "reopen",
        done: "reopened",
        kind: EventKind::Reopened,
        from: &from,
        reason: &args.reason,
        other_state: DeadLetterState::Resolved,
        remedy: "; --state resolved reopens resolved ones",
        reached: &[DeadLetterState::Open, DeadLetterState::FailedAgain],
    };
    change(servers, &args.common, spec).await
}
