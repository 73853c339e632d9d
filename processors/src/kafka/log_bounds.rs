//! The bounds of partitions in the log. Two requests query them, for any number of partitions of a broker.
#![expect(clippy::disallowed_methods, reason = "bounds the requests to all leaders together")]

use std::collections::BTreeMap;
use std::time::Duration;

use broker::server_error;
use rdkafka::consumer::{Consumer, ConsumerContext};
use rdkafka::error::{KafkaError, KafkaResult, RDKafkaErrorCode};
use rdkafka::{Offset, TopicPartitionList};
use tokio::time::Instant;

/// By partition: the first offset, and the position after the last record.
pub(super) type LogBounds = BTreeMap<i32, (i64, i64)>;

/// Queries the bounds of all `partitions`, which are of one topic. Each of the two requests takes at most
/// what `timeout` returns when it is sent.
pub(super) fn log_bounds<C: ConsumerContext>(
    consumer: &impl Consumer<C>,
    partitions: &TopicPartitionList,
    timeout: impl Fn() -> Duration,
) -> KafkaResult<LogBounds> {
    if partitions.count() == 0 {
        return Ok(LogBounds::new());
    }
    let found = query(consumer, partitions, timeout)?.into_iter();
    found.map(|(partition, bounds)| Ok((partition, bounds?))).collect()
}

/// Queries the bounds of those of `partitions`, which are of one topic, whose leaders answer. All requests
/// together take at most `budget`; each leader has an equal share of what is left of it, so that one that
/// does not answer does not take the time of the others.
///
/// # Errors
/// An error that is not retryable.
pub(super) fn known_bounds<C: ConsumerContext>(
    consumer: &impl Consumer<C>,
    partitions: &TopicPartitionList,
    budget: Duration,
) -> KafkaResult<LogBounds> {
    let deadline = Instant::now() + budget;
    let until = |end: Instant| end.saturating_duration_since(Instant::now());
    let mut bounds = LogBounds::new();
    let Some(by_leader) = answered(by_leader(consumer, partitions, budget))? else {
        return Ok(bounds);
    };
    let mut open: u32 = by_leader.values().map(|_| 1).sum();
    for own in by_leader.values() {
        let share = Instant::now() + until(deadline) / open;
        open -= 1;
        let found = answered(query(consumer, own, || until(share)))?;
        for (partition, found) in found.into_iter().flatten() {
            bounds.extend(answered(found)?.map(|found| (partition, found)));
        }
    }
    Ok(bounds)
}

/// The partitions that have a leader, by leader.
fn by_leader<C: ConsumerContext>(
    consumer: &impl Consumer<C>,
    partitions: &TopicPartitionList,
    timeout: Duration,
) -> KafkaResult<BTreeMap<i32, TopicPartitionList>> {
    let mut by_leader = BTreeMap::<i32, TopicPartitionList>::new();
    let elements = partitions.elements();
    let Some(topic) = elements.first().map(|element| element.topic()) else {
        return Ok(by_leader);
    };
    let metadata = consumer.fetch_metadata(Some(topic), timeout)?;
    for found in metadata.topics().iter().flat_map(|found| found.partitions()) {
        if found.leader() >= 0 && partitions.find_partition(topic, found.id()).is_some() {
            by_leader.entry(found.leader()).or_default().add_partition(topic, found.id());
        }
    }
    Ok(by_leader)
}

/// `None` in place of a retryable error.
fn answered<T>(found: KafkaResult<T>) -> KafkaResult<Option<T>> {
    match found {
        Ok(found) => Ok(Some(found)),
        Err(error) if server_error(&error).is_retryable() => Ok(None),
        Err(error) => Err(error),
    }
}

/// What a request found of each partition.
type Answers<T> = BTreeMap<i32, KafkaResult<T>>;

fn query<C: ConsumerContext>(
    consumer: &impl Consumer<C>,
    partitions: &TopicPartitionList,
    timeout: impl Fn() -> Duration,
) -> KafkaResult<Answers<(i64, i64)>> {
    let first = offsets(consumer, partitions, Offset::Beginning, timeout())?;
    let mut next = offsets(consumer, partitions, Offset::End, timeout())?;
    let bounds = first.into_iter().map(|(partition, low)| {
        let high = next.remove(&partition).unwrap_or(Err(NO_OFFSET));
        (partition, low.and_then(|low| Ok((low, high?))))
    });
    Ok(bounds.collect())
}

const NO_OFFSET: KafkaError = KafkaError::OffsetFetch(RDKafkaErrorCode::NoOffset);

fn offsets<C: ConsumerContext>(
    consumer: &impl Consumer<C>,
    partitions: &TopicPartitionList,
    end: Offset,
    timeout: Duration,
) -> KafkaResult<Answers<i64>> {
    let mut list = partitions.clone();
    // The request takes the two ends of the log as special timestamps.
    list.set_all_offsets(end)?;
    let found = consumer.offsets_for_times(list, timeout)?;
    let found = found.elements().into_iter().map(|element| {
        let offset = position(element.offset()).ok_or(NO_OFFSET);
        (element.partition(), element.error().and(offset))
    });
    Ok(found.collect())
}

/// The position, if it is a plain offset.
pub(super) fn position(offset: Offset) -> Option<i64> {
    match offset {
        Offset::Offset(position) => Some(position),
        Offset::Beginning
        | Offset::End
        | Offset::Stored
        | Offset::Invalid
        | Offset::OffsetTail(_) => None,
    }
}
