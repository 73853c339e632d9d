//! The batcher: cuts blocks, has them encoded, and joins them into batches in the order of the log. A
//! block that another rule set enriched closes the batch.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use broker::ServerError;
use tokio::task::{JoinError, JoinSet};
use tokio::time::Instant;

use crate::flow::block::{Block, SizeLimits};
use crate::flow::linger::Linger;
use crate::run::batch::{Batch, EncodedBlock};
use crate::run::block_encoder::BlockEncoder;

/// What is decoded together: enough that a dictionary pays, little enough for a cache.
const BLOCK: SizeLimits = SizeLimits { rows_max: 8_192, bytes_max: 4 << 20 };

/// A block's place in the order of the log, from 1.
type BlockNumber = u64;
/// The outcome of encoding a block.
pub(crate) type EncodeOutcome = Result<(BlockNumber, EncodedBlock), ServerError>;

/// The block that is read into, the blocks that are being encoded, and the batch that they join.
#[derive(Debug)]
pub(crate) struct Batcher {
    linger: Linger,
    /// What a block may hold.
    limits: SizeLimits,
    /// Blocks that are encoded at once.
    blocks_max: usize,
    block: Block,
    block_since: Option<Instant>,
    encoding: JoinSet<EncodeOutcome>,
    /// Encoded blocks that wait for an earlier one, or for a batch of their rule set.
    encoded: BTreeMap<BlockNumber, EncodedBlock>,
    /// When the first record came of each block that was cut and has not joined.
    cut_since: VecDeque<Instant>,
    cut: BlockNumber,
    joined: BlockNumber,
    batch: Batch,
    batch_since: Option<Instant>,
    /// The batch is due, however small, once this block has joined.
    flush: Option<BlockNumber>,
}

impl Batcher {
    pub(crate) fn new(linger: Linger, blocks_max: usize) -> Self {
        let rows_max = BLOCK.rows_max.min(linger.limits.rows_max);
        Self {
            linger,
            limits: SizeLimits { rows_max, ..BLOCK },
            blocks_max,
            block: Block::default(),
            block_since: None,
            encoding: JoinSet::new(),
            encoded: BTreeMap::new(),
            cut_since: VecDeque::new(),
            cut: 0,
            joined: 0,
            batch: Batch::default(),
            batch_since: None,
            flush: None,
        }
    }

    /// What the driver waits for: the block that is read into, what it may hold, and the blocks that
    /// are being encoded.
    pub(crate) fn parts(&mut self) -> (&mut Block, SizeLimits, &mut JoinSet<EncodeOutcome>) {
        (&mut self.block, self.limits, &mut self.encoding)
    }

    /// Whether the block is full and cannot be cut: reading has to wait.
    pub(crate) fn is_blocked(&self) -> bool {
        self.block.is_full(self.limits) && !self.may_cut()
    }

    fn may_cut(&self) -> bool {
        self.encoding.len() < self.blocks_max && !self.is_full()
    }

    fn is_full(&self) -> bool {
        let SizeLimits { rows_max, bytes_max } = self.linger.limits;
        self.batch.records >= rows_max || self.batch.bytes >= bytes_max || self.is_closed()
    }

    /// Whether the next block is encoded and is of another rule set than the batch.
    fn is_closed(&self) -> bool {
        self.encoded.get(&(self.joined + 1)).is_some_and(|next| !self.batch.accepts(next))
    }

    /// Records that wait.
    pub(crate) fn records(&self) -> usize {
        self.block.rows() + self.batch.records
    }

    /// Bytes that wait.
    pub(crate) fn bytes(&self) -> usize {
        self.block.bytes() + self.batch.bytes
    }

    /// Whether every record that was read is in a batch that was taken.
    pub(crate) fn is_empty(&self) -> bool {
        self.block.is_empty() && self.cut == self.joined && self.batch.records == 0
    }

    /// Notes that records were read into the block.
    pub(crate) fn note_read(&mut self, now: Instant) {
        if !self.block.is_empty() {
            self.block_since.get_or_insert(now);
        }
    }

    /// Has a full block encoded, if another one may be.
    pub(crate) fn cut_when_full(&mut self, encoder: &Arc<BlockEncoder>) {
        if self.block.is_full(self.limits) && self.may_cut() {
            self.cut_block(encoder);
        }
    }

