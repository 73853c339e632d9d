//! Offsets of the group: assigns partitions with their positions, commits positions, queries them, and
//! seeks. Every function blocks.

use std::time::Duration;

use broker::{ServerError, server_error};
use rdkafka::Offset;
use rdkafka::consumer::{CommitMode, Consumer as _};
use rdkafka::error::KafkaError;
use records::flow::start_policy::start_position;

use crate::kafka::group_client::GroupClient;
use crate::kafka::log_bounds::{known_bounds, position};
use crate::kafka::starting_partition::{StartBudget, StartingPartition, starting_partitions};
use crate::run::source::{EpochPosition, Positions};

/// Bounds all requests before an assignment begins, with those that are repeated while the brokers elect
/// leaders. Partitions whose leaders do not answer hold the others for less than ten seconds.
const ASSIGN_BUDGET: StartBudget =
    StartBudget { committed: Duration::from_secs(30), bounds: Duration::from_secs(8) };
/// Bounds a request to the brokers.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(10);
/// Bounds the requests for the bounds of the log. Commits wait meanwhile.
const BOUNDS_TIMEOUT: Duration = Duration::from_secs(5);
/// Bounds a seek that only the threads of the library carry out.
const PASS_TIMEOUT: Duration = Duration::from_secs(2);

/// Assigns the partitions that the group requested, unless the request is withdrawn meanwhile.
///
/// # Errors
/// The positions from which they are read cannot be queried in time. The request stays.
pub(super) fn assign(client: &GroupClient) -> Result<(), ServerError> {
    let assignment = client.assignment();
    let Some(requested) = assignment.requested() else { return Ok(()) };
    let list = client.list(requested.into_iter().map(|partition| (partition, Offset::Invalid)))?;
    let starting = starting_partitions(&*client.consumer, &list, ASSIGN_BUDGET);
    let starting = starting.map_err(|error| server_error(&error))?;
    let positions = starting.iter().map(|own| (own.partition, Offset::Offset(own.start.position)));
    let positions = client.list(positions)?;
    if !assignment.begin_requested(starting) {
        return Ok(());
    }
    client.consumer.incremental_assign(&positions).map_err(|error| server_error(&error))?;
    // The library remembers that a partition was paused when it was assigned before, and would never
    // fetch it again.
    client.consumer.resume(&positions).map_err(|error| server_error(&error))
}

/// Commits those of `positions` whose epoch lasts. Waits up to the session timeout when the
/// coordinator does not answer.
pub(super) fn commit(client: &GroupClient, positions: &Positions) -> Result<(), ServerError> {
    let assignment = client.assignment();
    let _lasts = assignment.hold();
    let epochs = assignment.epochs();
    let offsets = client.list(
        positions
            .iter()
            .filter(|(partition, position)| epochs.get(partition) == Some(&position.epoch))
            .map(|(partition, position)| (*partition, Offset::Offset(position.position))),
    )?;
    if offsets.count() == 0 {
        return Ok(());
    }
    client.consumer.commit(&offsets, CommitMode::Sync).map_err(|error| server_error(&error))
}

/// What the broker holds as committed for the assigned partitions.
pub(super) fn committed(client: &GroupClient) -> Result<Positions, ServerError> {
    let epochs = client.assignment().epochs();
    let offsets = client.list(epochs.keys().map(|partition| (*partition, Offset::Invalid)))?;
    let found = client.consumer.committed_offsets(offsets, REQUEST_TIMEOUT);
    let found = found.map_err(|error| server_error(&error))?;
    let positions = found.elements().into_iter().filter_map(|element| {
        let epoch = *epochs.get(&element.partition())?;
        let position = position(element.offset())?;
        Some((element.partition(), EpochPosition { epoch, position }))
    });
    Ok(positions.collect())
}

/// Reads a partition from `target`, or by the start policy if that is outside the log, under a new
/// epoch.
pub(super) fn seek(client: &GroupClient, partition: i32, target: i64) -> Result<(), ServerError> {
    let bounds = client.consumer.fetch_watermarks(&client.topic, partition, BOUNDS_TIMEOUT);
    let (low, high) = bounds.map_err(|error| server_error(&error))?;
    let start = start_position(Some(target), low, high).after_reset();
    let (committed, end) = (Some(target), Some(high));
    begin_again(client, StartingPartition { partition, start, committed, end })
}

