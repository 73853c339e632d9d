//! The group's consumer: reads the topic as a member of the group.

use std::collections::BTreeMap;
use std::sync::Arc;

use broker::{Brokers, ServerError, server_error};
use futures_util::FutureExt as _;
use rdkafka::Offset;
use rdkafka::consumer::Consumer as _;
use rdkafka::message::{BorrowedMessage, Headers as _, Message as _};

use crate::flow::block::{Block, Header, RecordMetadata, SizeLimits};
use crate::kafka::group_client::GroupClient;
use crate::kafka::group_settings::GroupSettings;
use crate::kafka::offsets;
use crate::run::source::{Notice, Positions, Source};

/// A member of the group that reads one topic.
pub struct GroupConsumer {
    client: GroupClient,
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
        Ok(Self { client: GroupClient::join(brokers, group, topic)? })
    }

    fn push(&self, message: &BorrowedMessage<'_>, block: &mut Block) {
        let partition = message.partition();
        let Some(epoch) = self.client.assignment().epoch_to_read(partition) else { return };
        let headers = message.headers().into_iter().flat_map(|headers| headers.iter());
        let metadata = RecordMetadata {
            partition,
            offset: message.offset(),
            epoch,
            // The preflight requires `LogAppendTime`, with which every record has a time.
            logged_at_ms: message.timestamp().to_millis().unwrap_or_default(),
        };
        let headers = headers.map(|header| Header { name: header.key, value: header.value });
        block.push(metadata, message.key(), message.payload(), headers);
    }
}

impl Source for GroupConsumer {
    async fn fill(&self, block: &mut Block, limits: SizeLimits) -> Result<(), ServerError> {
        let _reading = self.client.reading.lock().await;
        let consumer = &self.client.consumer;
        let mut message = consumer.recv().await;
        loop {
            self.push(&message.map_err(|error| server_error(&error))?, block);
            if block.is_full(limits) {
                return Ok(());
            }
            match consumer.recv().now_or_never() {
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
        let consumer = &self.client.consumer;
        let all = consumer.assignment().map_err(|error| server_error(&error))?;
        consumer.pause(&all).map_err(|error| server_error(&error))
    }

    fn resume(&self) -> Result<(), ServerError> {
        let consumer = &self.client.consumer;
        let all = consumer.assignment().map_err(|error| server_error(&error))?;
        consumer.resume(&all).map_err(|error| server_error(&error))
    }

    fn lag(&self) -> BTreeMap<i32, u64> {
        self.client.assignment().lag()
    }
}

impl Drop for GroupConsumer {
    fn drop(&mut self) {
        // The client leaves the group: the group revokes all partitions, and waits for their release.
        let revoked = self.client.assignment().close();
        if let Err(error) = self.release(&revoked) {
            tracing::debug!(%error, "cannot release partitions while leaving the group");
        }
    }
}

async fn blocking<T: Send + 'static>(
    request: impl FnOnce() -> Result<T, ServerError> + Send + 'static,
) -> Result<T, ServerError> {
    let reply = tokio::task::spawn_blocking(request).await;
    reply.map_err(|panicked| ServerError::fatal("task_panicked", panicked))?
}
