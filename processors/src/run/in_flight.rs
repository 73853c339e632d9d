//! The batches in flight: those that are being stored.

use std::collections::BTreeMap;

use broker::ServerError;
use tokio::task::JoinSet;

use crate::flow::tracker::BatchId;

/// Tasks that store batches, and the bytes that they hold.
#[derive(Debug, Default)]
pub(crate) struct InFlightBatches {
    tasks: JoinSet<Result<BatchId, ServerError>>,
    bytes: BTreeMap<BatchId, usize>,
    last: BatchId,
}

impl InFlightBatches {
    /// The id of the next batch.
    pub(crate) fn next_id(&mut self) -> BatchId {
        self.last += 1;
        self.last
    }

    /// Starts to store a batch.
    pub(crate) fn start(
        &mut self,
        id: BatchId,
        bytes: usize,
        store: impl Future<Output = Result<(), ServerError>> + Send + 'static,
    ) {
        let before = self.bytes.insert(id, bytes);
        debug_assert_eq!(before, None, "a batch is started once");
        self.tasks.spawn(async move { store.await.map(|()| id) });
    }

    /// Waits until one is stored; `None` if there is none. May be dropped at any time.
    pub(crate) async fn join_next(&mut self) -> Option<Result<BatchId, ServerError>> {
        let joined = self.tasks.join_next().await?;
        let stored = joined.unwrap_or_else(|error| Err(ServerError::fatal("task_panicked", error)));
        if let Ok(id) = &stored {
            self.bytes.remove(id);
        }
        Some(stored)
    }

    /// How many there are.
    pub(crate) fn len(&self) -> usize {
        self.tasks.len()
    }

    /// Whether there is none.
    pub(crate) fn is_empty(&self) -> bool {
        self.tasks.is_empty()
    }

    /// Bytes of all of them.
    pub(crate) fn bytes(&self) -> usize {
        self.bytes.values().sum()
    }
}
