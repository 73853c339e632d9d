//! Offsets of the group: commits positions, queries them, and seeks. All of it blocks.

use std::time::Duration;

use broker::{ServerError, server_error};
use rdkafka::Offset;
use rdkafka::consumer::{CommitMode, Consumer as _};
use rdkafka::error::KafkaError;

use crate::flow::start_policy::start_position;
use crate::kafka::assignment::{REQUEST_TIMEOUT, StartingPartition, position};
use crate::kafka::group_client::GroupClient;
use crate::run::source::{EpochPosition, Positions};

/// Bounds a seek of which only the library's own threads know.
const PASS_TIMEOUT: Duration = Duration::from_secs(2);

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

/// Reads a partition from `target`, or by the start policy if that lies outside the log, under a new
/// epoch.
pub(super) fn seek(client: &GroupClient, partition: i32, target: i64) -> Result<(), ServerError> {
    let bounds = client.consumer.fetch_watermarks(&client.topic, partition, REQUEST_TIMEOUT);
    let (low, high) = bounds.map_err(|error| server_error(&error))?;
    let start = start_position(Some(target), low, high).after_reset();
    let offset = Offset::Offset(start.position);
    // The assignment may have ended since, and does not end from here on.
    let _reading = client.reading.blocking_lock();
    let assignment = client.assignment();
    let _lasts = assignment.hold();
    if !assignment.epochs().contains_key(&partition) {
        return Ok(());
    }
    if client.consumer.seek(&client.topic, partition, offset, REQUEST_TIMEOUT).is_err() {
        // A partition whose position was lost is not fetched any more, and a seek in it fails.
        let list = client.list(std::iter::once((partition, offset)))?;
        let assigned = client.consumer.incremental_unassign(&list);
        let assigned = assigned.and_then(|()| client.consumer.incremental_assign(&list));
        assigned.map_err(|error| server_error(&error))?;
    }
    assignment.begin([StartingPartition { partition, start, committed: Some(target) }]);
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

/// Goes on reading a partition from `next`, under the same epoch; `false` if that has ended.
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
    // A request that is late is still carried out: what is passed must have its stub.
    let is_late =
        |error: &KafkaError| matches!(error, KafkaError::Seek(why) if why.contains("Timed out"));
    sought.or_else(|error| if is_late(&error) { Ok(()) } else { Err(server_error(&error)) })?;
    assignment.go_on_from(partition, next.position);
    Ok(true)
}

/// Seeks in every partition whose position lies outside the log.
pub(super) fn seek_into_log(client: &GroupClient) -> Result<(), ServerError> {
    for (partition, EpochPosition { position: next, .. }) in read_positions(client)? {
        let bounds = client.consumer.fetch_watermarks(&client.topic, partition, REQUEST_TIMEOUT);
        let (low, high) = bounds.map_err(|error| server_error(&error))?;
        if !(low..=high).contains(&next) {
            seek(client, partition, next)?;
        }
    }
    Ok(())
}
