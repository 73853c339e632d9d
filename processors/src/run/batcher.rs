//! The batcher: cuts blocks, starts their encoding, and joins them into batches in the order of the log.
//! A block that another rule set enriched closes the batch.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use broker::ServerError;
use records::flow::block::{Block, SizeLimits};
use records::flow::linger::Linger;
use tokio::task::{JoinError, JoinSet};
use tokio::time::Instant;

use crate::run::batch::{Batch, EncodedBlock};
use crate::run::block_encoder::BlockEncoder;

/// Bounds of a block: large enough for a dictionary to save bytes, small enough for the processor cache.
const BLOCK: SizeLimits = SizeLimits { rows_max: 8_192, bytes_max: 4 << 20 };
/// Blocks that were cut and have not joined the batch, for each block that may be encoded concurrently.
/// More than one, so that a slow block does not stop the encoding of later ones; bounded, because the
/// earliest block may wait for the registry.
const CUT_PER_ENCODING: usize = 2;

/// A block's place in the order of the log, from 1.
type BlockNumber = u64;
/// The outcome of encoding a block.
pub(crate) type EncodeOutcome = Result<(BlockNumber, EncodedBlock), ServerError>;

/// A block that was cut and has not joined the batch.
#[derive(Debug)]
struct CutBlock {
    /// When its first record was read.
    since: Instant,
    rows: usize,
    /// Of its records; once it is encoded, of its rows.
    bytes: usize,
}

