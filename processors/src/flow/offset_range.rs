//! Which offsets of which partitions belong together, so that whoever made them durable can commit
//! just that.

use std::collections::BTreeMap;

/// Offsets of one partition, read under one assignment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Span {
    /// Assignment under which they were read.
    pub epoch: u64,
    /// First offset.
    pub first: i64,
    /// Position after the last: what may be committed once all are durable. Offsets have gaps
    /// (compaction, transactions), so not every one in between holds a record.
    pub next: i64,
}

/// One span a partition.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Spans(BTreeMap<i32, Span>);

impl Spans {
    /// Takes in what was read next of `partition`.
    ///
    /// What is of another epoch, or was passed already, starts the span anew: what was read before
    /// is inserted all the same, which is harmless, and is never committed.
    pub fn add(&mut self, partition: i32, read: Span) {
        let span = self.0.entry(partition).or_insert(read);
        if span.epoch != read.epoch || read.first < span.next {
            *span = read;
        }
        span.next = read.next;
    }

    /// Takes in what was read after these.
    pub fn extend(&mut self, later: &Self) {
        later.iter().for_each(|(partition, span)| self.add(partition, span));
    }

    /// By partition, in order.
    pub fn iter(&self) -> impl Iterator<Item = (i32, Span)> {
        self.0.iter().map(|(partition, span)| (*partition, *span))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn spans(read: &[(i32, u64, i64)]) -> Spans {
        let mut spans = Spans::default();
        for &(partition, epoch, offset) in read {
            spans.add(partition, Span { epoch, first: offset, next: offset + 1 });
        }
        spans
    }

    #[test]
    fn a_span_reaches_past_the_last_record_over_gaps() {
        let read = spans(&[(0, 1, 5), (0, 1, 6), (0, 1, 40), (1, 1, 0)]);
        let expected =
            [(0, Span { epoch: 1, first: 5, next: 41 }), (1, Span { epoch: 1, first: 0, next: 1 })];
        assert_eq!(read.iter().collect::<Vec<_>>(), expected);
        let mut joined = spans(&[(0, 1, 2)]);
        joined.extend(&read);
        assert_eq!(joined.0[&0], Span { epoch: 1, first: 2, next: 41 });
    }

    #[test]
    fn a_new_assignment_leaves_nothing_of_the_old_to_commit() {
        let read = spans(&[(0, 1, 500), (0, 2, 3)]);
        assert_eq!(read.0[&0], Span { epoch: 2, first: 3, next: 4 });
        let mut joined = read.clone();
        joined.extend(&spans(&[(0, 2, 1)]));
        assert_eq!(joined.0[&0], Span { epoch: 2, first: 1, next: 2 });
    }
}
