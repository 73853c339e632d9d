//! What was read and is not on its way yet: a block that grows, blocks that are being encoded, and
//! the batch that they join in the order of the log. A block of newer rules closes the batch.

use broker::ServerError;
use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use tokio::task::{JoinError, JoinSet};
use tokio::time::Instant;

use crate::flow::block::{Block, Limits};
use crate::flow::linger::Pace;
use crate::run::batch::{Batch, Encoded};
use crate::run::block_encoder::{Letters, Pipeline, Tables};

/// What is decoded together: enough that a dictionary pays, little enough for a cache.
const BLOCK: Limits = Limits { rows_max: 8_192, bytes_max: 4 << 20 };

/// A block's place in the order of the log.
type Number = u64;
/// What comes of encoding a block.
pub(crate) type EncodedBlock = Result<(Number, Encoded), ServerError>;

/// The gatherer.
#[derive(Debug)]
pub(crate) struct Gather {
    pace: Pace,
    /// What a block may hold.
    limits: Limits,
    /// Blocks that are encoded at once.
    blocks_max: usize,
    block: Block,
    since: Option<Instant>,
    encoding: JoinSet<EncodedBlock>,
    /// Blocks that wait for an earlier one.
    early: BTreeMap<Number, Encoded>,
    /// When the first record came of each block that was cut and has not joined.
    cut_since: VecDeque<Instant>,
    cut: Number,
    joined: Number,
    batch: Batch,
    batch_since: Option<Instant>,
    /// The batch is sent, however small, once this many blocks have joined.
    flush: Option<Number>,
}

impl Gather {
    pub(crate) fn new(pace: Pace, blocks_max: usize) -> Self {
        let rows_max = BLOCK.rows_max.min(pace.limits.rows_max);
        Self {
            pace,
            limits: Limits { rows_max, ..BLOCK },
            blocks_max,
            block: Block::default(),
            since: None,
            encoding: JoinSet::new(),
            early: BTreeMap::new(),
            cut_since: VecDeque::new(),
            cut: 0,
            joined: 0,
            batch: Batch::default(),
            batch_since: None,
            flush: None,
        }
    }

    /// What is waited for: the block that is read into, what it may hold, and the blocks that are
    /// being encoded.
    pub(crate) fn parts(&mut self) -> (&mut Block, Limits, &mut JoinSet<EncodedBlock>) {
        (&mut self.block, self.limits, &mut self.encoding)
    }

    /// Whether a block is as large as it may be and cannot go on: reading has to wait.
    pub(crate) fn is_blocked(&self) -> bool {
        self.block.is_full(self.limits) && !self.may_cut()
    }

    fn may_cut(&self) -> bool {
        self.encoding.len() < self.blocks_max && !self.is_full()
    }

    fn is_full(&self) -> bool {
        let Limits { rows_max, bytes_max } = self.pace.limits;
        self.batch.records >= rows_max || self.batch.bytes >= bytes_max || self.is_closed()
    }

    /// Whether the next block is there and was made by other rules than the batch.
    fn is_closed(&self) -> bool {
        self.early.get(&(self.joined + 1)).is_some_and(|next| !self.batch.takes(next))
    }

    /// Records that wait.
    pub(crate) fn records(&self) -> usize {
        self.block.rows() + self.batch.records
    }

    /// Bytes that wait.
    pub(crate) fn bytes(&self) -> usize {
        self.block.bytes() + self.batch.bytes
    }

    /// Whether nothing was read that is not on its way.
    pub(crate) fn is_empty(&self) -> bool {
        self.block.is_empty() && self.cut == self.joined && self.batch.records == 0
    }

    /// Notes that records came.
    pub(crate) fn read(&mut self) {
        if !self.block.is_empty() {
            self.since.get_or_insert_with(Instant::now);
        }
    }

    /// Sends a full block on to be encoded, if there is room.
    pub(crate) fn cut_when_full<T: Tables, L: Letters>(&mut self, pipeline: &Arc<Pipeline<T, L>>) {
        if self.block.is_full(self.limits) && self.may_cut() {
            self.cut(pipeline);
        }
    }

