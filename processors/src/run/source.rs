//! The log as a member of the group sees it: what the driver asks of it, whoever answers.

use broker::ServerError;
use std::collections::BTreeMap;
use std::future::Future;
use std::sync::Arc;

use crate::flow::block::{Block, Limits};
use crate::flow::start_policy::Start;

/// Positions by partition, each with the epoch of the assignment that it belongs to.
pub type Positions = BTreeMap<i32, (u64, i64)>;

/// Something that happened to the assignment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Notice {
    /// A partition is ours from a position on.
    Assigned {
        /// Which.
        partition: i32,
        /// Of the assignment.
        epoch: u64,
        /// Where reading starts.
        start: Start,
        /// What the broker holds as committed.
        committed: Option<i64>,
    },
    /// The group wants partitions back: what was read of them may be finished, then they are to
    /// be [released](Log::release). No more is read of them.
    Asked {
        /// Which.
        partitions: Vec<i32>,
    },
    /// A partition is no longer ours.
    Ended {
        /// Which.
        partition: i32,
    },
}

/// The log, as a member of the group sees it.
pub trait Log: Send + Sync + 'static {
    /// Waits for a record, then takes what is there without waiting, until `limits`. May be
    /// dropped at any time without losing a record. It also keeps the membership alive: it must
    /// be called again within `max.poll.interval.ms`, if only with all partitions paused.
    fn fill(
        &self,
        block: &mut Block,
        limits: Limits,
    ) -> impl Future<Output = Result<(), ServerError>> + Send;

    /// What happened to the assignment since the last call.
    fn notices(&self) -> Result<Vec<Notice>, ServerError>;

    /// Gives back what was [asked for](Notice::Asked).
    fn release(&self, partitions: &[i32]) -> Result<(), ServerError>;

    /// Commits those of `positions` whose assignment still lasts, and waits for the answer. After
    /// an error they may stand or not.
    fn commit(
        self: Arc<Self>,
        positions: Positions,
    ) -> impl Future<Output = Result<(), ServerError>> + Send;

    /// What the broker holds as committed for the partitions that are ours.
    fn committed(self: Arc<Self>) -> impl Future<Output = Result<Positions, ServerError>> + Send;

    /// Reads on from `position` under a new epoch, which a notice tells.
    fn read_from(
        self: Arc<Self>,
        partition: i32,
        position: i64,
    ) -> impl Future<Output = Result<(), ServerError>> + Send;

    /// Reads on by the start policy wherever a position lies outside the log, under new epochs, which
    /// notices tell.
    fn realign(self: Arc<Self>) -> impl Future<Output = Result<(), ServerError>> + Send;

    /// Stops fetching; what was fetched and not yet handed out is fetched again later.
    fn pause(&self) -> Result<(), ServerError>;

    /// Fetches again.
    fn resume(&self) -> Result<(), ServerError>;

    /// Records of each partition of ours that were not read yet, as of a moment ago.
    fn lag(&self) -> BTreeMap<i32, u64>;
}
