//! The search for the end of a batch that the library cannot read. Pure.
//!
//! One reply states whether one offset is in the batch. The searched offsets grow eightfold until one of
//! them is beyond the batch, and bisection finds the end: 19 replies for 5,000 records, of which about
//! 11 make the library decompress the batch. A probe that has no more time keeps the search, and the next
//! probe continues it.

use std::collections::BTreeMap;

/// Growth of the part that is known to be of the batch, until an offset beyond it is known.
const GROWTH: i64 = 8;

/// A question to the brokers about one offset.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Question {
    /// The offset.
    pub(crate) offset: i64,
    /// Whether the base offset of its batch is asked for, not whether it can be read. In a batch in which a
    /// length is wrong, the library may take bytes inside a record for a record of any offset.
    pub(crate) needs_base: bool,
}

/// The brokers' reply about one offset.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Reply {
    /// It can be read, or there is none.
    Readable,
    /// It is in a batch with this base offset; whether that can be read was not asked.
    In(i64),
    /// It is in a batch with this base offset that cannot be read.
    Unreadable(i64),
    /// It is in a batch with this base offset of which the library may read records before it, and reads
    /// none from there on.
    Silent(i64),
    /// No reply came in time.
    None,
}

impl Reply {
    /// The base offset of the batch, if it cannot be read.
    fn base(self) -> Option<i64> {
        match self {
            Self::Unreadable(base) | Self::Silent(base) => Some(base),
            Self::Readable | Self::In(_) | Self::None => None,
        }
    }

    /// The base offset of the batch, as far as it is known.
    fn batch(self) -> Option<i64> {
        if let Self::In(base) = self { Some(base) } else { self.base() }
    }

    /// The search for the end of the batch at `position`, if it cannot be read.
    fn search(self, position: i64) -> Option<EndSearch> {
        let base = self.base()?;
        let is_silent = matches!(self, Self::Silent(_));
        let first = if is_silent { base.max(position) } else { base };
        Some(EndSearch { base, is_silent, first, from: position, last: position, beyond: None })
    }
}

/// An unreadable batch of one partition.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct FoundBatch {
    /// First offset.
    pub(crate) first: i64,
    /// Last offset.
    pub(crate) last: i64,
    /// The position at which the search began.
    pub(crate) from: i64,
}

/// The search for the end of one batch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct EndSearch {
    base: i64,
    /// Whether the library stops reading the batch without an error.
    is_silent: bool,
    /// The first offset that cannot be read.
    first: i64,
    from: i64,
    /// The largest offset that is known to be of the batch.
    last: i64,
    /// The smallest offset that is known not to be of it.
    beyond: Option<i64>,
}

impl EndSearch {
    /// The offset to ask about next; `None` if the end is known.
    fn next(&self) -> Option<i64> {
        match self.beyond {
            None if self.last == self.from => Some(self.last + 1),
            None => Some(self.from + (self.last - self.from + 1) * GROWTH - 1),
            Some(beyond) if beyond - self.last > 1 => Some(self.last + (beyond - self.last) / 2),
            Some(_) => None,
        }
    }

    fn question(&self, offset: i64) -> Question {
        Question { offset, needs_base: self.is_silent }
    }

    /// The base offset of the batch that a reply is about, if it may be the searched one.
    fn base_in(&self, reply: Reply) -> Option<i64> {
        if self.is_silent { reply.batch() } else { reply.base() }
    }

    /// Takes the reply about an offset after the last known one.
    fn narrow(&mut self, offset: i64, reply: Reply) {
        match self.base_in(reply) {
            Some(base) if base == self.base => self.last = offset,
            // Another batch: the searched one ends before its base.
            Some(base) => self.beyond = Some(base.clamp(self.last + 1, offset)),
            None => self.beyond = Some(offset),
        }
    }

    fn found(&self) -> FoundBatch {
        FoundBatch { first: self.first, last: self.last, from: self.from }
    }
}

