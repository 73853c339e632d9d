//! A batch: encoded blocks that one insert, or a few, make durable, with their bad records.

use std::collections::BTreeMap;

use records::encode::encoded_rows::EncodedRows;
use records::error::RecordError;
use records::flow::block::{Block, Record};
use records::flow::offset_range::OffsetRanges;
use records::flow::record_sign::RecordSign;
use records::flow::storm_breaker::PendingRecords;
use schemas::TraceContext;
use schemas::bounds::DAY_US;
use tokio::time::Instant;

/// Maximum of links to requests that one batch keeps: the SDK's bound of links in a span.
const LINKS_MAX: usize = 128;

/// The insert that a row belongs to; in order, first all inserts of one shard.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct InsertKey {
    /// Index of the shard, from 0.
    pub shard: usize,
    /// The [`day_range`] of the rows.
    pub days: i64,
}

/// Rows by the insert that they belong to, block by block.
pub type RowsByInsert = BTreeMap<InsertKey, Vec<EncodedRows>>;

/// A block after enrichment: ready to be sent, in a fraction of its bytes.
#[derive(Debug, Default)]
pub struct EncodedBlock {
    /// The offsets that it covers.
    pub ranges: OffsetRanges,
    /// Number of the rule set that enriched its rows.
    pub rule_set: u64,
    /// Records, good and bad.
    pub records: usize,
    /// Its rows.
    pub rows: Vec<(InsertKey, EncodedRows)>,
    /// Its bad records.
    pub bad_records: Option<BadRecords>,
    /// Its records that are not rows, if the schema id of some is open; then there are no `bad_records`.
    pub open_records: Option<OpenRecords>,
    /// Traces of requests that were sampled.
    pub sampled: Vec<TraceContext>,
    /// Log time of its newest good record, milliseconds since 1970.
    pub newest_ms: Option<i64>,
}

/// Records that cannot become rows, unchanged.
#[derive(Debug)]
pub struct BadRecords {
    records: Block,
    errors: Vec<RecordError>,
    /// The suspect ones, for which the storm breaker has to decide.
    pub pending: Option<PendingRecords>,
}

impl BadRecords {
    /// Records, each with its error.
    pub fn new(records: Block, errors: Vec<RecordError>, pending: Option<PendingRecords>) -> Self {
        assert_eq!(records.rows(), errors.len(), "every bad record has its error");
        Self { records, errors, pending }
    }

    fn bytes(&self) -> usize {
        let errors = self.errors.iter().map(RecordError::memory_bytes).sum::<usize>();
        self.records.memory_bytes() + errors
    }

    /// Each with its error.
    pub fn iter(&self) -> impl Iterator<Item = (Record<'_>, &RecordError)> {
        self.records.records().zip(&self.errors)
    }
}

/// Records of a block that are not rows, of which some have a schema id that the subject may get soon.
/// The storm breaker counts the block when all ids are known or refused.
#[derive(Debug)]
pub struct OpenRecords {
    /// The records, unchanged.
    pub records: Block,
    /// The sign of each record of the block that no redrive sent, valid ones included.
    pub signs: Vec<RecordSign>,
    /// Time of the first look-up at the registry.
    pub since: Instant,
}

impl OpenRecords {
    fn bytes(&self) -> usize {
        self.records.memory_bytes() + self.signs.capacity() * size_of::<RecordSign>()
    }
}

/// Blocks in the order of the log.
#[derive(Debug, Default)]
pub struct Batch {
    /// The offsets that it covers.
    pub ranges: OffsetRanges,
    /// Number of the rule set that enriched all of its rows.
    pub rule_set: u64,
    /// Records, good and bad.
    pub records: usize,
    /// Bytes held.
    pub bytes: usize,
    /// Its rows: one insert for each key.
    pub rows: RowsByInsert,
    /// Bad records of each block that has some.
    pub bad_records: Vec<BadRecords>,
    /// Records that are not rows, of each block with an open schema id.
    pub open_records: Vec<OpenRecords>,
    /// Traces of some requests that were sampled.
    pub sampled: Vec<TraceContext>,
    /// Log time of the newest good record, milliseconds since 1970.
    pub newest_ms: Option<i64>,
}

impl Batch {
    /// Whether a block may join the batch: one rule set enriches all rows of a batch.
    pub fn accepts(&self, block: &EncodedBlock) -> bool {
        self.records == 0 || self.rule_set == block.rule_set
    }

    /// Bytes of its records that are not rows. It holds them until they are dead letters or rows.
    pub fn undecided_bytes(&self) -> usize {
        let bad = self.bad_records.iter().map(BadRecords::bytes).sum::<usize>();
        bad + self.open_records.iter().map(OpenRecords::bytes).sum::<usize>()
    }

    /// Appends the block that was read next.
    pub fn append(&mut self, block: EncodedBlock) {
        debug_assert!(self.accepts(&block), "a block of another rule set joins the batch");
        self.rule_set = block.rule_set;
        self.ranges.extend(&block.ranges);
        self.records += block.records;
        self.bytes += block.bytes();
        for (key, rows) in block.rows {
            self.rows.entry(key).or_default().push(rows);
        }
        self.bad_records.extend(block.bad_records);
        self.open_records.extend(block.open_records);
        let free = LINKS_MAX.saturating_sub(self.sampled.len());
        self.sampled.extend(block.sampled.into_iter().take(free));
        self.newest_ms = self.newest_ms.max(block.newest_ms);
    }
}

impl EncodedBlock {
    /// Bytes held.
    pub fn bytes(&self) -> usize {
        let bad = self.bad_records.as_ref().map_or(0, BadRecords::bytes);
        let open = self.open_records.as_ref().map_or(0, OpenRecords::bytes);
        self.rows.iter().map(|(_, rows)| rows.bytes()).sum::<usize>() + bad + open
    }
}

/// Days that one insert covers at most. The server writes a part for each day, so an insert of years
/// would take minutes. Rows of other ranges go into other inserts.
const DAYS_PER_INSERT: i64 = 32;

/// The range of days of a time (microseconds since 1970).
pub fn day_range(occurred_at: i64) -> i64 {
    occurred_at.div_euclid(DAY_US).div_euclid(DAYS_PER_INSERT)
}

#[cfg(test)]
mod tests {
    use super::*;
    use records::flow::block::RecordMetadata;
    use schemas::SchemaId;

    #[test]
    fn h1_what_a_batch_holds_of_records_without_bytes_is_counted() {
        let mut records = Block::default();
        for offset in 0..1_000 {
            let metadata = RecordMetadata { partition: 0, offset, epoch: 1, logged_at_ms: 0 };
            records.push(metadata, None, None, std::iter::empty());
        }
        let errors = (0..1_000).map(|_| RecordError::SchemaUnusable(SchemaId(1), "x".repeat(500)));
        let bad_records = Some(BadRecords::new(records, errors.collect(), None));
        let block = EncodedBlock { bad_records, records: 1_000, ..EncodedBlock::default() };
        let mut batch = Batch::default();
        batch.append(block);
        assert!(batch.bytes > 1_000 * (500 + 50), "{}", batch.bytes);
        assert_eq!(batch.undecided_bytes(), batch.bytes);
    }

    #[test]
    fn a_day_range_begins_with_a_day_also_before_1970() {
        assert_eq!(day_range(0), day_range(DAYS_PER_INSERT * DAY_US - 1));
        assert_eq!(day_range(0) + 1, day_range(DAYS_PER_INSERT * DAY_US));
        assert_eq!(day_range(-1), -1);
    }
}
