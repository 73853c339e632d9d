//! The bounds of partitions in the log. Two requests query them, for any number of partitions.

use std::collections::BTreeMap;
use std::time::Duration;

use rdkafka::consumer::{Consumer, ConsumerContext};
use rdkafka::error::{KafkaError, KafkaResult, RDKafkaErrorCode};
use rdkafka::{Offset, TopicPartitionList};

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
    let first = offsets(consumer, partitions, Offset::Beginning, timeout())?;
    let next = offsets(consumer, partitions, Offset::End, timeout())?;
    Ok(first
        .into_iter()
        .zip(next.into_values())
        .map(|((own, low), high)| (own, (low, high)))
        .collect())
}

fn offsets<C: ConsumerContext>(
    consumer: &impl Consumer<C>,
    partitions: &TopicPartitionList,
    end: Offset,
    timeout: Duration,
) -> KafkaResult<BTreeMap<i32, i64>> {
    let mut list = partitions.clone();
    // The request takes the two ends of the log as special timestamps.
    list.set_all_offsets(end)?;
    let found = consumer.offsets_for_times(list, timeout)?;
    let found = found.elements().into_iter().map(|element| {
        element.error()?;
        let offset = position(element.offset());
        Ok((
            element.partition(),
            offset.ok_or(KafkaError::OffsetFetch(RDKafkaErrorCode::NoOffset))?,
        ))
    });
    found.collect()
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