/// The position after the last record that the log holds of a partition.
pub(super) fn log_end(client: &GroupClient, partition: i32) -> Result<i64, ServerError> {
    let bounds = client.consumer.fetch_watermarks(&client.topic, partition, BOUNDS_TIMEOUT);
    bounds.map(|(_, high)| high).map_err(|error| server_error(&error))
}

/// Reads a partition from another position, under a new epoch.
fn begin_again(client: &GroupClient, starting: StartingPartition) -> Result<(), ServerError> {
    let StartingPartition { partition, start, .. } = starting;
    let offset = Offset::Offset(start.position);
    // The assignment may have ended since the request; from here on it cannot end.
    let _reading = client.reading.blocking_lock();
    let assignment = client.assignment();
    let _lasts = assignment.hold();
    if !assignment.epochs().contains_key(&partition) {
        return Ok(());
    }
    if client.consumer.seek(&client.topic, partition, offset, REQUEST_TIMEOUT).is_err() {
        // The library no longer fetches a partition whose position was lost, and a seek in it fails.
        let list = client.list(std::iter::once((partition, offset)))?;
        let assigned = client.consumer.incremental_unassign(&list);
        let assigned = assigned.and_then(|()| client.consumer.incremental_assign(&list));
        assigned.map_err(|error| server_error(&error))?;
    }
    assignment.begin([starting]);
    if assignment.limits().is_some_and(|limits| limits.has_to_resume(partition)) {
        let list = client.list(std::iter::once((partition, Offset::Invalid)))?;
        client.consumer.resume(&list).map_err(|error| server_error(&error))?;
    }
    Ok(())
}

/// The next offset to read of each assigned partition.
pub(super) fn read_positions(client: &GroupClient) -> Result<Positions, ServerError> {
    let positions = client.consumer.position().map_err(|error| server_error(&error))?;
    let (epochs, starts) = (client.assignment().epochs(), client.assignment().starts());
    let next = starts.into_iter().filter_map(|(partition, start)| {
        let read = positions.find_partition(&client.topic, partition);
        let position = read.and_then(|element| position(element.offset())).unwrap_or(start);
        Some((partition, EpochPosition { epoch: *epochs.get(&partition)?, position }))
    });
    Ok(next.collect())
}

/// Continues to read a partition at `next`, under the same epoch. Returns `false` if the epoch has
/// ended.
pub(super) fn pass(
    client: &GroupClient,
    partition: i32,
    next: EpochPosition,
) -> Result<bool, ServerError> {
    let assignment = client.assignment();
    let _lasts = assignment.hold();
    if assignment.epoch_to_read(partition) != Some(next.epoch) {
        return Ok(false);
    }
    let offset = Offset::Offset(next.position);
    let sought = client.consumer.seek(&client.topic, partition, offset, PASS_TIMEOUT);
    // The library still carries out a late request, so the passed batch must have its stub.
    let is_late =
        |error: &KafkaError| matches!(error, KafkaError::Seek(why) if why.contains("Timed out"));
    sought.or_else(|error| if is_late(&error) { Ok(()) } else { Err(server_error(&error)) })?;
    assignment.go_on_from(partition, next.position);
    Ok(true)
}

/// Seeks in every partition whose position is outside the log.
///
/// # Errors
/// Retryable: some leaders do not answer, or a seek failed. The other partitions are read.
pub(super) fn seek_into_log(client: &GroupClient) -> Result<(), ServerError> {
    let mut positions = read_positions(client)?;
    // No record of a range that has ended is to be read.
    positions.retain(|partition, _| client.assignment().reads(*partition));
    let list = client.list(positions.keys().map(|partition| (*partition, Offset::Invalid)))?;
    let bounds = known_bounds(&*client.consumer, &list, BOUNDS_TIMEOUT);
    let bounds = bounds.map_err(|error| server_error(&error))?;
    let mut failed = Ok(());
    for (partition, EpochPosition { position: next, .. }) in positions {
        let Some(&(low, high)) = bounds.get(&partition) else {
            let text = format!("the leader of partition {partition} does not answer");
            failed = Err(ServerError::retryable("kafka_unreachable", text));
            continue;
        };
        if (low..=high).contains(&next) {
            continue;
        }
        // Such a partition starts at 0: beyond it, records were read, and a gap is a loss.
        let is_first_read = next == 0 && client.assignment().has_unknown_start(partition);
        let (committed, start) = if is_first_read {
            (None, start_position(None, low, high))
        } else {
            (Some(next), start_position(Some(next), low, high).after_reset())
        };
        let starting = StartingPartition { partition, start, committed, end: Some(high) };
        failed = begin_again(client, starting).and(failed);
    }
    failed
}
