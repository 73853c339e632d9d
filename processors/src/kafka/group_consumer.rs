//! The group's consumer: reads the topic as a member of the group.

use std::collections::BTreeMap;
use std::sync::Arc;

use broker::{
    BATCH_UNREADABLE, BatchProbe, Brokers, ProbeFindings, ServerError, UnreadableBatch,
    message_headers, server_error,
};
use futures_util::{FutureExt as _, StreamExt as _};
use rdkafka::Offset;
use rdkafka::consumer::Consumer as _;
use rdkafka::error::KafkaError;
use rdkafka::message::{BorrowedMessage, Message as _};
use records::flow::block::{Block, Header, RecordMetadata, SizeLimits};
use records::flow::offset_range::OffsetRange;
use records::replay::log_range::LogRange;
use tokio::task::{JoinError, JoinSet};

use crate::kafka::assignment::assign_none;
use crate::kafka::client_id::CLIENT_ID;
use crate::kafka::group_client::GroupClient;
use crate::kafka::group_settings::GroupSettings;
use crate::kafka::offsets;
use crate::kafka::read_epoch::ReadEpoch;
use crate::kafka::read_limits::{ReadLimits, ReadStep};
use crate::kafka::unreadable_errors::UnreadableErrors;
use crate::run::source::{EpochPosition, Notice, Positions, Source};

/// A member of the group that reads one topic.
pub struct GroupConsumer {
    client: Arc<GroupClient>,
    /// Used only while records are read.
    probing: tokio::sync::Mutex<Probing>,
    /// Likewise. At most one task, which assigns partitions.
    assigning: tokio::sync::Mutex<JoinSet<Result<(), ServerError>>>,
    /// Likewise. Queries the ends of the log of partitions that seem to have no more records.
    ending: tokio::sync::Mutex<JoinSet<LogEnd>>,
}

/// A partition, and the position after the last record that the log holds of it.
type LogEnd = (i32, Result<i64, ServerError>);

/// The search for a batch that cannot be read. Records of other partitions are read meanwhile.
struct Probing {
    probe: BatchProbe,
    errors: UnreadableErrors,
    /// At most one probe.
    running: JoinSet<ProbeFindings>,
}

impl std::fmt::Debug for GroupConsumer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("GroupConsumer").field("topic", &self.client.topic).finish_non_exhaustive()
    }
}

impl GroupConsumer {
    /// Joins `group` and subscribes to `topic`.
    ///
    /// # Errors
    /// Fatal for a property that is refused; an unreachable broker is reported while reading.
    pub fn join(
        brokers: &Brokers,
        group: &GroupSettings,
        topic: &str,
    ) -> Result<Self, ServerError> {
        Self::join_within(brokers, group, topic, None)
    }

    /// As [`GroupConsumer::join`], to read what is within `limits`.
    ///
    /// # Errors
    /// Likewise.
    pub fn join_within(
        brokers: &Brokers,
        group: &GroupSettings,
        topic: &str,
        limits: Option<ReadLimits>,
    ) -> Result<Self, ServerError> {
        let probe = BatchProbe::new(brokers, CLIENT_ID, topic);
        let (errors, running) = (UnreadableErrors::default(), JoinSet::new());
        let probing = tokio::sync::Mutex::new(Probing { probe, errors, running });
        let client = Arc::new(GroupClient::join(brokers, group, topic, limits)?);
        let (assigning, ending) = Default::default();
        Ok(Self { client, probing, assigning, ending })
    }

    /// Takes an error of the library; starts a probe after several errors of an unreadable batch.
    fn take_error(&self, error: ServerError, probing: &mut Probing) -> ServerError {
        if error.code != BATCH_UNREADABLE || !probing.errors.add() || !probing.running.is_empty() {
            return error;
        }
        // Of all partitions: the error does not state its own.
        self.start_probe(probing, |_| true).err().unwrap_or(error)
    }

    fn start_probe(
        &self,
        probing: &mut Probing,
        is_asked: impl Fn(i32) -> bool,
    ) -> Result<(), ServerError> {
        let (positions, assignment) =
            (offsets::read_positions(&self.client)?, self.client.assignment());
        let asked = positions.iter().filter(|(own, _)| is_asked(**own) && assignment.reads(**own));
        let positions: BTreeMap<_, _> = asked.map(|(own, at)| (*own, at.position)).collect();
        if !positions.is_empty() {
            let probe = probing.probe.clone();
            probing.running.spawn_blocking(move || probe.find(&positions));
        }
        Ok(())
    }

