//! A reset that this process holds: no other command resets the group meanwhile.
#![expect(
    clippy::disallowed_methods,
    reason = "a command that cannot renew its reset stops in time"
)]

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use broker::ServerError;

use crate::clickhouse::server::Server;
use crate::clickhouse::{reset_table, server_clock};
use crate::jobs::claim_rules::{SETTLE, was_in_time};
use crate::jobs::job::JobVersion;
use crate::jobs::running_job::{host, new_id, random_owner};
use crate::resets::reset::{Reset, ResetState, StoredReset};

/// Age of the last version from which on this process uses the reset no longer. The table lets it last for ten
/// seconds.
const LEASE: Duration = Duration::from_secs(8);
/// How often a version is written.
const RENEW_EVERY: Duration = Duration::from_secs(2);

/// What a command resets.
#[derive(Debug, Clone)]
pub(crate) struct WantedReset {
    /// Consumer group.
    pub(crate) group: String,
    /// The log.
    pub(crate) topic: String,
    /// The position to be committed, by partition.
    pub(crate) targets: BTreeMap<i32, i64>,
    /// User.
    pub(crate) actor: String,
}

/// A reset that this process has claimed.
#[derive(Debug)]
pub(crate) struct HeldReset {
    server: Server,
    reset: Reset,
    owner: u32,
    /// Before the last version that the server acknowledged was sent.
    written_at: Instant,
}

impl HeldReset {
    /// Claims the group by the rules of [`crate::jobs::claim_rules`], without effect on its members. Takes
    /// [`SETTLE`] longer than its requests.
    ///
    /// # Errors
    /// Another command resets the group (`reset_running`), or the server's refusal.
    pub(crate) async fn claim(server: &Server, wanted: WantedReset) -> Result<Self, ServerError> {
        let read_us = server_clock::now_us(server).await?;
        let newest = reset_table::newest(server, &wanted.group).await?;
        refuse_held(newest.as_ref())?;
        let owner = random_owner();
        let first = || JobVersion::first(owner);
        let reset = Reset {
            group: wanted.group,
            version: newest.map_or_else(first, |newest| newest.reset.version.next(owner)),
            id: new_id(read_us),
            topic: wanted.topic,
            state: ResetState::Claimed,
            targets: wanted.targets,
            job: String::new(),
            actor: wanted.actor,
            host: host(),
            message: String::new(),
        };
        let written_at = Instant::now();
        reset_table::add_version(server, &reset).await?;
        if !was_in_time(read_us, server_clock::now_us(server).await?) {
            let group = &reset.group;
            let text = format!(
                "to claim the group {group} took longer than {SETTLE:?}: repeat this command"
            );
            return Err(ServerError::retryable("reset_running", text));
        }
        tokio::time::sleep(SETTLE).await;
        let held = Self { server: server.clone(), reset, owner, written_at };
        held.check().await?;
        Ok(held)
    }

    /// The id of the reset.
    pub(crate) fn id(&self) -> &str {
        &self.reset.id
    }

    /// Sets the replay of the offsets that it skips. The table has it with the next version.
    pub(crate) fn set_job(&mut self, job: &str) {
        job.clone_into(&mut self.reset.job);
    }

    /// Opens it: the members leave the group, and stay outside.
    ///
    /// # Errors
    /// It has expired, another command has claimed the group, or the server's refusal.
    pub(crate) async fn open(&mut self) -> Result<(), ServerError> {
        self.reset.state = ResetState::Open;
        self.write().await
    }

    /// Writes a version where the last one is two seconds old. A server that does not answer is no error
    /// before the reset expires.
    ///
    /// # Errors
    /// It has expired, or another command has claimed the group.
    pub(crate) async fn renew(&mut self) -> Result<(), ServerError> {
        self.lasts()?;
        if self.written_at.elapsed() < RENEW_EVERY {
            return Ok(());
        }
        match self.write().await {
            Err(error) if error.code != "reset_running" && error.is_retryable() => self.lasts(),
            written => written,
        }
    }

