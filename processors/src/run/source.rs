//! The interface that records are read from: the log, as one member of the consumer group sees it.

use std::collections::BTreeMap;
use std::sync::Arc;

use broker::ServerError;
use records::flow::block::{Block, SizeLimits};
use records::flow::start_policy::StartPosition;

/// A position, and the epoch of the assignment that it belongs to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct EpochPosition {
    /// Epoch of the assignment.
    pub epoch: u64,
    /// The next offset to read.
    pub position: i64,
}

/// Positions by partition.
pub type Positions = BTreeMap<i32, EpochPosition>;

/// A change of the assignment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Notice {
    /// A partition is assigned to this member, or is read from another position.
    Assigned {
        /// The partition.
        partition: i32,
        /// Epoch of the assignment.
        epoch: u64,
        /// The position where reading starts.
        start: StartPosition,
        /// What the broker holds as committed.
        committed: Option<i64>,
    },
    /// The group revokes partitions. The driver may finish the records that were read of them, and then
    /// has to [release](Source::release) them. No more records are read of them.
    RevocationRequested {
        /// The partitions.
        partitions: Vec<i32>,
    },
    /// A partition is no longer assigned to this member.
    Revoked {
        /// The partition.
        partition: i32,
    },
}

/// The log, as a member of the group sees it.
pub trait Source: Send + Sync + 'static {
    /// Waits for a record, then takes the records that have arrived, up to `limits`. May be dropped at
    /// any time without the loss of a record. It also keeps the membership: it must be called again
    /// within `max.poll.interval.ms`, even if all partitions are paused.
    fn fill(
        &self,
        block: &mut Block,
        limits: SizeLimits,
    ) -> impl Future<Output = Result<(), ServerError>> + Send;

    /// The changes of the assignment since the last call.
    fn take_notices(&self) -> Result<Vec<Notice>, ServerError>;

    /// Releases partitions of which the group [requested](Notice::RevocationRequested) it.
    fn release(&self, partitions: &[i32]) -> Result<(), ServerError>;

    /// Commits those of `positions` whose assignment still lasts, and waits for the reply. After an
    /// error they may be committed or not.
    fn commit(
        self: Arc<Self>,
        positions: Positions,
    ) -> impl Future<Output = Result<(), ServerError>> + Send;

    /// What the broker holds as committed for the assigned partitions.
    fn committed_positions(
        self: Arc<Self>,
    ) -> impl Future<Output = Result<Positions, ServerError>> + Send;

    /// Reads from `position` under a new epoch, which a notice reports.
    fn seek(
        self: Arc<Self>,
        partition: i32,
        position: i64,
    ) -> impl Future<Output = Result<(), ServerError>> + Send;

    /// Applies the start policy to each partition whose position is outside the log, under new epochs,
    /// which notices report.
    fn seek_into_log(self: Arc<Self>) -> impl Future<Output = Result<(), ServerError>> + Send;

    /// Stops fetching. The library fetches again later what it has fetched and the driver has not read.
    fn pause(&self) -> Result<(), ServerError>;

    /// Fetches again.
    fn resume(&self) -> Result<(), ServerError>;

    /// Records of each assigned partition that were not read yet, as of a moment ago.
    fn lag(&self) -> BTreeMap<i32, u64>;

    /// Whether records are read later than the log has them because of a limit that an operator has set.
    fn is_throttled(&self) -> bool {
        false
    }
}