    fn cut_block(&mut self, encoder: &Arc<BlockEncoder>) {
        let Some(since) = self.block_since.take() else { return };
        self.cut += 1;
        self.cut_since.push_back(since);
        let (number, block) = (self.cut, std::mem::replace(&mut self.block, encoder.block()));
        let encoder = Arc::clone(encoder);
        // Taken here, where blocks are in order: a later block never has an older rule set.
        let rules = encoder.rules();
        self.encoding.spawn(async move { Ok((number, encoder.encode(block, rules).await?)) });
    }

    /// When the batch is to be flushed, however small; `lag` records are in the log behind it.
    pub(crate) fn deadline(&self, lag: u64) -> Option<Instant> {
        let first = self.batch_since.or(self.cut_since.front().copied()).or(self.block_since);
        let wait = self.linger.wait(self.records(), lag);
        first.filter(|_| self.flush.is_none()).map(|first| first + wait)
    }

    /// From now on, what was read so far is due, however little.
    pub(crate) fn flush(&mut self, encoder: &Arc<BlockEncoder>) {
        self.cut_block(encoder);
        self.flush = Some(self.cut);
    }

    /// Whether a block that [`Batcher::flush`] cut is in no batch that was taken.
    pub(crate) fn is_flushing(&self) -> bool {
        self.flush.is_some()
    }

    /// Adds an encoded block to the batch, in its turn.
    ///
    /// # Errors
    /// Its own.
    pub(crate) fn join(
        &mut self,
        encoded: Result<EncodeOutcome, JoinError>,
    ) -> Result<(), ServerError> {
        let (number, encoded) =
            encoded.map_err(|error| ServerError::fatal("task_panicked", error))??;
        debug_assert!(self.joined < number && number <= self.cut, "a block joins once");
        self.encoded.insert(number, encoded);
        self.append_next();
        Ok(())
    }

    /// Appends the blocks that are next.
    fn append_next(&mut self) {
        while !self.is_closed()
            && let Some(encoded) = self.encoded.remove(&(self.joined + 1))
        {
            self.joined += 1;
            let since = self.cut_since.pop_front();
            self.batch_since = self.batch_since.or(since);
            self.batch.append(encoded);
        }
    }

    /// Whether the batch is to be stored now.
    pub(crate) fn is_due(&self) -> bool {
        self.is_full() || self.flush.is_some_and(|last| self.joined >= last)
    }

    /// Takes the batch; the blocks that follow join an empty one.
    pub(crate) fn take_batch(&mut self) -> Batch {
        if self.flush.is_some_and(|last| self.joined >= last) {
            self.flush = None;
        }
        self.batch_since = None;
        let batch = std::mem::take(&mut self.batch);
        self.append_next();
        batch
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The batches (rule set, records) that blocks of these rule sets make, encoded in `order`.
    fn batches(rule_sets: &[u64], order: &[usize]) -> Vec<(u64, usize)> {
        let limits = SizeLimits { rows_max: 1_000, bytes_max: 1 << 20 };
        let mut batcher = Batcher::new(Linger { limits }, 4);
        batcher.cut = rule_sets.len() as u64;
        batcher.flush = Some(batcher.cut);
        let mut batches = Vec::new();
        for &block in order {
            let rule_set = rule_sets[block];
            let encoded = EncodedBlock { rule_set, records: 10, ..EncodedBlock::default() };
            batcher.join(Ok(Ok((block as u64 + 1, encoded)))).unwrap();
            while batcher.is_due() {
                let batch = batcher.take_batch();
                batches.push((batch.rule_set, batch.records));
            }
        }
        assert!(batcher.is_empty() && batcher.encoded.is_empty());
        batches
    }

    #[test]
    fn one_rule_set_enriches_a_batch() {
        let expected = [(1, 20), (2, 40), (3, 10)];
        let rule_sets = [1, 1, 2, 2, 2, 2, 3];
        for order in [[0, 1, 2, 3, 4, 5, 6], [6, 5, 4, 3, 2, 1, 0], [2, 6, 0, 4, 1, 5, 3]] {
            assert_eq!(batches(&rule_sets, &order), expected, "{order:?}");
        }
        assert_eq!(batches(&[1, 2, 1], &[2, 1, 0]), [(1, 10), (2, 10), (1, 10)]);
    }
}
