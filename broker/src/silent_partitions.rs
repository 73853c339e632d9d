//! The partitions of which a consumer reads nothing although they have records, by the library's statistics.
//!
//! A client that reads nothing cannot tell a batch that the library drops silently (`fetch_log`) from a slow
//! broker. The batch probe can, so a reader starts it for such a partition. A quiet partition costs no
//! request: its end is in the replies that the library receives in any case.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};

use rdkafka::client::ClientContext;
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::consumer::ConsumerContext;
use rdkafka::error::KafkaError;
use rdkafka::statistics::{Partition, Statistics};

use crate::client::QuietContext;

/// The property of a consumer whose context reads statistics: their interval in milliseconds.
pub const STATISTICS_INTERVAL: (&str, &str) = ("statistics.interval.ms", "500");

/// Microseconds without a change, after which a probe is due, if all records that the library received
/// were passed on.
const SILENCE_US: i64 = 1_500_000;
/// Otherwise: records may wait for the reader, which takes none for two seconds while it is throttled.
const SILENCE_QUEUED_US: i64 = 3_000_000;
/// Microseconds until a probe is due again for the same position.
const AGAIN_US: i64 = 10_000_000;

/// Since when each partition is silent.
#[derive(Debug, Default)]
pub struct SilentPartitions(BTreeMap<i32, Silence>);

#[derive(Debug, Clone, Copy)]
struct Silence {
    /// The offset that the library asks for, and the one after the last record that it passed on.
    offsets: (i64, i64),
    /// When a probe is due, by the library's clock.
    due_us: i64,
}

impl SilentPartitions {
    /// Takes new statistics of those partitions that are read. Returns whether a probe is due.
    pub fn note(&mut self, statistics: &Statistics, is_read: impl Fn(i32) -> bool) -> bool {
        let (now, mut is_due, mut silent) = (statistics.ts, false, BTreeMap::new());
        let all = statistics.topics.values().flat_map(|topic| &topic.partitions);
        let unread = all.filter(|(own, reported)| is_read(**own) && has_unread(reported));
        for (&partition, reported) in unread {
            let offsets = (reported.next_offset, reported.app_offset);
            let known = self.0.get(&partition).filter(|own| own.offsets == offsets);
            let mut silence = known.copied().unwrap_or_else(|| {
                let wait = if offsets.0 == offsets.1 { SILENCE_US } else { SILENCE_QUEUED_US };
                Silence { offsets, due_us: now + wait }
            });
            if silence.due_us <= now {
                is_due = true;
                silence.due_us = now + AGAIN_US;
            }
            silent.insert(partition, silence);
        }
        self.0 = silent;
        is_due
    }

    /// Starts again: the reader has paused its partitions.
    pub fn clear(&mut self) {
        self.0.clear();
    }
}

/// Whether the library fetches a partition and has not reached the end up to which it may be read.
fn has_unread(reported: &Partition) -> bool {
    let is_fetched = reported.fetch_state == "active" && reported.leader >= 0;
    is_fetched && (0..reported.ls_offset).contains(&reported.next_offset)
}

/// The context of a reader that starts the batch probe itself.
#[derive(Debug, Default)]
pub struct SilenceContext {
    silent: Mutex<SilentPartitions>,
    is_due: AtomicBool,
}

impl SilenceContext {
    /// Whether a probe is due since the last call.
    pub fn take_due(&self) -> bool {
        self.is_due.swap(false, Ordering::Relaxed)
    }
}

impl ClientContext for SilenceContext {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, message: &str) {
        QuietContext.log(level, facility, message);
    }

    fn error(&self, error: KafkaError, reason: &str) {
        QuietContext.error(error, reason);
    }

    fn stats(&self, statistics: Statistics) {
        let mut silent = self.silent.lock().unwrap_or_else(PoisonError::into_inner);
        if silent.note(&statistics, |_| true) {
            self.is_due.store(true, Ordering::Relaxed);
        }
    }
}

impl ConsumerContext for SilenceContext {}

#[cfg(test)]
mod tests {
    use super::*;
    use rdkafka::statistics::Topic;

    /// Partition 0 as the library reports it: the next offset to fetch, the one after the last record that
    /// was passed on, and the end.
    fn reported(next: i64, app: i64, end: i64) -> Partition {
        let fetch_state = "active".to_owned();
        Partition {
            fetch_state,
            next_offset: next,
            app_offset: app,
            ls_offset: end,
            ..Partition::default()
        }
    }

    /// The half seconds at which a probe is due, if the partition is reported like this at each.
    fn due(halves: i64, reported: impl Fn(i64) -> Partition) -> Vec<i64> {
        let mut silent = SilentPartitions::default();
        let is_due = |half: &i64| {
            // The reader has finished partition 1.
            let partitions =
                [(0, reported(*half)), (1, self::reported(7, 7, 9))].into_iter().collect();
            let topics =
                [("t".to_owned(), Topic { partitions, ..Topic::default() })].into_iter().collect();
            let statistics = Statistics { ts: half * 500_000, topics, ..Statistics::default() };
            silent.note(&statistics, |partition| partition == 0)
        };
        (0..halves).filter(is_due).collect()
    }

    #[test]
    fn a_probe_is_due_after_a_silence_and_again_after_ten_seconds() {
        assert_eq!(due(45, |_| reported(7, 7, 9)), [3, 23, 43]);
        assert_eq!(due(30, |_| reported(7, 5, 9)), [6, 26], "records may wait for the reader");
        assert_eq!(due(30, |_| reported(7, -1001, 9)), [6, 26]);
    }

    #[test]
    fn a_partition_that_is_read_or_has_no_more_records_is_not_silent() {
        assert!(due(30, |half| reported(half, half, 99)).is_empty());
        assert!(due(30, |half| reported(20, half, 99)).is_empty(), "the reader takes what waits");
        assert!(due(30, |_| reported(9, 9, 9)).is_empty());
        assert!(due(30, |_| reported(9, 7, 9)).is_empty(), "the last offsets hold no record");
        assert!(due(30, |_| reported(7, 7, -1001)).is_empty(), "no broker has answered yet");
        assert!(due(30, |_| reported(-1001, -1001, 9)).is_empty());
        assert!(due(30, |_| Partition { leader: -1, ..reported(7, 7, 9) }).is_empty());
        let fetch_state = || "offset-query".to_owned();
        assert!(
            due(30, |_| Partition { fetch_state: fetch_state(), ..reported(7, 7, 9) }).is_empty()
        );
    }

    #[test]
    fn a_probe_is_due_for_each_position_at_which_a_partition_is_silent() {
        // A batch is passed every two seconds.
        assert_eq!(due(12, |half| reported(half / 4, half / 4, 99)), [3, 7, 11]);
    }
}
