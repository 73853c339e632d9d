//! What one insert statement, or a few, make durable together: blocks that were decoded, enriched
//! and encoded, and what of them can never be a row.

use std::collections::BTreeMap;

use schemas::TraceContext;
use schemas::bounds::DAY_US;

use crate::encode::encoded_rows::Rows;
use crate::error::RecordError;
use crate::flow::block::{Block, Record};
use crate::flow::span::Spans;
use crate::flow::storm_breaker::Held;

/// Links to clicks that one batch keeps: as many as a span holds (the SDK's own bound).
const LINKS_MAX: usize = 128;

/// A block after the rules: ready to be sent, in a fraction of its bytes.
#[derive(Debug, Default)]
pub struct Encoded {
    /// What it covers.
    pub spans: Spans,
    /// Number of the snapshot of the rules that made its rows.
    pub rules: u64,
    /// Records, good and bad.
    pub records: usize,
    /// Its rows, by [`stretch`] of days.
    pub rows: Vec<(i64, Rows)>,
    /// Its bad records.
    pub bad: Option<Bad>,
    /// Requests that were sampled.
    pub sampled: Vec<TraceContext>,
    /// Log time of its newest good record, milliseconds since 1970.
    pub newest_ms: Option<i64>,
}

/// Records that can never be a row, as they stood in the log.
#[derive(Debug)]
pub struct Bad {
    /// Their bytes.
    pub records: Block,
    /// Of each, why.
    pub errors: Vec<RecordError>,
    /// What the breaker has to decide about.
    pub held: Held,
}

impl Bad {
    /// Each with its reason.
    pub fn iter(&self) -> impl Iterator<Item = (Record<'_>, &RecordError)> {
        self.records.records().zip(&self.errors)
    }
}

/// Blocks in the order of the log.
#[derive(Debug, Default)]
pub struct Batch {
    /// What it covers.
    pub spans: Spans,
    /// Number of the snapshot of the rules that made all of its rows.
    pub rules: u64,
    /// Records, good and bad.
    pub records: usize,
    /// Bytes held.
    pub bytes: usize,
    /// Rows by stretch of days: one insert each.
    pub stretches: BTreeMap<i64, Vec<Rows>>,
    /// Bad records of each block that has some.
    pub bad: Vec<Bad>,
    /// Some requests that were sampled.
    pub sampled: Vec<TraceContext>,
    /// Log time of the newest good record, milliseconds since 1970.
    pub newest_ms: Option<i64>,
}

impl Batch {
    /// Whether a block may join: all rows of a batch are made by one snapshot of the rules.
    pub fn takes(&self, block: &Encoded) -> bool {
        self.records == 0 || self.rules == block.rules
    }

    /// Takes in the block that was read next.
    pub fn join(&mut self, block: Encoded) {
        self.rules = block.rules;
        self.spans.extend(&block.spans);
        self.records += block.records;
        self.bytes += block.bytes();
        for (stretch, rows) in block.rows {
            self.stretches.entry(stretch).or_default().push(rows);
        }
        self.bad.extend(block.bad);
        let room = LINKS_MAX.saturating_sub(self.sampled.len());
        self.sampled.extend(block.sampled.into_iter().take(room));
        self.newest_ms = self.newest_ms.max(block.newest_ms);
    }
}

impl Encoded {
    /// Bytes held.
    pub fn bytes(&self) -> usize {
        let bad = self.bad.as_ref().map_or(0, |bad| bad.records.bytes());
        self.rows.iter().map(|(_, rows)| rows.bytes()).sum::<usize>() + bad
    }
}

/// Days that one insert touches at most. The server writes a part for each of them, so that an
/// insert over years would take minutes; rows of more days go in inserts of their own.
const STRETCH_DAYS: i64 = 32;

/// Which stretch of days a time (microseconds since 1970) belongs to.
pub fn stretch(occurred_at: i64) -> i64 {
    occurred_at.div_euclid(DAY_US).div_euclid(STRETCH_DAYS)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stretch_is_whole_days_also_before_1970() {
        assert_eq!(stretch(0), stretch(STRETCH_DAYS * DAY_US - 1));
        assert_eq!(stretch(0) + 1, stretch(STRETCH_DAYS * DAY_US));
        assert_eq!(stretch(-1), -1);
    }
}
