//! The partitions that the group assigns, with the positions from which they are to be read.
#![expect(clippy::disallowed_methods, reason = "bounds the requests of a rebalance together")]

use std::time::Duration;

use broker::server_error;
use rdkafka::TopicPartitionList;
use rdkafka::consumer::{Consumer, ConsumerContext};
use rdkafka::error::KafkaResult;
use records::flow::start_policy::{StartPosition, start_position, unchecked_start};
use tokio::time::Instant;

use crate::kafka::log_bounds::{LogBounds, known_bounds, position};

/// Bounds one request.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(10);
/// Time between two attempts, for example while the brokers elect leaders.
const RETRY_PAUSE: Duration = Duration::from_millis(250);

/// A partition, the position to read it from, and what the broker holds as committed.
pub(super) struct StartingPartition {
    pub(super) partition: i32,
    pub(super) start: StartPosition,
    pub(super) committed: Option<i64>,
    /// The position after the last record of the log, if it is known.
    pub(super) end: Option<i64>,
}

/// Longest times of the requests before an assignment.
#[derive(Debug, Clone, Copy)]
pub(super) struct StartBudget {
    /// For the committed positions, which the coordinator of the group holds.
    pub(super) committed: Duration,
    /// For the bounds of the log, which the leaders of the partitions hold.
    pub(super) bounds: Duration,
}

/// The position from which each partition is to be read, by the start policy. Blocks; all requests together
/// take at most `budget`, for any number of partitions. Repeats requests that fail with a retryable error.
/// A partition whose leader does not answer in time starts at its committed position.
pub(super) fn starting_partitions<C: ConsumerContext>(
    consumer: &impl Consumer<C>,
    partitions: &TopicPartitionList,
    budget: StartBudget,
) -> KafkaResult<Vec<StartingPartition>> {
    if partitions.count() == 0 {
        return Ok(Vec::new());
    }
    let committed = committed(consumer, partitions, budget.committed)?;
    let bounds = bounds(consumer, partitions, budget.bounds)?;
    let mut starting = Vec::new();
    for element in committed.elements() {
        let (partition, committed) = (element.partition(), position(element.offset()));
        let bounds = bounds.get(&partition).copied();
        let start = match bounds {
            Some((low, high)) => start_position(committed, low, high),
            None => unchecked_start(committed),
        };
        let end = bounds.map(|(_, high)| high);
        starting.push(StartingPartition { partition, start, committed, end });
    }
    Ok(starting)
}

fn committed<C: ConsumerContext>(
    consumer: &impl Consumer<C>,
    partitions: &TopicPartitionList,
    budget: Duration,
) -> KafkaResult<TopicPartitionList> {
    let deadline = Instant::now() + budget;
    let left = || deadline.saturating_duration_since(Instant::now());
    loop {
        let found = consumer.committed_offsets(partitions.clone(), left().min(REQUEST_TIMEOUT));
        let found = found.and_then(|found| {
            found.elements().iter().try_for_each(|element| element.error())?;
            Ok(found)
        });
        match found {
            Err(error) if server_error(&error).is_retryable() && left() > RETRY_PAUSE => {
                std::thread::sleep(RETRY_PAUSE);
            }
            outcome => return outcome,
        }
    }
}

/// The bounds of all partitions, or after `budget` of those whose leaders have answered.
fn bounds<C: ConsumerContext>(
    consumer: &impl Consumer<C>,
    partitions: &TopicPartitionList,
    budget: Duration,
) -> KafkaResult<LogBounds> {
    let deadline = Instant::now() + budget;
    let left = || deadline.saturating_duration_since(Instant::now());
    let (mut bounds, mut open) = (LogBounds::new(), partitions.clone());
    loop {
        bounds.extend(known_bounds(consumer, &open, left())?);
        let elements = partitions.elements();
        open = TopicPartitionList::new();
        for own in elements.iter().filter(|own| !bounds.contains_key(&own.partition())) {
            open.add_partition(own.topic(), own.partition());
        }
        if open.count() == 0 || left() <= RETRY_PAUSE {
            return Ok(bounds);
        }
        std::thread::sleep(RETRY_PAUSE);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rdkafka::ClientConfig;
    use rdkafka::client::ClientContext;
    use rdkafka::consumer::{BaseConsumer, DefaultConsumerContext};
    use rdkafka::mocking::MockCluster;
    use records::flow::start_policy::StartReason;

    const PARTITIONS: i32 = 40;
    const BUDGET: Duration = Duration::from_millis(300);
    const START: StartPosition = StartPosition { position: 0, reason: StartReason::FirstRead };

    /// A consumer of a topic of one broker, and the list of its partitions.
    fn consumer(cluster: &MockCluster<'_, impl ClientContext>) -> Partitions {
        cluster.create_topic("log", PARTITIONS, 1).unwrap();
        let mut config = ClientConfig::new();
        config.set("bootstrap.servers", cluster.bootstrap_servers()).set("group.id", "group");
        let mut list = TopicPartitionList::new();
        list.add_partition_range("log", 0, PARTITIONS - 1);
        (config.create().unwrap(), list)
    }

    type Partitions = (BaseConsumer<DefaultConsumerContext>, TopicPartitionList);

    #[test]
    fn the_requests_of_a_rebalance_have_one_budget_for_any_number_of_partitions() {
        let cluster = MockCluster::new(1).unwrap();
        let (consumer, list) = consumer(&cluster);
        let ten = Duration::from_secs(10);
        let budget = StartBudget { committed: ten, bounds: ten };
        let starting = starting_partitions(&consumer, &list, budget).unwrap();
        let found = starting.iter().map(|own| (own.partition, own.start, own.committed, own.end));
        assert!(found.eq((0..PARTITIONS).map(|own| (own, START, None, Some(0)))));
        cluster.broker_down(1).unwrap();
        let began = Instant::now();
        let budget = StartBudget { committed: BUDGET, bounds: BUDGET };
        assert!(starting_partitions(&consumer, &list, budget).is_err());
        // One request for each partition would take 12 s.
        assert!(began.elapsed() < BUDGET * 10, "{:?}", began.elapsed());
    }

    #[test]
    fn a_partition_without_a_leader_starts_unchecked_and_holds_no_other_one() {
        let cluster = MockCluster::new(1).unwrap();
        let (consumer, list) = consumer(&cluster);
        cluster.partition_leader("log", 7, None).unwrap();
        let began = Instant::now();
        let budget = StartBudget { committed: Duration::from_secs(10), bounds: BUDGET * 4 };
        let starting = starting_partitions(&consumer, &list, budget).unwrap();
        assert!(began.elapsed() < Duration::from_secs(9), "{:?}", began.elapsed());
        let unchecked = StartPosition { position: 0, reason: StartReason::Unchecked };
        let found = starting.iter().map(|own| (own.partition, own.start, own.end));
        let expected = |own| if own == 7 { (own, unchecked, None) } else { (own, START, Some(0)) };
        assert!(found.eq((0..PARTITIONS).map(expected)));
    }
}