/// What one probe found in one partition.
#[derive(Debug, Default)]
pub(crate) struct PartitionFindings {
    /// Unreadable batches.
    pub(crate) batches: Vec<FoundBatch>,
    /// Replies that brought a search forward.
    pub(crate) replies: usize,
    /// The search that the next probe continues.
    pub(crate) unfinished: Option<EndSearch>,
}

/// Continues `search`, and searches the unreadable batches that follow directly, at most `max` batches
/// and until there is no reply.
pub(crate) fn find_from<E>(
    search: EndSearch,
    max: usize,
    mut reply: impl FnMut(Question) -> Result<Reply, E>,
) -> Result<PartitionFindings, E> {
    let (mut search, mut findings) = (search, PartitionFindings::default());
    while findings.batches.len() < max {
        while let Some(offset) = search.next() {
            let reply = reply(search.question(offset))?;
            if reply == Reply::None {
                findings.unfinished = Some(search);
                return Ok(findings);
            }
            search.narrow(offset, reply);
            findings.replies += 1;
        }
        findings.batches.push(search.found());
        let position = search.last + 1;
        let question = Question { offset: position, needs_base: false };
        let Some(next) = reply(question)?.search(position) else { return Ok(findings) };
        search = next;
    }
    findings.unfinished = Some(search);
    Ok(findings)
}

/// The unfinished searches of a topic by partition.
#[derive(Debug, Default)]
pub(crate) struct UnfinishedSearches(BTreeMap<i32, EndSearch>);

impl UnfinishedSearches {
    /// The first question: about an offset of an unfinished search from this position, else about the
    /// position itself. Drops the search of another position.
    pub(crate) fn first_question(&mut self, partition: i32, position: i64) -> Question {
        self.0.retain(|own, search| *own != partition || search.from == position);
        let question = Question { offset: position, needs_base: false };
        self.0.get(&partition).map_or(question, |search| search.question(search.last))
    }

    /// The search after the reply about the first offset; none if it can be read, or is not in the batch of
    /// the unfinished search, which is dropped. Without a reply, the search stays for the next probe.
    pub(crate) fn take(
        &mut self,
        partition: i32,
        position: i64,
        reply: Reply,
    ) -> Option<EndSearch> {
        if reply == Reply::None {
            return None;
        }
        match self.0.remove(&partition) {
            None => reply.search(position),
            Some(search) => (search.base_in(reply) == Some(search.base)).then_some(search),
        }
    }

