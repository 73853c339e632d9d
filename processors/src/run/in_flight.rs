//! The batches in flight, which are being stored.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use broker::ServerError;
use tokio::task::JoinSet;

use crate::flow::tracker::BatchId;

/// The bytes that a batch in flight holds; clones share them.
#[derive(Debug, Clone, Default)]
pub struct HeldBytes(Arc<AtomicUsize>);

impl HeldBytes {
    /// A batch that holds this many bytes.
    pub(crate) fn new(bytes: usize) -> Self {
        Self(Arc::new(AtomicUsize::new(bytes)))
    }

    /// Sets the bytes that it holds from now on.
    pub(crate) fn set(&self, bytes: usize) {
        self.0.store(bytes, Ordering::Relaxed);
    }

    /// The bytes that it holds.
    pub(crate) fn get(&self) -> usize {
        self.0.load(Ordering::Relaxed)
    }
}

/// Tasks that store batches, and the bytes that they hold.
#[derive(Debug, Default)]
pub(crate) struct InFlightBatches {
    tasks: JoinSet<Result<BatchId, ServerError>>,
    held: BTreeMap<BatchId, HeldBytes>,
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
        held: HeldBytes,
        store: impl Future<Output = Result<(), ServerError>> + Send + 'static,
    ) {
        let before = self.held.insert(id, held);
        debug_assert!(before.is_none(), "a batch is started once");
        self.tasks.spawn(async move { store.await.map(|()| id) });
    }

    /// Waits until a batch is stored; `None` if none is in flight. May be dropped at any time.
    pub(crate) async fn join_next(&mut self) -> Option<Result<BatchId, ServerError>> {
        let joined = self.tasks.join_next().await?;
        let stored = joined.unwrap_or_else(|error| Err(ServerError::fatal("task_panicked", error)));
        if let Ok(id) = &stored {
            self.held.remove(id);
        }
        Some(stored)
    }

    /// Number of batches.
    pub(crate) fn len(&self) -> usize {
        self.tasks.len()
    }

    /// Whether no batch is in flight.
    pub(crate) fn is_empty(&self) -> bool {
        self.tasks.is_empty()
    }

    /// Bytes of all of them.
    pub(crate) fn bytes(&self) -> usize {
        self.held.values().map(HeldBytes::get).sum()
    }
}