    /// Passes batches that cannot be read: a stub of each goes into the block.
    fn pass(&self, found: &[UnreadableBatch], block: &mut Block) -> Result<(), ServerError> {
        for &UnreadableBatch { partition, first, last, from } in found {
            let positions = offsets::read_positions(&self.client)?;
            let Some(&EpochPosition { epoch, position }) = positions.get(&partition) else {
                continue;
            };
            let assignment = self.client.assignment();
            // Another client may have reset the position meanwhile, or its range have ended.
            if position != from || !assignment.reads(partition) {
                continue;
            }
            if assignment.limits().is_some_and(|limits| limits.is_beyond(partition, first)) {
                self.end(partition, block)?;
                continue;
            }
            let next = EpochPosition { epoch, position: last + 1 };
            if offsets::pass(&self.client, partition, next)? {
                let (code, topic) = (BATCH_UNREADABLE, &self.client.topic);
                let what = "a batch cannot be read; its stub becomes a dead letter";
                tracing::error!(code, topic, partition, first, last, "{what}");
                // The log time is in the batch.
                let metadata = RecordMetadata { partition, offset: first, epoch, logged_at_ms: 0 };
                block.push_unreadable(metadata, position, last);
                if let Some(limits) = assignment.limits() {
                    limits.pass(partition, last + 1);
                }
            }
        }
        Ok(())
    }

    /// Appends a record, unless it is not to be read. At the end of a range, reading continues at the next one;
    /// it pauses after the last one.
    fn take(
        &self,
        message: &BorrowedMessage<'_>,
        epoch: &mut ReadEpoch,
        block: &mut Block,
    ) -> Result<(), ServerError> {
        let (partition, assignment) = (message.partition(), self.client.assignment());
        let Some(epoch) = epoch.of(partition, assignment) else { return Ok(()) };
        let Some(limits) = assignment.limits() else {
            self.push(message, epoch, block);
            return Ok(());
        };
        let Some((is_own, next)) = limits.read(partition, message.offset()) else {
            return self.end(partition, block);
        };
        if is_own {
            self.push(message, epoch, block);
        }
        // The position is before the next range after the last record of a range, and where another client
        // has reset it. Otherwise the library had fetched the record before it read on elsewhere.
        match next {
            ReadStep::Record => Ok(()),
            ReadStep::Gap(gap) => self.read_on(partition, epoch, gap, block),
            ReadStep::Ended => self.pause_one(partition),
        }
    }

    /// The library reports that a partition has no more records, by the reply of a leader which may have been
    /// elected just before, and then reports an earlier end. So the range ends only when the library reports
    /// it again after the log was seen to have all records of the range.
    fn end_of_log(
        &self,
        partition: i32,
        block: &mut Block,
        ending: &mut JoinSet<LogEnd>,
    ) -> Result<(), ServerError> {
        match self.client.assignment().limits() {
            Some(limits) if limits.ends_with_log(partition) => self.end(partition, block),
            Some(_) => {
                self.query_end(partition, ending);
                Ok(())
            }
            None => Ok(()),
        }
    }

    fn query_end(&self, partition: i32, ending: &mut JoinSet<LogEnd>) {
        let client = Arc::clone(&self.client);
        ending.spawn_blocking(move || (partition, offsets::log_end(&client, partition)));
    }

    /// If the log has all records of a range, reads on from the position, so that the library reports the end of
    /// the partition again.
    fn confirm_end(
        &self,
        (partition, high): LogEnd,
        ending: &mut JoinSet<LogEnd>,
    ) -> Result<(), ServerError> {
        let Some(limits) = self.client.assignment().limits() else { return Ok(()) };
        let confirmed = high.and_then(|high| {
            // Otherwise the log has to grow, and the library reports its new end.
            if !limits.is_within(partition, high) {
                return Ok(());
            }
            let positions = offsets::read_positions(&self.client)?;
            let Some(next) = positions.get(&partition) else { return Ok(()) };
            // The library may not know yet that reading has continued in the next range.
            let position = next.position.max(limits.next_offset(partition).unwrap_or_default());
            if offsets::pass(&self.client, partition, EpochPosition { position, ..*next })? {
                limits.confirm_end(partition);
            }
            Ok(())
        });
        if confirmed.is_err() {
            self.query_end(partition, ending);
        }
        confirmed
    }