/// The block that is read into, the blocks that are being encoded, and the batch that they join.
#[derive(Debug)]
pub(crate) struct Batcher {
    linger: Linger,
    /// Bounds of a block.
    limits: SizeLimits,
    /// Maximum of blocks that are encoded concurrently.
    blocks_max: usize,
    block: Block,
    block_since: Option<Instant>,
    encoding: JoinSet<EncodeOutcome>,
    /// Encoded blocks that wait for an earlier one, or for a batch of their rule set.
    encoded: BTreeMap<BlockNumber, EncodedBlock>,
    /// The blocks after `joined`, up to `cut`: being encoded, or in `encoded`.
    waiting: VecDeque<CutBlock>,
    cut: BlockNumber,
    joined: BlockNumber,
    batch: Batch,
    batch_since: Option<Instant>,
    /// The batch is due, whatever its size, when this block has joined.
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
            waiting: VecDeque::new(),
            cut: 0,
            joined: 0,
            batch: Batch::default(),
            batch_since: None,
            flush: None,
        }
    }

    /// The parts that the driver waits for: the block that is read into, its bounds, and the blocks that
    /// are being encoded.
    pub(crate) fn parts(&mut self) -> (&mut Block, SizeLimits, &mut JoinSet<EncodeOutcome>) {
        (&mut self.block, self.limits, &mut self.encoding)
    }

    /// Whether the block is full and cannot be cut: reading has to wait.
    pub(crate) fn is_blocked(&self) -> bool {
        self.block.is_full(self.limits) && !self.may_cut()
    }

    fn may_cut(&self) -> bool {
        let has_room = self.waiting.len() < self.waiting_max();
        self.encoding.len() < self.blocks_max && has_room && !self.is_full()
    }

    /// The bound of [`Batcher::waiting_blocks`].
    pub(crate) fn waiting_max(&self) -> usize {
        self.blocks_max * CUT_PER_ENCODING
    }

    /// Blocks that were cut and have not joined the batch.
    pub(crate) fn waiting_blocks(&self) -> usize {
        self.waiting.len()
    }

    /// Their bytes.
    pub(crate) fn waiting_bytes(&self) -> usize {
        self.waiting.iter().map(|block| block.bytes).sum()
    }

    fn is_full(&self) -> bool {
        let SizeLimits { rows_max, bytes_max } = self.linger.limits;
        self.batch.records >= rows_max || self.batch.bytes >= bytes_max || self.is_closed()
    }

    /// Whether the next block is encoded and is of another rule set than the batch.
    fn is_closed(&self) -> bool {
        self.encoded.get(&(self.joined + 1)).is_some_and(|next| !self.batch.accepts(next))
    }

    /// Records in the block that is read into and in the batch.
    pub(crate) fn records(&self) -> usize {
        self.block.rows() + self.batch.records
    }

    /// Their bytes.
    pub(crate) fn bytes(&self) -> usize {
        self.block.bytes() + self.batch.bytes
    }

    /// Whether every record that was read is in a batch that was taken.
    pub(crate) fn is_empty(&self) -> bool {
        self.block.is_empty() && self.cut == self.joined && self.batch.ranges.is_empty()
    }

    /// Notes that records were read into the block.
    pub(crate) fn note_read(&mut self, now: Instant) {
        if !self.block.is_empty() {
            self.block_since.get_or_insert(now);
        }
    }

    /// Cuts the block that is read into, and starts its encoding, if it is full or to be flushed, and if
    /// another block may be cut.
    pub(crate) fn cut_when_due(&mut self, encoder: &Arc<BlockEncoder>) {
        let is_due = self.block.is_full(self.limits) || self.flush > Some(self.cut);
        if is_due && self.may_cut() {
            self.cut_block(encoder);
        }
    }

    fn cut_block(&mut self, encoder: &Arc<BlockEncoder>) {
        let Some(number) = self.number_block() else { return };
        let block = std::mem::replace(&mut self.block, encoder.block());
        let encoder = Arc::clone(encoder);
        // Loads the rule set here, where blocks are in order: a later block never has an older one.
        let rules = encoder.rules();
        self.encoding.spawn(async move { Ok((number, encoder.encode(block, rules).await?)) });
    }

    /// Numbers the block that is read into, unless it is empty: it waits to join the batch.
    fn number_block(&mut self) -> Option<BlockNumber> {
        let since = self.block_since.take()?;
        let (rows, bytes) = (self.block.rows(), self.block.bytes());
        self.waiting.push_back(CutBlock { since, rows, bytes });
        self.cut += 1;
        debug_assert_eq!(
            self.cut - self.joined,
            self.waiting.len() as u64,
            "each block waits once"
        );
        Some(self.cut)
    }

    /// When the batch is to be flushed, whatever its size; `lag` records of the log were not read yet.
    pub(crate) fn deadline(&self, lag: u64) -> Option<Instant> {
        let first_cut = self.waiting.front().map(|block| block.since);
        let first = self.batch_since.or(first_cut).or(self.block_since);
        let waiting: usize = self.waiting.iter().map(|block| block.rows).sum();
        let wait = self.linger.wait(self.records() + waiting, lag);
        first.filter(|_| self.flush.is_none()).map(|first| first + wait)
    }

    /// Makes the records due that were read so far, whatever their number. The block that is read into
    /// is cut as soon as another block may be cut.
    pub(crate) fn flush(&mut self, encoder: &Arc<BlockEncoder>) {
        self.flush = Some(self.cut + u64::from(self.block_since.is_some()));
        self.cut_when_due(encoder);
    }

    /// Whether a flush has not ended: its last block is not in a batch that was taken.
    pub(crate) fn is_flushing(&self) -> bool {
        self.flush.is_some()
    }

    /// Adds an encoded block to the batch, in the order of the log.
    ///
    /// # Errors
    /// The error of the encoding.
    pub(crate) fn join(
        &mut self,
        encoded: Result<EncodeOutcome, JoinError>,
    ) -> Result<(), ServerError> {
        let (number, encoded) =
            encoded.map_err(|error| ServerError::fatal("task_panicked", error))??;
        debug_assert!(self.joined < number && number <= self.cut, "a block joins once");
        let ahead = usize::try_from(number - self.joined - 1).ok();
        if let Some(block) = ahead.and_then(|ahead| self.waiting.get_mut(ahead)) {
            block.bytes = encoded.bytes();
        }
        self.encoded.insert(number, encoded);
        self.append_next();
        Ok(())
    }

    /// Appends the encoded blocks that are next in order.
    fn append_next(&mut self) {
        while !self.is_closed()
            && let Some(encoded) = self.encoded.remove(&(self.joined + 1))
        {
            self.joined += 1;
            let since = self.waiting.pop_front().map(|block| block.since);
            self.batch_since = self.batch_since.or(since);
            self.batch.append(encoded);
        }
    }

    /// Whether the batch is due.
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
#[expect(clippy::disallowed_methods, reason = "a test starts at the time of its runtime")]
mod tests {
    use super::*;
    use records::flow::offset_range::OffsetRange;

