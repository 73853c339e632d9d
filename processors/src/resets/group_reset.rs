//! Resets the positions of a group: reads what the brokers hold, claims the group, and commits once the group is
//! empty.
#![expect(clippy::disallowed_methods, reason = "bounds how long the members may take to leave")]

use std::collections::BTreeMap;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use broker::ServerError;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::audit::decoded_events::blocking;
use crate::config::Servers;
use crate::kafka::group_positions::{CommitAnswer, GroupMember, GroupPositions};
use crate::kafka::log_reader::{self, Bounds};
use crate::kafka::log_times::LogTimes;
use crate::resets::held_reset::{HeldReset, WantedReset};
use crate::resets::reset_target::{Facts, PartitionFacts, ResetTarget};

/// Time between two attempts to commit.
const ATTEMPT_EVERY: Duration = Duration::from_millis(250);
/// Time between two attempts to renew the reset while the brokers do not answer.
const RENEW_TRY_EVERY: Duration = Duration::from_secs(1);
/// A commit with a faster answer was sent once.
const REPEATED_AFTER: Duration = Duration::from_secs(2);
/// Beyond the session timeout, within which the broker removes a member that was killed.
const MARGIN: Duration = Duration::from_secs(5);
/// Start of the names of the groups of replays.
const REPLAY_GROUPS: &str = "clicktrail-replay-";

/// A reset whose positions are known, and that nothing has changed yet.
#[derive(Debug)]
pub(crate) struct GroupReset<'a> {
    servers: &'a Servers,
    positions: Arc<GroupPositions>,
    /// Consumer group.
    pub(crate) group: String,
    /// What the brokers hold.
    pub(crate) facts: Facts,
    /// The static names of its members: such a member leaves the group only when its session times out.
    pub(crate) static_names: Vec<String>,
    /// The position to be committed, by partition.
    pub(crate) targets: BTreeMap<i32, i64>,
}

/// A reset that failed.
#[derive(Debug)]
pub(crate) struct FailedReset {
    /// Why.
    pub(crate) error: ServerError,
    /// A commit had no answer, so that the positions may have moved.
    pub(crate) is_unanswered: bool,
}

/// How the members of a group are treated.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Members {
    /// A group that has members is refused.
    Refused,
    /// They leave the group for the reset, within this time.
    Leave(Duration),
}

impl<'a> GroupReset<'a> {
    /// Resolves `target` to positions. Changes nothing.
    ///
    /// # Errors
    /// The group is of a replay, a position is outside the log (`reset_target`), or the brokers do not answer.
    pub(crate) async fn prepare(
        servers: &'a Servers,
        group: &str,
        target: &ResetTarget,
    ) -> Result<Self, ServerError> {
        if group.starts_with(REPLAY_GROUPS) {
            let text =
                format!("the positions of {group} belong to its job: plan a new replay instead");
            return Err(ServerError::fatal("reset_target", text));
        }
        let (brokers, topic) = (servers.kafka.brokers(), servers.kafka.topic.to_string());
        let (name, time_ms) = (group.to_owned(), target.time_ms());
        let (positions, static_names, facts) = blocking(move || {
            let positions = GroupPositions::open(&brokers, &name, &topic)?;
            let members = positions.members()?;
            let static_names = members.iter().filter_map(GroupMember::static_name);
            let static_names = static_names.map(str::to_owned).collect();
            let partitions = log_reader::bounds(&brokers, &topic)?.into_keys();
            let committed = positions.committed(partitions)?;
            // Read later than the positions, which members advance: none of those is beyond its log.
            let bounds = log_reader::bounds(&brokers, &topic)?;
            let at_time = match time_ms {
                Some(time_ms) => LogTimes::open(&brokers, &topic, &bounds)?.offsets_at(time_ms)?,
                None => BTreeMap::new(),
            };
            let facts = |(own, Bounds { low, high }): (i32, Bounds)| {
                let (committed, at_time) =
                    (committed.get(&own).copied(), at_time.get(&own).copied());
                (own, PartitionFacts { committed, low, high, at_time })
            };
            Ok((positions, static_names, bounds.into_iter().map(facts).collect::<Facts>()))
        })
        .await?;
        let targets =
            target.positions(&facts).map_err(|why| ServerError::fatal("reset_target", why))?;
        let (positions, group) = (Arc::new(positions), group.to_owned());
        Ok(Self { servers, positions, group, facts, static_names, targets })
    }

