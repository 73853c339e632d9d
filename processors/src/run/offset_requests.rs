//! Requests to the broker about offsets: commits, seeks, and queries of the committed positions. One
//! request is in flight at a time.
#![expect(clippy::disallowed_methods, reason = "queries the broker periodically")]

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use broker::ServerError;
use tokio::task::JoinSet;
use tokio::time::Instant;

use crate::run::source::{EpochPosition, Positions, Source};

/// Interval between two queries of the committed positions.
const QUERY_EVERY: Duration = Duration::from_secs(15);

/// The outcome of a request.
#[derive(Debug)]
pub(crate) enum BrokerReply {
    /// Of a commit of these positions.
    Commit(Positions, Result<(), ServerError>),
    /// Of a query of the committed positions.
    Query(Result<Positions, ServerError>),
    /// Of a seek in one partition.
    Seek {
        /// The partition.
        partition: i32,
        /// The target of the seek.
        position: i64,
        /// Whether it succeeded.
        outcome: Result<(), ServerError>,
    },
    /// Of a seek in all partitions whose position is outside the log.
    SeekIntoLog(Result<(), ServerError>),
}

/// The requests to send, and the request in flight.
#[derive(Debug)]
pub(crate) struct OffsetRequests {
    commits: Positions,
    /// Positions to which another client reset partitions.
    seeks: BTreeMap<i32, i64>,
    /// Some position is outside the log.
    position_lost: bool,
    /// At most one task.
    in_flight: JoinSet<BrokerReply>,
    queried: Instant,
}

impl OffsetRequests {
    pub(crate) fn new() -> Self {
        Self {
            commits: Positions::new(),
            seeks: BTreeMap::new(),
            position_lost: false,
            in_flight: JoinSet::new(),
            queried: Instant::now(),
        }
    }

    /// Requests a commit. It replaces a commit of the same partition that was not sent.
    pub(crate) fn commit(&mut self, partition: i32, position: EpochPosition) {
        self.commits.insert(partition, position);
    }

    /// Drops a commit that was not sent.
    pub(crate) fn cancel_commit(&mut self, partition: i32) {
        self.commits.remove(&partition);
    }

    /// Requests to read a partition from a position.
    pub(crate) fn seek(&mut self, partition: i32, position: i64) {
        self.seeks.insert(partition, position);
    }

    /// Requests a seek in all partitions whose position is outside the log.
    pub(crate) fn seek_into_log(&mut self) {
        self.position_lost = true;
    }

    /// Drops the requests that were not sent, for a partition that was revoked.
    pub(crate) fn forget(&mut self, partition: i32) {
        self.commits.remove(&partition);
        self.seeks.remove(&partition);
    }

    /// Whether no request is in flight.
    pub(crate) fn is_idle(&self) -> bool {
        self.in_flight.is_empty()
    }

    /// Sends the next request, unless one is in flight: commits first, then seeks, then, periodically, a
    /// query.
    pub(crate) fn send_next<S: Source>(&mut self, source: &Arc<S>) {
        debug_assert!(self.in_flight.len() <= 1, "one request at a time");
        if !self.is_idle() {
            return;
        }
        let source = Arc::clone(source);
        if !self.commits.is_empty() {
            let positions = std::mem::take(&mut self.commits);
            self.in_flight.spawn(async move {
                let outcome = source.commit(positions.clone()).await;
                BrokerReply::Commit(positions, outcome)
            });
        } else if let Some((partition, position)) = self.seeks.pop_first() {
            self.in_flight.spawn(async move {
                let outcome = source.seek(partition, position).await;
                BrokerReply::Seek { partition, position, outcome }
            });
        } else if std::mem::take(&mut self.position_lost) {
            self.in_flight
                .spawn(async move { BrokerReply::SeekIntoLog(source.seek_into_log().await) });
        } else if self.queried.elapsed() >= QUERY_EVERY {
            self.queried = Instant::now();
            self.in_flight
                .spawn(async move { BrokerReply::Query(source.committed_positions().await) });
        }
    }

    /// Waits for the reply; `None` if no request is in flight. May be dropped at any time.
    pub(crate) async fn next_reply(&mut self) -> Option<Result<BrokerReply, ServerError>> {
        let joined = self.in_flight.join_next().await?;
        Some(joined.map_err(|error| ServerError::fatal("task_panicked", error)))
    }
}
