//! The reader of the topic of links, a member of a group of its own.

use std::time::Duration;

use broker::{Brokers, QuietContext, ServerError, server_error};
use rdkafka::consumer::{BaseConsumer, CommitMode, Consumer as _};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::Message as _;

use crate::kafka::client_id::CLIENT_ID;

/// Records that one call returns.
const BATCH: usize = 10_000;
/// How long no record may come before a call returns those that came.
const POLL: Duration = Duration::from_millis(200);

/// A member of the group.
pub struct LinkReader {
    consumer: BaseConsumer<QuietContext>,
}

impl std::fmt::Debug for LinkReader {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("LinkReader")
    }
}

impl LinkReader {
    /// Joins the group.
    ///
    /// # Errors
    /// A property that is refused.
    pub fn join(brokers: &Brokers, group: &str, topic: &str) -> Result<Self, ServerError> {
        let config = brokers.config(
            CLIENT_ID,
            &[],
            &[
                ("group.id", group),
                ("enable.auto.commit", "false"),
                ("enable.auto.offset.store", "false"),
                ("auto.offset.reset", "earliest"),
                ("queued.max.messages.kbytes", "8192"),
            ],
        )?;
        let consumer: BaseConsumer<QuietContext> =
            config.create_with_context(QuietContext).map_err(|error| server_error(&error))?;
        consumer.subscribe(&[topic]).map_err(|error| server_error(&error))?;
        Ok(Self { consumer })
    }

    /// The values that have come, none when no record has. Blocks for a moment.
    ///
    /// # Errors
    /// The topic does not exist, or the group refuses the member.
    pub fn read(&self) -> Result<Vec<Vec<u8>>, ServerError> {
        let mut values = Vec::new();
        while values.len() < BATCH {
            match self.consumer.poll(POLL) {
                None => break,
                Some(Ok(message)) => {
                    values.extend(message.payload().map(<[u8]>::to_vec));
                    self.consumer
                        .store_offset_from_message(&message)
                        .map_err(|error| server_error(&error))?;
                }
                Some(Err(error)) => return Err(server_error(&error)),
            }
        }
        Ok(values)
    }

    /// Commits what was read: it is durable now. After a rebalance meanwhile, it is read again.
    ///
    /// # Errors
    /// The broker's refusal.
    pub fn commit(&self) -> Result<(), ServerError> {
        match self.consumer.commit_consumer_state(CommitMode::Sync) {
            Ok(())
            | Err(KafkaError::ConsumerCommit(
                RDKafkaErrorCode::NoOffset
                | RDKafkaErrorCode::RebalanceInProgress
                | RDKafkaErrorCode::IllegalGeneration
                | RDKafkaErrorCode::UnknownMemberId,
            )) => Ok(()),
            Err(error) => Err(server_error(&error)),
        }
    }
}