    /// Checks that no position was moved backwards since the facts were read: the offsets up to those of the
    /// facts would not be read again.
    ///
    /// # Errors
    /// One was moved (`reset_running`), or the coordinator of the group does not answer.
    pub(super) async fn check_positions(&self) -> Result<(), ServerError> {
        let now = self.committed().await?;
        let is_behind = |own: &i32| {
            let before = self.facts.get(own).and_then(|facts| facts.committed);
            now.get(own).copied() < before
        };
        if !self.targets.keys().any(is_behind) {
            return Ok(());
        }
        let text = format!(
            "another client has moved positions of the group {} backwards: repeat this command",
            self.group
        );
        Err(ServerError::retryable("reset_running", text))
    }

    /// Claims the group. The members stay in it.
    ///
    /// # Errors
    /// The group has members that may not leave (`group_not_empty`), another command resets it
    /// (`reset_running`), or a server does not answer.
    pub(crate) async fn claim(
        &self,
        members: Members,
        actor: &str,
    ) -> Result<HeldReset, ServerError> {
        if members == Members::Refused {
            let found = self.members().await?;
            if !found.is_empty() {
                return Err(self.refused(&found));
            }
        }
        let wanted = WantedReset {
            group: self.group.clone(),
            topic: self.servers.kafka.topic.to_string(),
            targets: self.targets.clone(),
            actor: actor.to_owned(),
        };
        HeldReset::claim(&self.servers.clickhouse.server()?, wanted).await
    }

    /// Commits the targets, reads them back, and ends the reset. `stop` ends the wait for the members, as its timeout
    /// does.
    ///
    /// # Errors
    /// The group has members (`group_not_empty`), the reset has expired, or a server does not answer. Unless a
    /// commit had no answer, the positions are then those that the group had, which its members may have advanced.
    pub(crate) async fn commit(
        &self,
        mut held: HeldReset,
        members: Members,
        stop: &CancellationToken,
    ) -> Result<(), FailedReset> {
        let mut is_unanswered = false;
        match self.commit_once_empty(&mut held, members, stop, &mut is_unanswered).await {
            Ok(()) => {
                held.ended_or_expires().await;
                Ok(())
            }
            Err(_) if is_unanswered && self.are_committed().await => {
                held.ended_or_expires().await;
                Ok(())
            }
            Err(error) => {
                let error = if is_unanswered { may_have_moved(error) } else { error };
                held.withdraw(&error).await;
                Err(FailedReset { error, is_unanswered })
            }
        }
    }

    async fn commit_once_empty(
        &self,
        held: &mut HeldReset,
        members: Members,
        stop: &CancellationToken,
        is_unanswered: &mut bool,
    ) -> Result<(), ServerError> {
        let wait = match members {
            Members::Refused => Duration::ZERO,
            Members::Leave(wait) => {
                held.open().await?;
                wait
            }
        };
        let until = Instant::now() + wait;
        loop {
            held.renew().await?;
            // Also an attempt that is dropped may have an effect.
            let (began, before) = (Instant::now(), std::mem::replace(is_unanswered, true));
            let failed = match self.attempt(held).await? {
                Ok(CommitAnswer::Committed) => return self.read_back().await,
                Ok(CommitAnswer::HasMembers) => {
                    // The library repeats a commit whose answer is lost, and reports the last answer only.
                    *is_unanswered = before || began.elapsed() >= REPEATED_AFTER;
                    None
                }
                Err(error) if error.is_retryable() => Some(error),
                Err(error) => {
                    *is_unanswered = before;
                    return Err(error);
                }
            };
            let is_over = Instant::now() >= until;
            let pause = tokio::time::sleep(ATTEMPT_EVERY);
            if is_over || stop.run_until_cancelled(pause).await.is_none() {
                if *is_unanswered && self.are_committed().await {
                    return Ok(());
                }
                return Err(match failed {
                    Some(error) => error,
                    None if is_over => self.has_members(members, *is_unanswered).await?,
                    None => self.stopped(*is_unanswered),
                });
            }
        }
    }