    /// No record of the range that is read of a partition follows.
    fn end(&self, partition: i32, block: &mut Block) -> Result<(), ServerError> {
        let assignment = self.client.assignment();
        let Some(limits) = assignment.limits() else { return Ok(()) };
        let Some(epoch) = assignment.epoch_to_read(partition) else { return Ok(()) };
        match limits.end(partition) {
            Some(gap) => self.read_on(partition, epoch, gap, block),
            None if limits.has_ended(partition) => self.pause_one(partition),
            None => Ok(()),
        }
    }

    /// Passes offsets that are not to be read: they are committed in their turn. Reading continues after them,
    /// in the next range; it pauses after the last one.
    fn read_on(
        &self,
        partition: i32,
        epoch: u64,
        LogRange { first, end: next }: LogRange,
        block: &mut Block,
    ) -> Result<(), ServerError> {
        block.push_gap(partition, OffsetRange { epoch, first, next });
        let assignment = self.client.assignment();
        match assignment.limits().and_then(|limits| limits.next_offset(partition)) {
            // Under epoch 0 the partition is no longer assigned.
            Some(position) if epoch > 0 => {
                offsets::pass(&self.client, partition, EpochPosition { epoch, position }).map(drop)
            }
            Some(_) => Ok(()),
            None => self.pause_one(partition),
        }
    }

    fn pause_one(&self, partition: i32) -> Result<(), ServerError> {
        let list = self.client.list(std::iter::once((partition, Offset::Invalid)))?;
        self.client.consumer.pause(&list).map_err(|error| server_error(&error))
    }

    fn push(&self, message: &BorrowedMessage<'_>, epoch: u64, block: &mut Block) {
        let partition = message.partition();
        let headers = message_headers(message);
        let metadata = RecordMetadata {
            partition,
            offset: message.offset(),
            epoch,
            // The preflight requires `LogAppendTime`, with which every record has a time.
            logged_at_ms: message.timestamp().to_millis().unwrap_or_default(),
        };
        let Some(headers) = headers else {
            block.push_without_headers(metadata, message.key(), message.payload());
            return;
        };
        let headers = headers.iter().map(|(name, value)| Header { name, value: *value });
        block.push(metadata, message.key(), message.payload(), headers);
    }
}

impl Source for GroupConsumer {
    async fn fill(&self, block: &mut Block, limits: SizeLimits) -> Result<(), ServerError> {
        let _reading = self.client.reading.lock().await;
        let mut probing = self.probing.lock().await;
        let mut assigning = self.assigning.lock().await;
        let mut ending = self.ending.lock().await;
        let (assignment, mut epoch) = (self.client.assignment(), ReadEpoch::default());
        // `recv` would make such a stream, which takes a lock, for each record.
        let mut messages = self.client.consumer.stream();
        let mut message = loop {
            tokio::select! {
                biased;
                () = assignment.request() => {
                    let client = Arc::clone(&self.client);
                    assigning.spawn_blocking(move || offsets::assign(&client));
                }
                Some(assigned) = assigning.join_next() => {
                    if let Err(error) = assigned.unwrap_or_else(panicked) {
                        assignment.fail(error);
                    }
                    return Ok(());
                }
                Some(found) = probing.running.join_next() => {
                    let found = found.or_else(panicked)?;
                    assignment.probed(&found);
                    return self.pass(&found.batches, block);
                }
                Some(end) = ending.join_next() => {
                    let end = end.map_err(|error| ServerError::fatal("task_panicked", error))?;
                    return self.confirm_end(end, &mut ending);
                }
                () = assignment.silence(), if probing.running.is_empty() => {
                    let due = assignment.take_due();
                    self.start_probe(&mut probing, |partition| due.contains(&partition))?;
                }
                Some(message) = messages.next() => break message,
            }
        };
        loop {
            match message {
                Ok(message) => self.take(&message, &mut epoch, block)?,
                Err(KafkaError::PartitionEOF(partition)) => {
                    self.end_of_log(partition, block, &mut ending)?;
                }
                Err(error) => return Err(self.take_error(server_error(&error), &mut probing)),
            }
            if block.is_full(limits) {
                return Ok(());
            }
            match messages.next().now_or_never().flatten() {
                Some(next) => message = next,
                None => return Ok(()),
            }
        }
    }

    fn take_notices(&self) -> Result<Vec<Notice>, ServerError> {
        self.client.assignment().take_notices()
    }

