//! `processors dlq discard`: dead letters that never become rows.

use broker::ServerError;
use clap::Args;
use records::dead_letters::state::DeadLetterState;

use crate::clickhouse::dead_letter_events::EventKind;
use crate::cmd::dlq::state_change::{ChangeSpec, StateChangeArgs, change};
use crate::config::Servers;

/// Arguments of `dlq discard`.
#[derive(Debug, Args)]
pub(super) struct DiscardArgs {
    #[command(flatten)]
    common: StateChangeArgs,
    /// Reason, stored with each dead letter.
    #[arg(long)]
    reason: String,
    /// Discard pending ones too, whose copy may still become a row.
    #[arg(long)]
    force: bool,
}

pub(super) async fn discard(servers: &Servers, args: DiscardArgs) -> Result<u8, ServerError> {
    let mut from =
        vec![DeadLetterState::Open, DeadLetterState::FailedAgain, DeadLetterState::Parked];
    if args.force {
        from.push(DeadLetterState::Pending);
    }
    let spec = ChangeSpec {
        command: "discard",
        done: "discarded",
        kind: EventKind::Discarded,
        from: &from,
        reason: &args.reason,
        other_state: DeadLetterState::Pending,
        remedy: "; --force discards pending ones",
        reached: &[DeadLetterState::Discarded],
    };
    change(servers, &args.common, spec).await
}
