//! The batches in flight, which are being stored.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use broker::ServerError;
use records::flow::tracker::BatchId;
use tokio::task::{AbortHandle, JoinSet};

/// The state of a batch in flight: the bytes that it holds, and whether it only waits: for a decision about
/// its bad records, or for shards that do not take its rows. Clones share it.
#[derive(Debug, Clone, Default)]
pub struct BatchState(Arc<SharedState>);

#[derive(Debug)]
struct SharedState {
    bytes: AtomicUsize,
    /// Parts that are not done, of those that are worked on concurrently; at least one.
    parts: AtomicUsize,
    /// Of these, the parts that wait.
    waiting: AtomicUsize,
}

impl Default for SharedState {
    fn default() -> Self {
        let (bytes, parts, waiting) =
            (AtomicUsize::new(0), AtomicUsize::new(1), AtomicUsize::new(0));
        Self { bytes, parts, waiting }
    }
}

impl BatchState {
    /// A batch that holds this many bytes.
    pub(crate) fn new(bytes: usize) -> Self {
        let state = Self::default();
        state.set_bytes(bytes);
        state
    }

    /// Sets the bytes that it holds from now on.
    pub(crate) fn set_bytes(&self, bytes: usize) {
        self.0.bytes.store(bytes, Ordering::Relaxed);
    }

    /// It holds these bytes no longer.
    pub(crate) fn release_bytes(&self, bytes: usize) {
        self.set_bytes(self.bytes().saturating_sub(bytes));
    }

    /// From now on this many parts are worked on concurrently, until each is done.
    pub(crate) fn begin_parts(&self, parts: usize) {
        self.0.parts.store(parts.max(1), Ordering::Relaxed);
    }

    /// One of them is done. Something else follows the last one.
    pub(crate) fn part_done(&self) {
        let parts = self.0.parts.load(Ordering::Relaxed);
        self.begin_parts(parts.saturating_sub(1));
    }

    /// Waits; the batch counts as waiting while all of its parts wait.
    pub(crate) async fn wait_for<T>(&self, awaited: impl Future<Output = T>) -> T {
        self.0.waiting.fetch_add(1, Ordering::Relaxed);
        let output = awaited.await;
        self.0.waiting.fetch_sub(1, Ordering::Relaxed);
        output
    }

    /// The bytes that it holds.
    pub(crate) fn bytes(&self) -> usize {
        self.0.bytes.load(Ordering::Relaxed)
    }

    /// Whether all of its parts wait.
    pub(crate) fn is_waiting(&self) -> bool {
        self.0.waiting.load(Ordering::Relaxed) >= self.0.parts.load(Ordering::Relaxed)
    }
}

/// A batch in flight.
#[derive(Debug)]
struct InFlightBatch {
    state: BatchState,
    /// Its partitions, with the epochs under which their records were read.
    epochs: Vec<(i32, u64)>,
    task: AbortHandle,
}

/// Tasks that store batches.
#[derive(Debug, Default)]
pub(crate) struct InFlightBatches {
    tasks: JoinSet<Result<BatchId, ServerError>>,
    batches: BTreeMap<BatchId, InFlightBatch>,
    last: BatchId,
}

impl InFlightBatches {
    /// The id of the next batch.
    pub(crate) fn next_id(&mut self) -> BatchId {
        self.last += 1;
        self.last
    }

    /// Starts to store a batch with records of these partitions and epochs.
    pub(crate) fn start(
        &mut self,
        id: BatchId,
        epochs: Vec<(i32, u64)>,
        state: BatchState,
        store: impl Future<Output = Result<(), ServerError>> + Send + 'static,
    ) {
        let task = self.tasks.spawn(async move { store.await.map(|()| id) });
        let before = self.batches.insert(id, InFlightBatch { state, epochs, task });
        debug_assert!(before.is_none(), "a batch is started once");
    }

    /// Waits until a batch is stored; `None` if none is in flight. May be dropped at any time.
    pub(crate) async fn join_next(&mut self) -> Option<Result<BatchId, ServerError>> {
        loop {
            let stored = match self.tasks.join_next().await? {
                Ok(stored) => stored,
                // Of a batch that was dropped.
                Err(error) if error.is_cancelled() => continue,
                Err(error) => Err(ServerError::fatal("task_panicked", error)),
            };
            if let Ok(id) = &stored {
                self.batches.remove(id);
            }
            return Some(stored);
        }
    }

    /// Drops the waiting batches of which `is_current` is true for no partition and epoch: none of their
    /// records may be committed, and the next owners of their partitions read them again.
    pub(crate) fn drop_ended(&mut self, is_current: impl Fn(i32, u64) -> bool) {
        self.batches.retain(|_, batch| {
            let is_current = batch.epochs.iter().any(|(own, epoch)| is_current(*own, *epoch));
            let stays = is_current || !batch.state.is_waiting();
            if !stays {
                batch.task.abort();
            }
            stays
        });
    }

    /// Number of batches.
    pub(crate) fn len(&self) -> usize {
        self.batches.len()
    }

    /// Whether no batch is in flight.
    pub(crate) fn is_empty(&self) -> bool {
        self.batches.is_empty()
    }

    /// Batches that only wait: for a decision about their bad records, or for shards that do not take their
    /// rows.
    pub(crate) fn waiting(&self) -> usize {
        self.batches.values().filter(|batch| batch.state.is_waiting()).count()
    }

    /// Whether a batch is one of them.
    pub(crate) fn is_waiting(&self, id: BatchId) -> bool {
        self.batches.get(&id).is_some_and(|batch| batch.state.is_waiting())
    }

    /// Bytes of all of them.
    pub(crate) fn bytes(&self) -> usize {
        self.batches.values().map(|batch| batch.state.bytes()).sum()
    }
}