    fn release(&self, partitions: &[i32]) -> Result<(), ServerError> {
        let assignment = self.client.assignment();
        let revoked = assignment.revoked_of(partitions);
        if revoked.is_empty() {
            return Ok(());
        }
        assignment.end(&revoked);
        let revoked = revoked.into_iter().map(|partition| (partition, Offset::Invalid));
        let list = self.client.list(revoked)?;
        self.client.consumer.incremental_unassign(&list).map_err(|error| server_error(&error))
    }

    async fn commit(self: Arc<Self>, positions: Positions) -> Result<(), ServerError> {
        blocking(move || offsets::commit(&self.client, &positions)).await
    }

    async fn committed_positions(self: Arc<Self>) -> Result<Positions, ServerError> {
        blocking(move || offsets::committed(&self.client)).await
    }

    async fn seek(self: Arc<Self>, partition: i32, position: i64) -> Result<(), ServerError> {
        blocking(move || offsets::seek(&self.client, partition, position)).await
    }

    async fn seek_into_log(self: Arc<Self>) -> Result<(), ServerError> {
        blocking(move || offsets::seek_into_log(&self.client)).await
    }

    fn pause(&self) -> Result<(), ServerError> {
        let assignment = self.client.assignment();
        assignment.set_paused(true);
        if let Some(limits) = assignment.limits() {
            limits.set_paused(true);
        }
        let consumer = &self.client.consumer;
        let all = consumer.assignment().map_err(|error| server_error(&error))?;
        consumer.pause(&all).map_err(|error| server_error(&error))
    }

    fn resume(&self) -> Result<(), ServerError> {
        let consumer = &self.client.consumer;
        let all = consumer.assignment().map_err(|error| server_error(&error))?;
        let assignment = self.client.assignment();
        assignment.set_paused(false);
        if let Some(limits) = assignment.limits() {
            limits.set_paused(false);
        }
        let all = all.elements().into_iter().map(|element| element.partition());
        let open = all.filter(|partition| assignment.reads(*partition));
        let open = self.client.list(open.map(|partition| (partition, Offset::Invalid)))?;
        consumer.resume(&open).map_err(|error| server_error(&error))
    }

    fn lag(&self) -> BTreeMap<i32, u64> {
        self.client.assignment().lag()
    }
}

impl Drop for GroupConsumer {
    fn drop(&mut self) {
        // The client leaves the group: the group revokes all partitions, and waits for their release.
        let assignment = self.client.assignment();
        let revoked = assignment.close();
        if assignment.withdraw_request() {
            assign_none(&*self.client.consumer);
        }
        if let Err(error) = self.release(&revoked) {
            tracing::debug!(%error, "cannot release partitions while leaving the group");
        }
    }
}

async fn blocking<T: Send + 'static>(
    request: impl FnOnce() -> Result<T, ServerError> + Send + 'static,
) -> Result<T, ServerError> {
    tokio::task::spawn_blocking(request).await.unwrap_or_else(panicked)
}

fn panicked<T>(error: JoinError) -> Result<T, ServerError> {
    Err(ServerError::fatal("task_panicked", error))
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::kafka::group_settings::GroupProtocol;
    use rdkafka::mocking::MockCluster;
    use rdkafka::types::{RDKafkaApiKey, RDKafkaRespErr};
    use tokio::time::timeout;

    #[tokio::test]
    async fn a_member_whose_assignment_failed_ends_and_can_leave_the_group() {
        let cluster = MockCluster::new(1).unwrap();
        cluster.create_topic("log", 1, 1).unwrap();
        let refused = [RDKafkaRespErr::RD_KAFKA_RESP_ERR_GROUP_AUTHORIZATION_FAILED; 100];
        cluster.request_errors(RDKafkaApiKey::OffsetFetch, &refused);
        let brokers = Brokers { servers: cluster.bootstrap_servers(), properties: Vec::new() };
        let (id, instance_id) = ("group".to_owned(), None);
        let group = GroupSettings { id, protocol: GroupProtocol::Classic, instance_id };
        let consumer = GroupConsumer::join(&brokers, &group, "log").unwrap();
        let limits = SizeLimits { rows_max: 1, bytes_max: 1 };
        let read = async {
            while consumer.take_notices().is_ok() {
                let mut block = Block::default();
                let filled = consumer.fill(&mut block, limits);
                drop(timeout(Duration::from_millis(100), filled).await);
            }
        };
        timeout(Duration::from_secs(20), read).await.unwrap();
        let (left, has_left) = tokio::sync::oneshot::channel();
        std::thread::spawn(move || {
            drop(consumer);
            left.send(())
        });
        timeout(Duration::from_secs(10), has_left).await.unwrap().unwrap();
    }
}
