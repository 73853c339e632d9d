//! The batch probe: finds the batches that the library cannot read, and the end of each of them.
//!
//! librdkafka repeats the first offset of such a batch and does not report the last one. But a broker
//! answers a request for any offset of a batch with the whole batch, so that the error names the same
//! base offset exactly for the offsets of this batch: its end is found by a search (`end_search`), and no
//! readable record is passed. Where the library drops the rest of a batch without an error (`fetch_log`), the
//! offset of the batch's first record takes the place of that base offset.
//!
//! A probe first asks about all partitions at once. Those that cannot be read then share its time, so that a
//! partition full of such batches does not delay the others. The next probe continues a search that had no
//! more time.
#![expect(clippy::disallowed_methods, reason = "bounds the time of a probe by deadlines")]

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

use crate::client::Brokers;
use crate::end_search::{EndSearch, FoundBatch, UnfinishedSearches, find_from};
use crate::error::ServerError;
use crate::probe_client::{ProbeClients, REPLY_MAX};

/// Times that the error is received before the probe starts: an error that does not repeat is not an
/// error of the batch.
pub const UNREADABLE_TRIES: u32 = 3;
/// Longest time of one probe; what it has found by then counts, and the next probe continues the rest.
const TIME_MAX: Duration = Duration::from_secs(8);
/// Batches that one probe finds at most.
const BATCHES_MAX: usize = 200;

/// A batch that the library cannot read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct UnreadableBatch {
    /// Partition.
    pub partition: i32,
    /// First offset; of a batch of which the library reads some records, the first one that it does not.
    pub first: i64,
    /// Last offset.
    pub last: i64,
    /// The position at which it was found; before the first offset where that follows a gap.
    pub from: i64,
}

/// What one probe found.
#[derive(Debug, Default)]
pub struct ProbeFindings {
    /// Batches that cannot be read.
    pub batches: Vec<UnreadableBatch>,
    /// Whether it found a batch, or came closer to the end of one.
    pub has_progress: bool,
    /// How long it took.
    pub took: Duration,
}

/// A probe of one topic. Clones share its state.
#[derive(Debug, Clone)]
pub struct BatchProbe {
    brokers: Brokers,
    client_id: &'static str,
    topic: String,
    state: Arc<Mutex<ProbeState>>,
}

/// What one probe leaves to the next one.
#[derive(Debug)]
struct ProbeState {
    /// The partition that was first in the last probe.
    first: i32,
    searches: UnfinishedSearches,
}

impl BatchProbe {
    /// A probe of `topic`, by clients of this name.
    pub fn new(brokers: &Brokers, client_id: &'static str, topic: &str) -> Self {
        let (brokers, topic) = (brokers.clone(), topic.to_owned());
        let state = ProbeState { first: -1, searches: UnfinishedSearches::default() };
        Self { brokers, client_id, topic, state: Arc::new(Mutex::new(state)) }
    }

    fn state(&self) -> MutexGuard<'_, ProbeState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The topic.
    pub fn topic(&self) -> &str {
        &self.topic
    }

    /// The batches at these positions, by partition, that cannot be read, and those that follow each
    /// of them directly. Each partition has half of the time in its turn. Blocks for ten seconds at most.
    ///
    /// A probe without a client, for which there may be no thread or no memory now, finds nothing.
    pub fn find(&self, positions: &BTreeMap<i32, i64>) -> ProbeFindings {
        let (began, mut findings) = (Instant::now(), ProbeFindings::default());
        if let Err(error) = self.find_until(began + TIME_MAX, positions, &mut findings) {
            let (code, topic) = (error.code, &self.topic);
            tracing::warn!(code, topic, %error, "a search for unreadable batches failed");
        }
        findings.took = began.elapsed();
        findings
    }

    fn find_until(
        &self,
        deadline: Instant,
        positions: &BTreeMap<i32, i64>,
        findings: &mut ProbeFindings,
    ) -> Result<(), ServerError> {
        let mut clients = ProbeClients::new(&self.brokers, self.client_id, &self.topic)?;
        let unreadable = self.unreadable(&mut clients, positions)?;
        let unreadable = in_turn(unreadable, self.state().first);
        if let Some(&(first, _)) = unreadable.first() {
            self.state().first = first;
        }
        for (done, &(partition, search)) in unreadable.iter().enumerate() {
            let now = Instant::now();
            let left = Share {
                time: deadline.saturating_duration_since(now),
                batches: BATCHES_MAX.saturating_sub(findings.batches.len()),
            };
            let Share { time, batches } = left.of_next(unreadable.len() - done);
            let reply = |question| clients.reply(partition, question, now + time);
            let own = find_from(search, batches, reply)?;
            findings.has_progress |= own.replies > 0 || !own.batches.is_empty();
            if let Some(search) = own.unfinished {
                self.state().searches.keep(partition, search);
            }
            let batch =
                |FoundBatch { first, last, from }| UnreadableBatch { partition, first, last, from };
            findings.batches.extend(own.batches.into_iter().map(batch));
        }
        Ok(())
    }