    /// Stores how it ended. The members join again.
    ///
    /// # Errors
    /// It has expired, another command has claimed the group, or the server's refusal.
    pub(crate) async fn end(
        &mut self,
        state: ResetState,
        message: &str,
    ) -> Result<(), ServerError> {
        self.reset.state = state;
        message.clone_into(&mut self.reset.message);
        self.write().await
    }

    /// Stores that the targets are committed. Without an answer of the server it expires.
    pub(crate) async fn ended_or_expires(&mut self) {
        if let Err(error) = self.end(ResetState::Done, "").await {
            let code = error.code;
            tracing::warn!(code, %error, "the reset is done and could not be ended; it expires");
        }
    }

    /// Withdraws it because of an error. Without an answer of the server it expires.
    pub(crate) async fn withdraw(&mut self, error: &ServerError) {
        drop(self.end(ResetState::Withdrawn, &error.to_string()).await);
    }

    fn lasts(&self) -> Result<(), ServerError> {
        if self.written_at.elapsed() < LEASE {
            return Ok(());
        }
        let text = format!(
            "reset {} could not be renewed for {LEASE:?} and expires, so that the members join the group \
             again: repeat this command",
            self.reset.id
        );
        Err(ServerError::retryable("reset_running", text))
    }

    async fn check(&self) -> Result<(), ServerError> {
        match reset_table::newest(&self.server, &self.reset.group).await? {
            Some(newest) if newest.reset.version.owner() == self.owner => Ok(()),
            Some(newest) => Err(running(&newest.reset)),
            None => Err(running(&self.reset)),
        }
    }

    async fn write(&mut self) -> Result<(), ServerError> {
        self.lasts()?;
        self.check().await?;
        // The check may have taken seconds.
        self.lasts()?;
        // Also of a write whose acknowledgement is lost: no version is written twice.
        self.reset.version = self.reset.version.next(self.owner);
        let written_at = Instant::now();
        reset_table::add_version(&self.server, &self.reset).await?;
        self.written_at = written_at;
        Ok(())
    }
}

/// Refuses a group that another command holds.
///
/// # Errors
/// Its newest reset has neither ended nor expired (`reset_running`).
fn refuse_held(newest: Option<&StoredReset>) -> Result<(), ServerError> {
    match newest {
        Some(newest) if newest.holds() => Err(running(&newest.reset)),
        Some(_) | None => Ok(()),
    }
}

fn running(reset: &Reset) -> ServerError {
    let Reset { group, id, host, actor, .. } = reset;
    let text = format!(
        "process {host} of {actor} resets the group {group} (reset {id}): repeat this command when that one \
         has ended, or 10 s after its process is gone"
    );
    ServerError::retryable("reset_running", text)
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;

    use super::*;

    fn held(age: Duration) -> HeldReset {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let reset = Reset {
            group: "g".into(),
            version: JobVersion::first(1),
            id: "r".into(),
            topic: "t".into(),
            state: ResetState::Open,
            targets: [(0, 5)].into(),
            job: String::new(),
            actor: "anna".into(),
            host: "h:1".into(),
            message: String::new(),
        };
        let written_at = Instant::now().checked_sub(age).unwrap();
        HeldReset { server: Server::behind(&listener), reset, owner: 1, written_at }
    }

    #[tokio::test]
    async fn a_reset_that_could_not_be_renewed_is_used_no_longer_before_it_expires() {
        assert!(held(Duration::ZERO).renew().await.is_ok());
        // The server does not answer; the listener is gone.
        assert!(held(RENEW_EVERY).renew().await.is_ok());
        let expired = held(LEASE).renew().await.unwrap_err();
        assert_eq!(expired.code, "reset_running");
        assert!(expired.message.contains("expires"), "{expired}");
        assert!(LEASE + Duration::from_secs(1) < Duration::from_secs(10));
    }

    #[test]
    fn a_group_that_another_command_resets_is_refused_by_name() {
        let reset = held(Duration::ZERO).reset;
        let refused =
            refuse_held(Some(&StoredReset { reset: reset.clone(), left_us: 1 })).unwrap_err();
        assert!(refused.message.contains("h:1 of anna resets the group g"), "{refused}");
        assert!(refuse_held(Some(&StoredReset { reset, left_us: 0 })).is_ok());
        assert!(refuse_held(None).is_ok());
    }
}
