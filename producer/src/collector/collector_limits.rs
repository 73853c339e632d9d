//! The limits of a request to the collector, and the memory that all requests take within them.
//!
//! Pure. A request holds its body until its records are read, and then its answer until the sender has
//! received it: that is `held`. Reading the records takes more memory for a short time, and only a few
//! requests do so at once: that is `work`. Both are upper bounds, computed from the limits of one request
//! and independent of the content of a body.

use std::time::Duration;

/// Most requests at once.
pub const OPEN_MAX: usize = 64;
/// Bytes that all requests may hold together, unless a single request may hold more.
const HELD_BYTES: usize = 64 << 20;
/// Bytes for the work on records, unless the work on a single request may take more.
const WORK_BYTES: usize = 64 << 20;
/// Most requests whose records are read at once, since redirects need cores too.
const WORKING_MAX: usize = 4;

/// Most bytes of one record.
pub const RECORD_BYTES_MAX: usize = 64 * 1024;
/// Most bytes of one record in the answer: its number, code and text (`record_results`).
pub const ANSWER_RECORD_BYTES: usize = 768;
/// Most bytes of the work for each record: three times its frame without texts (a growing vector holds
/// its old and its new memory), its result, and three times its part of the answer.
const WORK_RECORD_BYTES: usize = 6 * 1024;
/// Most bytes of the work for each byte of a body: the body is decompressed into a growing vector, and
/// its texts are copied into another one.
const WORK_BODY_FACTOR: usize = 5;
/// Most bytes of the work for one record at a time: its texts, and an error that quotes it.
const WORK_ONE_RECORD: usize = 1 << 20;

/// Limits of one request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CollectorLimits {
    /// Most bytes, compressed and decompressed.
    pub bytes: usize,
    /// Longest time for the whole body to arrive.
    pub time: Duration,
    /// Most records.
    pub records: usize,
    /// Most days since a click.
    pub days: u32,
}

impl CollectorLimits {
    /// Most bytes that a request holds. `declared` is the length of its body, if the head declares it.
    pub fn held_bytes(self, declared: Option<usize>, compressed: bool) -> usize {
        let body = declared.map_or(self.bytes, |bytes| bytes.min(self.bytes));
        // Each record of an uncompressed body takes at least two bytes of it.
        let records = if compressed { self.records } else { self.records.min(body / 2 + 1) };
        body.max(records * ANSWER_RECORD_BYTES)
    }

    /// Most bytes that all requests hold.
    pub fn held_bytes_max(self) -> usize {
        HELD_BYTES.max(self.held_bytes(None, true))
    }

    /// Most bytes that the work on the records of one request takes.
    pub fn work_bytes(self) -> usize {
        WORK_BODY_FACTOR * self.bytes + WORK_RECORD_BYTES * self.records + WORK_ONE_RECORD
    }

    /// Most requests whose records are read at once.
    pub fn working_max(self) -> usize {
        (WORK_BYTES / self.work_bytes()).clamp(1, WORKING_MAX)
    }

    /// Most bytes that all requests take together.
    pub fn memory_bytes(self) -> usize {
        self.held_bytes_max() + self.working_max() * self.work_bytes()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn limits(bytes: usize, records: usize) -> CollectorLimits {
        CollectorLimits { bytes, time: Duration::from_secs(1), records, days: 30 }
    }

    #[test]
    fn h8_all_requests_together_take_less_than_a_fifth_of_the_containers_memory() {
        let standard = limits(1 << 20, 1_000);
        assert_eq!(standard.held_bytes(None, true), 1 << 20);
        assert_eq!(standard.working_max(), 4);
        assert!(standard.memory_bytes() < 128 << 20, "{}", standard.memory_bytes());
        // With these limits no request is refused for its bytes before all 64 are open.
        assert!(OPEN_MAX * standard.held_bytes(None, true) <= standard.held_bytes_max());
    }

    #[test]
    fn h8_larger_limits_let_fewer_requests_in_at_once() {
        for (bytes, records, working) in
            [(1_024, 1, 4), (1 << 20, 100_000, 1), (64 << 20, 1_000, 1), (64 << 20, 100_000, 1)]
        {
            let limits = limits(bytes, records);
            assert_eq!(limits.working_max(), working, "{limits:?}");
            let held = limits.held_bytes(None, true);
            assert!(held <= limits.held_bytes_max(), "one request always fits: {limits:?}");
            let sum = limits.held_bytes_max() + working * limits.work_bytes();
            assert_eq!(limits.memory_bytes(), sum);
        }
    }

    #[test]
    fn h8_a_short_plain_body_holds_no_more_than_its_own_records_need() {
        let limits = limits(1 << 20, 1_000);
        for (declared, compressed, held) in [
            (Some(0), false, ANSWER_RECORD_BYTES),
            (Some(10), false, 6 * ANSWER_RECORD_BYTES),
            (Some(1_000_000), false, 1_000_000),
            (Some(usize::MAX), false, 1 << 20),
            (Some(10), true, 1_000 * ANSWER_RECORD_BYTES),
            (None, false, 1 << 20),
        ] {
            assert_eq!(limits.held_bytes(declared, compressed), held, "{declared:?}");
        }
    }
}
