//! The partitions of which a consumer reads nothing although they have records, by the library's statistics.
//!
//! A client that reads nothing cannot tell a batch that the library drops silently (`fetch_log`) from a slow
//! broker. The batch probe can, so a reader starts it for such a partition. A quiet partition costs no
//! request: its end is in the replies that the library receives in any case.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Mutex, MutexGuard, PoisonError};

use rdkafka::client::ClientContext;
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::consumer::ConsumerContext;
use rdkafka::error::KafkaError;
use rdkafka::statistics::{Partition, Statistics};

use crate::batch_probe::ProbeFindings;
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
/// A probe includes the partitions for which one is due within these microseconds.
const SOON_US: i64 = 1_000_000;
/// Microseconds until the next probe after one that found nothing: the broker serves each partition of a long
/// log in its turn, and each may be silent until then.
const FRUITLESS_US: i64 = 5_000_000;
/// Likewise, of a reader that reads nothing during a probe.
const FRUITLESS_BLOCKING_US: i64 = 30_000_000;

/// Since when each partition is silent.
#[derive(Debug)]
pub struct SilentPartitions {
    silent: BTreeMap<i32, Silence>,
    /// The partitions for which a probe is due.
    due: BTreeSet<i32>,
    /// The time of the last statistics.
    noted_us: i64,
    /// Statistics before this time do not count.
    since_us: i64,
    /// No probe is due before this time.
    quiet_us: i64,
    fruitless_us: i64,
}

impl Default for SilentPartitions {
    fn default() -> Self {
        Self::after_fruitless(FRUITLESS_US)
    }
}

#[derive(Debug, Clone, Copy)]
struct Silence {
    /// The offset that the library asks for, and the one after the last record that it passed on.
    offsets: (i64, i64),
    /// When a probe is due, by the library's clock.
    due_us: i64,
}

impl SilentPartitions {
    fn after_fruitless(fruitless_us: i64) -> Self {
        let (silent, due) = (BTreeMap::new(), BTreeSet::new());
        Self { silent, due, noted_us: 0, since_us: 0, quiet_us: 0, fruitless_us }
    }

    /// Takes new statistics of those partitions that are read. Returns whether a probe is due.
    pub fn note(&mut self, statistics: &Statistics, is_read: impl Fn(i32) -> bool) -> bool {
        let (now, mut silent) = (statistics.ts, BTreeMap::new());
        self.noted_us = now;
        if now < self.since_us {
            return false;
        }
        let all = statistics.topics.values().flat_map(|topic| &topic.partitions);
        let unread = all.filter(|(own, reported)| is_read(**own) && has_unread(reported));
        for (&partition, reported) in unread {
            let offsets = (reported.next_offset, reported.app_offset);
            let known = self.silent.get(&partition).filter(|own| own.offsets == offsets);
            let silence = known.copied().unwrap_or_else(|| {
                let wait = if offsets.0 == offsets.1 { SILENCE_US } else { SILENCE_QUEUED_US };
                Silence { offsets, due_us: now + wait }
            });
            silent.insert(partition, silence);
        }
        self.silent = silent;
        let is_due =
            now >= self.quiet_us && self.silent.values().any(|silence| silence.due_us <= now);
        if is_due {
            self.quiet_us = now + self.fruitless_us;
            for (&partition, silence) in &mut self.silent {
                if silence.due_us <= now + SOON_US {
                    silence.due_us = now + AGAIN_US;
                    self.due.insert(partition);
                }
            }
        }
        is_due
    }

    /// The partitions for which a probe is due since the last call.
    pub fn take_due(&mut self) -> BTreeSet<i32> {
        std::mem::take(&mut self.due)
    }

    /// A probe ended; records were read meanwhile.
    pub fn probed(&mut self, findings: &ProbeFindings) {
        if findings.has_progress {
            self.quiet_us = 0;
            self.clear();
        }
    }

    /// A probe ended, during which the reader took neither records nor statistics.
    fn probed_alone(&mut self, findings: &ProbeFindings) {
        let took_us = i64::try_from(findings.took.as_micros()).unwrap_or(i64::MAX);
        self.since_us = self.noted_us.saturating_add(took_us);
        let wait_us = if findings.has_progress { 0 } else { self.fruitless_us };
        self.quiet_us = self.since_us.saturating_add(wait_us);
        self.clear();
    }

    /// Starts again: the reader has paused its partitions.
    pub fn clear(&mut self) {
        self.silent.clear();
        self.due.clear();
    }
}