    fn cut<T: Tables, L: Letters>(&mut self, pipeline: &Arc<Pipeline<T, L>>) {
        let Some(since) = self.since.take() else { return };
        self.cut += 1;
        self.cut_since.push_back(since);
        let (number, block) = (self.cut, std::mem::replace(&mut self.block, pipeline.block()));
        let pipeline = Arc::clone(pipeline);
        // Taken here, where blocks are in order: a later block never has older rules.
        let rules = pipeline.rules();
        self.encoding.spawn(async move { Ok((number, pipeline.encode(block, rules).await?)) });
    }

    /// When what was read is to be sent, however little it is; `lag` records are in the log
    /// behind it.
    pub(crate) fn deadline(&self, lag: u64) -> Option<Instant> {
        let first = self.batch_since.or(self.cut_since.front().copied()).or(self.since);
        let wait: Duration = self.pace.wait(self.records(), lag);
        first.filter(|_| self.flush.is_none()).map(|first| first + wait)
    }

    /// From now on what was read so far is sent, however little it is.
    pub(crate) fn flush<T: Tables, L: Letters>(&mut self, pipeline: &Arc<Pipeline<T, L>>) {
        self.cut(pipeline);
        self.flush = Some(self.cut);
    }

    /// Whether something that [`Gather::flush`] saw is not on its way yet.
    pub(crate) fn is_flushing(&self) -> bool {
        self.flush.is_some()
    }

    /// Takes in an encoded block, in its turn.
    ///
    /// # Errors
    /// Its own.
    pub(crate) fn join(
        &mut self,
        encoded: Result<EncodedBlock, JoinError>,
    ) -> Result<(), ServerError> {
        let (number, encoded) =
            encoded.map_err(|error| ServerError::fatal("task_panicked", error))??;
        self.early.insert(number, encoded);
        self.settle();
        Ok(())
    }

    /// Lets blocks join that are next.
    fn settle(&mut self) {
        while !self.is_closed()
            && let Some(encoded) = self.early.remove(&(self.joined + 1))
        {
            self.joined += 1;
            let since = self.cut_since.pop_front();
            self.batch_since = self.batch_since.or(since);
            self.batch.join(encoded);
        }
    }

    /// Whether the batch is to be sent now.
    pub(crate) fn is_due(&self) -> bool {
        self.is_full() || self.flush.is_some_and(|last| self.joined >= last)
    }

    /// The batch, and an empty one in its place.
    pub(crate) fn take(&mut self) -> Batch {
        if self.flush.is_some_and(|last| self.joined >= last) {
            self.flush = None;
        }
        self.batch_since = None;
        let batch = std::mem::take(&mut self.batch);
        self.settle();
        batch
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The batches (rules, records) that blocks of these rules make, which finish in `order`.
    fn batches(rules: &[u64], order: &[usize]) -> Vec<(u64, usize)> {
        let limits = Limits { rows_max: 1_000, bytes_max: 1 << 20 };
        let mut gather = Gather::new(Pace { limits }, 4);
        gather.cut = rules.len() as u64;
        gather.flush = Some(gather.cut);
        let mut batches = Vec::new();
        for &block in order {
            let encoded = Encoded { rules: rules[block], records: 10, ..Encoded::default() };
            gather.join(Ok(Ok((block as u64 + 1, encoded)))).unwrap();
            while gather.is_due() {
                let batch = gather.take();
                batches.push((batch.rules, batch.records));
            }
        }
        assert!(gather.is_empty() && gather.early.is_empty());
        batches
    }

    #[test]
    fn every_batch_is_made_by_one_snapshot_of_the_rules() {
        let expected = [(1, 20), (2, 40), (3, 10)];
        let rules = [1, 1, 2, 2, 2, 2, 3];
        for order in [[0, 1, 2, 3, 4, 5, 6], [6, 5, 4, 3, 2, 1, 0], [2, 6, 0, 4, 1, 5, 3]] {
            assert_eq!(batches(&rules, &order), expected, "{order:?}");
        }
        assert_eq!(batches(&[1, 2, 1], &[2, 1, 0]), [(1, 10), (2, 10), (1, 10)]);
    }
}