    /// Keeps a search for the next probe.
    pub(crate) fn keep(&mut self, partition: i32, search: EndSearch) {
        self.0.insert(partition, search);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::cell::Cell;

    /// Batches as (records, readable), one behind the other from offset 0.
    fn base(batches: &[(i64, bool)], offset: i64) -> Reply {
        let mut first = 0;
        for &(records, readable) in batches {
            if offset < first + records {
                return if readable { Reply::Readable } else { Reply::Unreadable(first) };
            }
            first += records;
        }
        Reply::Readable
    }

    /// Batches as (records, records before the first one that cannot be read), one behind the other.
    fn silent(batches: &[(i64, i64)], offset: i64) -> Reply {
        let mut first = 0;
        for &(records, readable) in batches {
            if offset < first + records {
                let is_silent = offset >= first + readable;
                return if is_silent { Reply::Silent(first) } else { Reply::Readable };
            }
            first += records;
        }
        Reply::Readable
    }

    /// One probe, as the batch probe makes it, of partition 0 with at most `replies` replies after the first
    /// one.
    fn probe_by(
        searches: &mut UnfinishedSearches,
        at: impl Fn(i64) -> Reply,
        position: i64,
        (max, replies): (usize, usize),
    ) -> PartitionFindings {
        let first = at(searches.first_question(0, position).offset);
        let Some(search) = searches.take(0, position, first) else {
            return PartitionFindings::default();
        };
        let left = Cell::new(replies);
        let reply = |question: Question| {
            let Some(rest) = left.get().checked_sub(1) else { return Ok::<_, ()>(Reply::None) };
            left.set(rest);
            Ok(at(question.offset))
        };
        let findings = find_from(search, max, reply).unwrap();
        findings.unfinished.into_iter().for_each(|search| searches.keep(0, search));
        findings
    }

    fn probe(
        searches: &mut UnfinishedSearches,
        batches: &[(i64, bool)],
        position: i64,
        bounds: (usize, usize),
    ) -> PartitionFindings {
        probe_by(searches, |offset| base(batches, offset), position, bounds)
    }

    /// The unreadable batches from offset 0 to the first readable one, at most `max`, as (first, last).
    fn expected(batches: &[(i64, bool)], max: usize) -> Vec<(i64, i64)> {
        let (mut expected, mut first) = (Vec::new(), 0);
        for &(records, readable) in batches {
            if readable || expected.len() == max {
                break;
            }
            expected.push((first, first + records - 1));
            first += records;
        }
        expected
    }

    proptest! {
        #[test]
        fn h3_a_probe_passes_each_unreadable_batch_and_no_readable_record(
            batches in prop::collection::vec((1_i64..3_000, any::<bool>()), 1..12),
            max in 0_usize..12,
        ) {
            let bounds = (max, usize::MAX);
            let findings = probe(&mut UnfinishedSearches::default(), &batches, 0, bounds);
            let found: Vec<_> = findings.batches.iter().map(|own| (own.first, own.last)).collect();
            prop_assert_eq!(&found, &expected(&batches, max));
            prop_assert!(findings.replies <= 18 * found.len(), "{} replies", findings.replies);
        }

        #[test]
        fn h3_searches_that_are_interrupted_at_any_reply_find_the_same_batches(
            batches in prop::collection::vec((1_i64..3_000, any::<bool>()), 1..12),
            replies in prop::collection::vec(1_usize..30, 1..20),
        ) {
            let expected = expected(&batches, usize::MAX);
            let (mut searches, mut position, mut found) = Default::default();
            for &replies in replies.iter().cycle().take(20 * batches.len()) {
                let findings = probe(&mut searches, &batches, position, (usize::MAX, replies));
                for own in findings.batches {
                    prop_assert_eq!(own.from, position, "the search began at the position");
                    position = own.last + 1;
                    Vec::push(&mut found, (own.first, own.last));
                }
            }
            prop_assert_eq!(found, expected);
        }

        /// The reader asks for a probe where it stops, and reads what follows the batches that are passed.
        #[test]
        fn h3_of_batches_that_end_silently_each_readable_record_is_read_and_no_other_one(
            batches in prop::collection::vec((1_i64..2_000, 0_i64..2_000), 1..9),
            replies in prop::collection::vec(1_usize..30, 1..20),
        ) {
            let end: i64 = batches.iter().map(|(records, _)| records).sum();
            let reply = |offset| silent(&batches, offset);
            let (mut searches, mut position) = Default::default();
            let mut replies = replies.iter().cycle();
            while position < end {
                if reply(position) == Reply::Readable {
                    position += 1;
                    continue;
                }
                let bounds = (usize::MAX, *replies.next().unwrap());
                for own in probe_by(&mut searches, reply, position, bounds).batches {
                    prop_assert_eq!((own.first, own.from), (position, position));
                    let is_silent = |offset| reply(offset) != Reply::Readable;
                    prop_assert!((own.first..=own.last).all(is_silent), "{own:?}");
                    prop_assert!(reply(own.last + 1) != reply(own.last), "{own:?} ends early");
                    position = own.last + 1;
                }
            }
        }
    }

    #[test]
    fn h3_a_probe_with_time_for_one_reply_brings_the_search_forward() {
        let batches = [(7, true), (5_000, false), (3, true)];
        let mut searches = UnfinishedSearches::default();
        for number in 1..=18 {
            let findings = probe(&mut searches, &batches, 7, (9, 1));
            assert_eq!(findings.replies, 1, "probe {number}");
            if let [found] = findings.batches[..] {
                assert_eq!(found, FoundBatch { first: 7, last: 5_006, from: 7 });
                return;
            }
        }
        panic!("18 probes have not found the batch");
    }

    #[test]
    fn h3_an_unfinished_search_ends_where_position_or_batch_differ() {
        let (position, batches) = (100, [(100, true), (5_000, false)]);
        let started = || {
            let mut searches = UnfinishedSearches::default();
            probe(&mut searches, &batches, position, (9, 8));
            assert!(searches.first_question(0, position).offset > position);
            searches
        };
        // Another position, and the same position again.
        let mut searches = started();
        assert_eq!(searches.first_question(0, 99).offset, 99);
        assert_eq!(searches.first_question(0, position).offset, position);
        // Another partition changes nothing.
        let mut searches = started();
        assert_eq!(searches.first_question(1, 99).offset, 99);
        assert!(searches.first_question(0, position).offset > position);
        // The topic was recreated: shorter batches, or readable ones.
        for recreated in [&[(100, true), (20, false), (5_000, false)][..], &[(9_000, true)]] {
            let mut searches = started();
            let findings = probe(&mut searches, recreated, position, (9, 99));
            assert!(findings.batches.is_empty(), "{findings:?}");
            assert_eq!(searches.first_question(0, position).offset, position);
        }
    }

    /// The library takes bytes inside record 12 for a record at offset 50,000.
    #[test]
    fn h3_a_made_record_in_a_value_does_not_end_its_batch() {
        let is_own = |offset: i64| (10..90).contains(&offset);
        let reply = |Question { offset, needs_base }| match offset {
            12 => Reply::Silent(10),
            own if is_own(own) && needs_base => Reply::In(10),
            _ => Reply::Readable,
        };
        let mut searches = UnfinishedSearches::default();
        // Each probe has time for three replies.
        for _ in 0..9 {
            let first = reply(searches.first_question(0, 12));
            let search = searches.take(0, 12, first).expect("it is continued");
            let left = Cell::new(3_usize);
            let bounded = |question| {
                let Some(rest) = left.get().checked_sub(1) else { return Ok::<_, ()>(Reply::None) };
                left.set(rest);
                Ok(reply(question))
            };
            let findings = find_from(search, 9, bounded).unwrap();
            if let [found] = findings.batches[..] {
                assert_eq!(found, FoundBatch { first: 12, last: 89, from: 12 });
                return;
            }
            searches.keep(0, findings.unfinished.unwrap());
        }
        panic!("nine probes have not found the batch");
    }

    #[test]
    fn h3_a_position_inside_a_batch_and_a_batch_of_millions_are_found() {
        let batches = [(28_000_000, false), (5, true), (1, false)];
        let bounds = (9, usize::MAX);
        let findings = probe(&mut UnfinishedSearches::default(), &batches, 17, bounds);
        assert_eq!(findings.batches, [FoundBatch { first: 0, last: 27_999_999, from: 17 }]);
    }

    #[test]
    fn h3_a_silent_batch_behind_a_gap_starts_at_its_first_record() {
        // The library continues behind offsets 4 to 9, which hold no record.
        let at = |offset| if offset < 20 { Reply::Silent(10) } else { Reply::Readable };
        let bounds = (9, usize::MAX);
        let findings = probe_by(&mut UnfinishedSearches::default(), at, 4, bounds);
        assert_eq!(findings.batches, [FoundBatch { first: 10, last: 19, from: 4 }]);
    }

    #[test]
    fn h3_a_search_without_a_reply_stays_for_the_next_probe() {
        let batches = [(5_000, false)];
        let mut searches = UnfinishedSearches::default();
        probe(&mut searches, &batches, 0, (9, 8));
        let reached = searches.first_question(0, 0).offset;
        assert!(reached > 0);
        assert_eq!(searches.take(0, 0, Reply::None), None);
        assert_eq!(searches.first_question(0, 0).offset, reached);
        assert_eq!(searches.take(0, 0, Reply::Readable), None);
        assert_eq!(searches.first_question(0, 0).offset, 0);
    }

    #[test]
    fn h3_without_a_reply_nothing_is_passed() {
        for replies in [0, 1, 5] {
            let (batches, bounds) = ([(5_000, false)], (9, replies));
            let findings = probe(&mut UnfinishedSearches::default(), &batches, 0, bounds);
            assert_eq!((findings.batches.len(), findings.replies), (0, replies));
        }
    }
}
