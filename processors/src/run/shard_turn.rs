//! The turn of a shard: while its inserts fail, or rows are late, its batches insert one after the other.

use std::sync::atomic::{AtomicU32, Ordering};

use broker::Backoff;
use tokio::sync::{Mutex, MutexGuard};

/// What the batches in flight share of one shard.
#[derive(Debug, Default)]
pub(super) struct ShardTurn {
    /// Inserts that failed since the last one that succeeded.
    failures: AtomicU32,
    turn: Mutex<()>,
}

impl ShardTurn {
    /// Whether its last insert failed.
    pub(super) fn is_failing(&self) -> bool {
        self.failures.load(Ordering::Relaxed) > 0
    }

    /// An insert was acknowledged.
    pub(super) fn succeeded(&self) {
        self.failures.store(0, Ordering::Relaxed);
    }

    /// An insert failed.
    pub(super) fn failed(&self) {
        self.failures.fetch_add(1, Ordering::Relaxed);
    }

    /// Waits for the turn, and holds it until the guard is dropped.
    pub(super) async fn take(&self) -> MutexGuard<'_, ()> {
        self.turn.lock().await
    }

    /// As [`ShardTurn::take`]; then waits longer after each failure, whichever batch it was of: any number of
    /// batches makes as few attempts as one.
    pub(super) async fn take_after_delay(&self) -> MutexGuard<'_, ()> {
        let held = self.take().await;
        if let Some(tries) = self.failures.load(Ordering::Relaxed).checked_sub(1) {
            tokio::time::sleep(Backoff::SERVERS.random_delay(tries)).await;
        }
        held
    }
}
