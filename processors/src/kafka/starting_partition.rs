//! The partitions that the group assigns, with the positions from which they are to be read.
#![expect(clippy::disallowed_methods, reason = "bounds the requests of a rebalance together")]

use std::time::Duration;

use broker::server_error;
use rdkafka::TopicPartitionList;
use rdkafka::consumer::{Consumer, ConsumerContext};
use rdkafka::error::{KafkaError, KafkaResult, RDKafkaErrorCode};
use tokio::time::Instant;

use crate::flow::start_policy::{StartPosition, start_position};
use crate::kafka::log_bounds::{log_bounds, position};

/// Bounds one request.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(10);
/// Time between two attempts, for example while the brokers elect leaders.
const RETRY_PAUSE: Duration = Duration::from_millis(250);

/// A partition, the position to read it from, what the broker holds as committed, and the position after the
/// last record of the log.
pub(super) struct StartingPartition {
    pub(super) partition: i32,
    pub(super) start: StartPosition,
    pub(super) committed: Option<i64>,
    pub(super) end: i64,
}

/// The position from which each partition is to be read, by the start policy. Blocks; all requests together
/// take at most `budget`, for any number of partitions. Repeats requests that fail with a retryable error.
pub(super) fn starting_partitions<C: ConsumerContext>(
    consumer: &impl Consumer<C>,
    partitions: &TopicPartitionList,
    budget: Duration,
) -> KafkaResult<Vec<StartingPartition>> {
    let deadline = Instant::now() + budget;
    let left = || deadline.saturating_duration_since(Instant::now());
    loop {
        match query(consumer, partitions, || left().min(REQUEST_TIMEOUT)) {
            Err(error) if server_error(&error).is_retryable() && left() > RETRY_PAUSE => {
                std::thread::sleep(RETRY_PAUSE);
            }
            outcome => return outcome,
        }
    }
}

fn query<C: ConsumerContext>(
    consumer: &impl Consumer<C>,
    partitions: &TopicPartitionList,
    timeout: impl Fn() -> Duration,
) -> KafkaResult<Vec<StartingPartition>> {
    if partitions.count() == 0 {
        return Ok(Vec::new());
    }
    let committed = consumer.committed_offsets(partitions.clone(), timeout())?;
    let bounds = log_bounds(consumer, partitions, timeout)?;
    let mut starting = Vec::new();
    for element in committed.elements() {
        element.error()?;
        let partition = element.partition();
        let bounds = bounds.get(&partition).copied();
        let (low, high) = bounds.ok_or(KafkaError::OffsetFetch(RDKafkaErrorCode::NoOffset))?;
        let committed = position(element.offset());
        let start = start_position(committed, low, high);
        starting.push(StartingPartition { partition, start, committed, end: high });
    }
    Ok(starting)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::flow::start_policy::StartReason;
    use rdkafka::ClientConfig;
    use rdkafka::consumer::{BaseConsumer, DefaultConsumerContext};
    use rdkafka::mocking::MockCluster;

    const PARTITIONS: i32 = 40;
    const BUDGET: Duration = Duration::from_millis(300);

    #[test]
    fn the_requests_of_a_rebalance_have_one_budget_for_any_number_of_partitions() {
        let cluster = MockCluster::new(1).unwrap();
        cluster.create_topic("log", PARTITIONS, 1).unwrap();
        let mut config = ClientConfig::new();
        config.set("bootstrap.servers", cluster.bootstrap_servers()).set("group.id", "group");
        let consumer: BaseConsumer<DefaultConsumerContext> = config.create().unwrap();
        let mut list = TopicPartitionList::new();
        list.add_partition_range("log", 0, PARTITIONS - 1);
        let starting = starting_partitions(&consumer, &list, Duration::from_secs(10)).unwrap();
        let expected = StartPosition { position: 0, reason: StartReason::FirstRead };
        let found = starting.iter().map(|own| (own.partition, own.start, own.committed));
        assert!(found.eq((0..PARTITIONS).map(|own| (own, expected, None))));
        cluster.broker_down(1).unwrap();
        let began = Instant::now();
        assert!(starting_partitions(&consumer, &list, BUDGET).is_err());
        // One request for each partition would take 12 s.
        assert!(began.elapsed() < BUDGET * 10, "{:?}", began.elapsed());
    }
}
