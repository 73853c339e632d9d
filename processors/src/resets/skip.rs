//! A skip: moves a live group forwards, and first plans the replay of the offsets that it skips.

use std::pin::pin;
use std::time::Duration;

use broker::ServerError;
use records::replay::log_window::LogWindow;
use tokio_util::sync::CancellationToken;

use crate::config::{RulesArgs, Servers};
use crate::jobs::cancellation;
use crate::replay::planning::{self, PlannedReplay, ReplayRequest, RowCheck};
use crate::resets::group_reset::{FailedReset, GroupReset, Members};
use crate::resets::held_reset::HeldReset;
use crate::resets::reset_target::skipped;

/// Time between two attempts to renew the claim while the replay is planned.
const RENEW_TRY_EVERY: Duration = Duration::from_secs(1);

/// What an operator asks for.
#[derive(Debug, Clone)]
pub(crate) struct SkipRequest {
    /// How long the members may take to leave.
    pub(crate) members: Members,
    /// Plans the replay although one that has not ended reads a part of the same offsets.
    pub(crate) force: bool,
    /// User.
    pub(crate) actor: String,
    /// Why.
    pub(crate) reason: String,
}

/// A skip whose replay is stored; no position has moved.
#[derive(Debug)]
pub(crate) struct PlannedSkip<'a> {
    servers: &'a Servers,
    reset: GroupReset<'a>,
    held: HeldReset,
    request: SkipRequest,
    /// The replay of what is skipped.
    pub(crate) replay: PlannedReplay,
}

impl<'a> PlannedSkip<'a> {
    /// Claims the group, and plans the replay. `reset` moves the group forwards only.
    ///
    /// # Errors
    /// As [`GroupReset::claim`] and [`planning::plan`].
    pub(crate) async fn plan(
        servers: &'a Servers,
        rules: &RulesArgs,
        reset: GroupReset<'a>,
        request: SkipRequest,
    ) -> Result<Self, ServerError> {
        let held = reset.claim(request.members, &request.actor).await;
        let mut held = held.map_err(|error| {
            let message = format!("{}; nothing was planned or moved", error.message);
            ServerError { message, ..error }
        })?;
        let replay = ReplayRequest {
            window: LogWindow::Offsets(skipped(&reset.facts, &reset.targets)),
            newest_first: false,
            force: request.force,
            // The claim of the group lasts for seconds only.
            rows: RowCheck::Omit,
            // The group has not read them.
            writes_dead_letters: true,
            actor: request.actor.clone(),
            reason: request.reason.clone(),
        };
        let planned = match reset.check_positions().await {
            Ok(()) => planned(&mut held, planning::plan(servers, rules, replay)).await,
            Err(error) => Err(error),
        };
        match planned {
            Ok(replay) => {
                held.set_job(&replay.job.id);
                Ok(Self { servers, reset, held, request, replay })
            }
            Err(error) => {
                held.withdraw(&error).await;
                Err(error)
            }
        }
    }

    /// Moves the group. The replay of a skip that fails is cancelled, unless the positions may have moved.
    ///
    /// # Errors
    /// As [`GroupReset::commit`].
    pub(crate) async fn commit(self, stop: &CancellationToken) -> Result<(), ServerError> {
        let Self { servers, reset, held, request, replay } = self;
        let Err(failed) = reset.commit(held, request.members, stop).await else { return Ok(()) };
        let FailedReset { error, is_unanswered } = failed;
        if is_unanswered {
            let message = format!(
                "{}; job {id} stays planned: `processors replay run {id}` if they have moved, otherwise \
                 `processors replay cancel --close-gap {id}`",
                error.message,
                id = replay.job.id
            );
            return Err(ServerError { message, ..error });
        }
        let server = servers.clickhouse.server()?;
        if let Err(cancel) = cancellation::close_gap(&server, &replay.job.id, &request.actor).await
        {
            let (job, code) = (&replay.job.id, cancel.code);
            tracing::warn!(job, code, error = %cancel, "the replay of a failed skip could not be cancelled");
        }
        Err(error)
    }
}

/// Waits until the replay is planned, and renews the claim meanwhile. A claim that expires is an error later.
async fn planned(
    held: &mut HeldReset,
    planning: impl Future<Output = Result<PlannedReplay, ServerError>>,
) -> Result<PlannedReplay, ServerError> {
    let mut planning = pin!(planning);
    loop {
        tokio::select! {
            planned = &mut planning => return planned,
            () = tokio::time::sleep(RENEW_TRY_EVERY) => drop(held.renew().await),
        }
    }
}