    const LIMITS: SizeLimits = SizeLimits { rows_max: 1_000, bytes_max: 1 << 20 };

    /// A batcher that was given this many blocks to encode.
    fn cut_blocks(blocks: usize) -> Batcher {
        let mut batcher = Batcher::new(Linger { limits: LIMITS }, 4);
        for _ in 0..blocks {
            batcher.block_since = Some(Instant::now());
            batcher.number_block();
        }
        batcher
    }

    /// The batches (rule set, records) that blocks of these rule sets make, encoded in `order`.
    fn batches(rule_sets: &[u64], order: &[usize]) -> Vec<(u64, usize)> {
        let mut batcher = cut_blocks(rule_sets.len());
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

    #[test]
    fn offsets_without_a_record_are_a_batch_whose_end_can_be_committed() {
        let mut batcher = cut_blocks(0);
        let gap = OffsetRange { epoch: 1, first: 17, next: 20 };
        batcher.block.push_gap(3, gap);
        batcher.note_read(Instant::now());
        assert!(!batcher.is_empty());
        let ranges = batcher.block.ranges().clone();
        assert_eq!(batcher.number_block(), Some(1));
        batcher.block.clear();
        batcher.flush = Some(1);
        batcher.join(Ok(Ok((1, EncodedBlock { ranges, ..EncodedBlock::default() })))).unwrap();
        assert!(batcher.is_due() && !batcher.is_empty());
        let batch = batcher.take_batch();
        assert_eq!((batch.records, batch.ranges.iter().collect()), (0, vec![(3, gap)]));
        assert!(batcher.is_empty());
    }

    #[test]
    fn encoded_blocks_that_wait_for_an_earlier_block_are_bounded() {
        let mut batcher = cut_blocks(1);
        let block = || EncodedBlock { records: 10, ..EncodedBlock::default() };
        while batcher.may_cut() {
            batcher.block_since = Some(Instant::now());
            let number = batcher.number_block().unwrap();
            assert!(number <= 100, "reading never waits");
            batcher.join(Ok(Ok((number, block())))).unwrap();
        }
        assert_eq!((batcher.waiting_blocks(), batcher.waiting_max()), (8, 8));
        assert_eq!((batcher.encoded.len(), batcher.records()), (7, 0));
        batcher.join(Ok(Ok((1, block())))).unwrap();
        assert_eq!((batcher.waiting_blocks(), batcher.records()), (0, 80));
        assert!(batcher.may_cut());
    }

    #[test]
    fn a_flush_waits_for_room_and_takes_the_block_that_is_read_into() {
        let mut batcher = cut_blocks(8);
        batcher.block_since = Some(Instant::now());
        batcher.flush = Some(9);
        assert!(!batcher.may_cut() && batcher.is_flushing() && !batcher.is_due());
        for number in 1..=8 {
            batcher.join(Ok(Ok((number, EncodedBlock::default())))).unwrap();
        }
        assert!(batcher.may_cut() && !batcher.is_due());
        assert_eq!(batcher.number_block(), Some(9));
        batcher.join(Ok(Ok((9, EncodedBlock { records: 1, ..EncodedBlock::default() })))).unwrap();
        assert!(batcher.is_due());
        assert_eq!(batcher.take_batch().records, 1);
        assert!(!batcher.is_flushing());
    }
}