/// Whether the library fetches a partition and has not reached the end up to which it may be read.
fn has_unread(reported: &Partition) -> bool {
    let is_fetched = reported.fetch_state == "active" && reported.leader >= 0;
    is_fetched && (0..reported.ls_offset).contains(&reported.next_offset)
}

/// The context of a reader that starts the batch probe itself.
#[derive(Debug)]
pub struct SilenceContext(Mutex<SilentPartitions>);

impl Default for SilenceContext {
    fn default() -> Self {
        Self(Mutex::new(SilentPartitions::after_fruitless(FRUITLESS_BLOCKING_US)))
    }
}

impl SilenceContext {
    fn lock(&self) -> MutexGuard<'_, SilentPartitions> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The partitions for which a probe is due since the last call.
    pub fn take_due(&self) -> BTreeSet<i32> {
        self.lock().take_due()
    }

    /// A probe ended, during which the reader did not poll.
    pub fn probed(&self, findings: &ProbeFindings) {
        self.lock().probed_alone(findings);
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
        self.lock().note(&statistics, |_| true);
    }
}

impl ConsumerContext for SilenceContext {}

#[cfg(test)]
mod tests {
    use std::time::Duration;

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

    /// Statistics of these partitions, at this half second.
    fn statistics<const N: usize>(half: i64, partitions: [(i32, Partition); N]) -> Statistics {
        let topic = Topic { partitions: partitions.into(), ..Topic::default() };
        let topics = [("t".to_owned(), topic)].into();
        Statistics { ts: half * 500_000, topics, ..Statistics::default() }
    }

    /// The half seconds at which a probe is due, if the partition is reported like this at each.
    fn due(halves: i64, reported: impl Fn(i64) -> Partition) -> Vec<i64> {
        let mut silent = SilentPartitions::default();
        let is_due = |half: &i64| {
            // The reader has finished partition 1.
            let partitions = [(0, reported(*half)), (1, self::reported(7, 7, 9))];
            silent.note(&statistics(*half, partitions), |partition| partition == 0)
        };
        (0..halves).filter(is_due).collect()
    }

    fn findings(has_progress: bool, seconds: u64) -> ProbeFindings {
        let took = Duration::from_secs(seconds);
        ProbeFindings { has_progress, took, ..ProbeFindings::default() }
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
        let mut silent = SilentPartitions::default();
        let is_due = |half: &i64| {
            let partitions = [(0, reported(half / 4, half / 4, 99))];
            let is_due = silent.note(&statistics(*half, partitions), |_| true);
            if is_due {
                silent.probed(&findings(true, 0));
            }
            is_due
        };
        assert_eq!((0..12).filter(is_due).collect::<Vec<_>>(), [3, 7, 11]);
    }

    /// As where a broker serves one of many partitions after another.
    #[test]
    fn fruitless_probes_are_due_every_five_seconds_at_most_for_silent_partitions_alone() {
        let mut silent = SilentPartitions::default();
        let mut due = Vec::new();
        for half in 0..40 {
            // Partition 0 is served at each half second, partition 1 every two seconds, the last one at the
            // half seconds between those.
            let positions = [(0, half), (1, half / 4), (2, (half + 3) / 4)];
            let partitions = positions.map(|(own, at)| (own, reported(at, at, 99)));
            if silent.note(&statistics(half, partitions), |_| true) {
                due.push((half, silent.take_due()));
                silent.probed(&findings(false, 1));
            }
        }
        let halves: Vec<i64> = due.iter().map(|(half, _)| *half).collect();
        assert!(halves.len() > 2 && halves.windows(2).all(|own| own[1] - own[0] >= 10), "{due:?}");
        assert!(due.iter().all(|(_, own)| !own.is_empty() && !own.contains(&0)), "{due:?}");
    }

    #[test]
    fn a_reader_that_a_probe_stopped_does_not_count_the_statistics_of_that_time() {
        let context = SilenceContext::default();
        let read = |halves: std::ops::Range<i64>| {
            halves.for_each(|half| context.stats(statistics(half, [(0, reported(7, 7, 9))])));
            context.take_due()
        };
        assert_eq!(read(0..4), BTreeSet::from([0]));
        // The library kept the statistics of these four seconds.
        context.probed(&findings(true, 4));
        assert_eq!(read(4..12), BTreeSet::new());
        assert_eq!(read(12..16), BTreeSet::from([0]), "silent still");
        context.probed(&findings(false, 4));
        assert_eq!(read(16..80), BTreeSet::new());
        assert_eq!(read(80..90), BTreeSet::from([0]), "30 seconds later");
    }
}
