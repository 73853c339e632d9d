//! Backpressure: while no block may be cut, reading waits. It continues with paused partitions before
//! the group would remove the member.

use std::time::Duration;

use broker::ServerError;
use tokio::time::Instant;

use crate::run::source::Source;

/// How long reading may wait before partitions are paused, so that it can continue without records. The
/// library fetches again what it had fetched by then.
const PAUSE_AFTER: Duration = Duration::from_secs(2);

/// Whether reading waits, and whether partitions are paused.
#[derive(Debug, Default)]
pub(crate) struct Backpressure {
    blocked_since: Option<Instant>,
    paused: bool,
}

impl Backpressure {
    /// Whether the source may be read.
    pub(crate) fn may_read(&self) -> bool {
        self.blocked_since.is_none() || self.paused
    }

    /// When partitions are to be paused.
    pub(crate) fn pause_at(&self) -> Option<Instant> {
        self.blocked_since.filter(|_| !self.paused).map(|since| since + PAUSE_AFTER)
    }

    /// Pauses all partitions.
    pub(crate) fn pause(&mut self, source: &impl Source) -> Result<(), ServerError> {
        self.paused = true;
        source.pause()
    }

    /// After a read: pauses partitions that were assigned meanwhile.
    pub(crate) fn pause_new(&self, source: &impl Source) -> Result<(), ServerError> {
        if self.paused { source.pause() } else { Ok(()) }
    }

    /// Notes whether the batcher is blocked; resumes partitions when it no longer is.
    pub(crate) fn update(
        &mut self,
        is_blocked: bool,
        now: Instant,
        source: &impl Source,
    ) -> Result<(), ServerError> {
        if is_blocked {
            self.blocked_since.get_or_insert(now);
            return Ok(());
        }
        self.blocked_since = None;
        if std::mem::take(&mut self.paused) { source.resume() } else { Ok(()) }
    }
}