    /// The searches of the partitions whose batch cannot be read. A partition without a broker's reply is
    /// not one of them.
    fn unreadable(
        &self,
        clients: &mut ProbeClients,
        positions: &BTreeMap<i32, i64>,
    ) -> Result<Vec<(i32, EndSearch)>, ServerError> {
        let question = |(&partition, &position): (&i32, &i64)| {
            (partition, self.state().searches.first_question(partition, position))
        };
        let replies = clients.replies(&positions.iter().map(question).collect())?;
        let mut state = self.state();
        let search = |(partition, reply)| {
            let position = *positions.get(&partition)?;
            Some((partition, state.searches.take(partition, position, reply)?))
        };
        Ok(replies.into_iter().filter_map(search).collect())
    }
}

/// The time and the batches that a probe, or one partition of it, may take.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Share {
    time: Duration,
    batches: usize,
}

impl Share {
    /// The share of the next of so many partitions: half of the rest, and all of it for the last one. The
    /// first one has time for a reply at least, so that each partition's search comes forward in its turn.
    fn of_next(self, partitions: usize) -> Self {
        if partitions > 1 {
            let time = (self.time / 2).max(REPLY_MAX).min(self.time);
            Self { time, batches: self.batches.div_ceil(2) }
        } else {
            self
        }
    }
}

/// Partitions by number, those after `last` first.
fn in_turn<T>(mut partitions: Vec<(i32, T)>, last: i32) -> Vec<(i32, T)> {
    partitions.sort_unstable_by_key(|&(partition, _)| (partition <= last, partition));
    partitions
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::properties::Property;

    #[test]
    fn a_probe_without_a_client_finds_nothing_and_ends_nothing() {
        let refused = Property { key: "ssl.ca.location".to_owned(), value: "/none".to_owned() };
        let tls = Property { key: "security.protocol".to_owned(), value: "ssl".to_owned() };
        let (servers, properties) = ("127.0.0.1:1".to_owned(), vec![tls, refused]);
        let probe = BatchProbe::new(&Brokers { servers, properties }, "test", "clicks");
        let findings = probe.find(&BTreeMap::from([(0, 7)]));
        assert!(findings.batches.is_empty() && !findings.has_progress);
    }

    /// Any number of partitions take their whole share, and any others come and go.
    #[test]
    fn h3_each_unreadable_partition_has_half_of_a_probe_in_its_turn() {
        for partitions in [1, 2, 3, 7, 64] {
            let all: Vec<(i32, i64)> = (0..partitions).map(|partition| (partition, 0)).collect();
            let (mut last, mut turns) = (-1, Vec::new());
            for probe in 0..2 * partitions {
                // With three or more partitions, the one that a search omits can be read.
                let some = all.iter().copied().filter(|own| partitions < 3 || own.0 != probe % 3);
                let order = in_turn(some.collect(), last);
                last = order[0].0;
                turns.push(last);
                let mut left = Share { time: TIME_MAX, batches: BATCHES_MAX };
                let first = left.of_next(order.len());
                assert!(first.time >= TIME_MAX / 2 && first.batches >= BATCHES_MAX / 2);
                // Also after the longest wait for the replies about all partitions.
                let late = Share { time: TIME_MAX - REPLY_MAX, ..left };
                assert!(late.of_next(order.len()).time >= REPLY_MAX);
                for done in 0..order.len() {
                    let own = left.of_next(order.len() - done);
                    let (time, batches) = (left.time - own.time, left.batches - own.batches);
                    left = Share { time, batches };
                }
                assert_eq!(left, Share { time: Duration::ZERO, batches: 0 });
            }
            let always = if partitions < 3 { 0 } else { 3 };
            let missing: Vec<_> = (always..partitions).filter(|own| !turns.contains(own)).collect();
            assert_eq!(missing, Vec::<i32>::new(), "{partitions}: {turns:?}");
        }
    }
}