    /// Attempts to commit once, and renews the reset until the brokers answer.
    ///
    /// # Errors
    /// The reset cannot be renewed; the commit may have an effect.
    async fn attempt(
        &self,
        held: &mut HeldReset,
    ) -> Result<Result<CommitAnswer, ServerError>, ServerError> {
        let (positions, targets) = (Arc::clone(&self.positions), self.targets.clone());
        let mut attempt = pin!(blocking(move || positions.commit_if_empty(&targets)));
        loop {
            tokio::select! {
                answer = &mut attempt => return Ok(answer),
                () = tokio::time::sleep(RENEW_TRY_EVERY) => held.renew().await?,
            }
        }
    }

    /// The committed position of each partition of the targets that has one.
    pub(super) async fn committed(&self) -> Result<BTreeMap<i32, i64>, ServerError> {
        let (positions, own) = (Arc::clone(&self.positions), self.targets.clone());
        blocking(move || positions.committed(own.into_keys())).await
    }

    /// Whether the brokers are known to hold the targets.
    async fn are_committed(&self) -> bool {
        self.committed().await.is_ok_and(|committed| committed == self.targets)
    }

    async fn read_back(&self) -> Result<(), ServerError> {
        if self.committed().await? == self.targets {
            return Ok(());
        }
        let text = format!(
            "another client has committed other positions of the group {} at the same time: repeat this command",
            self.group
        );
        Err(ServerError::retryable("reset_running", text))
    }

    async fn has_members(
        &self,
        members: Members,
        is_unanswered: bool,
    ) -> Result<ServerError, ServerError> {
        let found = self.members().await?;
        Ok(match members {
            Members::Refused => self.refused(&found),
            Members::Leave(wait) => self.stays(&found, wait, is_unanswered),
        })
    }

    async fn members(&self) -> Result<Vec<GroupMember>, ServerError> {
        let positions = Arc::clone(&self.positions);
        blocking(move || positions.members()).await
    }

    fn refused(&self, members: &[GroupMember]) -> ServerError {
        let (group, named) = (&self.group, self.named(members));
        let text = format!("the group {group} has members: {named}. Stop them, or give --live");
        ServerError::fatal("group_not_empty", text)
    }

    fn stays(&self, members: &[GroupMember], wait: Duration, is_unanswered: bool) -> ServerError {
        let (group, seconds, named) = (&self.group, wait.as_secs(), self.named(members));
        let nothing = nothing_committed(is_unanswered);
        let text = format!(
            "after {seconds} s the group {group} still has members: {named}. The reset is \
             withdrawn{nothing}; end that process and repeat this command"
        );
        ServerError::retryable("group_not_empty", text)
    }

    fn stopped(&self, is_unanswered: bool) -> ServerError {
        let (group, nothing) = (&self.group, nothing_committed(is_unanswered));
        let text = format!(
            "a signal stopped this command before the group {group} was empty. The reset is withdrawn{nothing}; \
             repeat this command"
        );
        ServerError::retryable("group_not_empty", text)
    }

    fn named(&self, members: &[GroupMember]) -> String {
        if members.is_empty() {
            // The older request describes no group of the newer protocol.
            return format!(
                "the brokers do not describe them to this command, `kafka-consumer-groups.sh \
                 --bootstrap-server {} --group {} --describe --members` lists them",
                self.servers.kafka.brokers().servers,
                self.group
            );
        }
        let named: Vec<_> = members.iter().map(ToString::to_string).collect();
        named.join(", ")
    }
}

fn nothing_committed(is_unanswered: bool) -> &'static str {
    if is_unanswered { "" } else { " and has committed nothing" }
}

/// The error of a reset that may have committed the targets.
fn may_have_moved(error: ServerError) -> ServerError {
    let message = format!(
        "{}; the positions may have moved: compare them with --dry-run before you repeat it",
        error.message
    );
    ServerError { message, ..error }
}

/// How long members may take to leave, unless an operator sets it: as long as the brokers take to remove one
/// that was killed.
pub(crate) fn default_wait(servers: &Servers) -> Duration {
    servers.kafka.brokers().session_timeout() + MARGIN
}

#[cfg(test)]
mod tests {
    use records::replay::replay_pass::group;

    use super::*;

    #[test]
    fn the_groups_of_replays_are_recognised_by_their_names() {
        assert!(group("0198-j", 1).starts_with(REPLAY_GROUPS));
        assert!(!"clicktrail-processors".starts_with(REPLAY_GROUPS));
    }
}
