//! The committed positions of a group, read and written by a client that is no member of it.
//!
//! The brokers take a commit from such a client only while the group has no member.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use broker::{Brokers, QuietContext, ServerError, server_error};
use rdkafka::consumer::{BaseConsumer, CommitMode, Consumer as _};
use rdkafka::error::{KafkaError, RDKafkaErrorCode as Code};
use rdkafka::{Offset, TopicPartitionList};

use crate::kafka::client_id::CLIENT_ID;
use crate::kafka::log_bounds::position;

const REQUEST_TIMEOUT: Duration = Duration::from_secs(10);
/// Of its text with hyphens.
const UUID_LENGTH: usize = 36;

/// A client of one group and one topic. Every method blocks.
pub struct GroupPositions {
    pub(super) consumer: BaseConsumer<QuietContext>,
    group: String,
    pub(super) topic: String,
}

/// What a coordinator answers to a commit from outside the group.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CommitAnswer {
    /// The positions are committed: the group was empty.
    Committed,
    /// Nothing is committed: the group has members.
    HasMembers,
}

/// A member of a group, as the coordinator describes it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GroupMember {
    /// Its `client.id`.
    pub client: String,
    /// Its address.
    pub host: String,
    /// The id that the coordinator gave it.
    pub id: String,
}

impl GroupMember {
    /// Its static name (`group.instance.id`), if it has one. The library's request does not return it, but the
    /// coordinator gives such a member an id of its name, and any other member one of its client's name, each with a
    /// UUID.
    pub fn static_name(&self) -> Option<&str> {
        let (name, uuid) = self.id.split_at_checked(self.id.len().checked_sub(UUID_LENGTH)?)?;
        let name = name.strip_suffix('-').filter(|name| *name != self.client)?;
        uuid::Uuid::try_parse(uuid).is_ok().then_some(name)
    }
}

impl fmt::Display for GroupMember {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { client, host, id } = self;
        write!(f, "client {client} on host {host} (")?;
        if let Some(name) = self.static_name() {
            write!(f, "static name {name}, ")?;
        }
        write!(f, "member {id})")
    }
}

impl fmt::Debug for GroupPositions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("GroupPositions").field("topic", &self.topic).finish_non_exhaustive()
    }
}

impl GroupPositions {
    /// Starts the client. Sends no request.
    ///
    /// # Errors
    /// A property that is refused.
    pub fn open(brokers: &Brokers, group: &str, topic: &str) -> Result<Self, ServerError> {
        let config = brokers.consumer_config(
            CLIENT_ID,
            &[],
            &[
                ("group.id", group),
                ("enable.auto.commit", "false"),
                ("enable.auto.offset.store", "false"),
            ],
        )?;
        let consumer = config.create_with_context(QuietContext);
        let consumer = consumer.map_err(|error| server_error(&error))?;
        Ok(Self { consumer, group: group.to_owned(), topic: topic.to_owned() })
    }

    /// The committed positions of those of `partitions` that have one.
    ///
    /// # Errors
    /// The coordinator of the group does not answer.
    pub fn committed(
        &self,
        partitions: impl IntoIterator<Item = i32>,
    ) -> Result<BTreeMap<i32, i64>, ServerError> {
        let mut list = TopicPartitionList::new();
        for partition in partitions {
            list.add_partition(&self.topic, partition);
        }
        let found = self.consumer.committed_offsets(list, REQUEST_TIMEOUT);
        let found = found.map_err(|error| server_error(&error))?;
        let mut positions = BTreeMap::new();
        for element in found.elements() {
            element.error().map_err(|error| server_error(&error))?;
            positions.extend(position(element.offset()).map(|it| (element.partition(), it)));
        }
        Ok(positions)
    }

    /// Commits positions.
    ///
    /// # Errors
    /// The group has a member, or the coordinator does not answer.
    pub fn commit(&self, positions: &BTreeMap<i32, i64>) -> Result<(), ServerError> {
        self.send(positions).map_err(|error| server_error(&error))
    }

    /// Commits positions if the group has no member.
    ///
    /// # Errors
    /// The coordinator does not answer, or refuses the client. The positions may be committed or not.
    pub fn commit_if_empty(
        &self,
        positions: &BTreeMap<i32, i64>,
    ) -> Result<CommitAnswer, ServerError> {
        match self.send(positions) {
            Ok(()) => Ok(CommitAnswer::Committed),
            Err(error) if has_members(&error) => Ok(CommitAnswer::HasMembers),
            Err(error) => Err(server_error(&error)),
        }
    }

    fn send(&self, positions: &BTreeMap<i32, i64>) -> Result<(), KafkaError> {
        if positions.is_empty() {
            return Ok(());
        }
        let mut list = TopicPartitionList::new();
        for (partition, position) in positions {
            list.add_partition_offset(&self.topic, *partition, Offset::Offset(*position))?;
        }
        self.consumer.commit(&list, CommitMode::Sync)
    }

    /// The members of the group. Empty also for a group of the protocol `consumer`, which the library's request
    /// does not describe.
    ///
    /// # Errors
    /// The brokers do not answer.
    pub fn members(&self) -> Result<Vec<GroupMember>, ServerError> {
        let found = self.consumer.fetch_group_list(Some(&self.group), REQUEST_TIMEOUT);
        let found = found.map_err(|error| server_error(&error))?;
        let own = found.groups().iter().filter(|group| group.name() == self.group);
        let members = own.flat_map(|group| group.members()).map(|member| GroupMember {
            client: member.client_id().to_owned(),
            host: member.client_host().to_owned(),
            id: member.id().to_owned(),
        });
        Ok(members.collect())
    }
}

/// Whether a coordinator refused a commit since the group has members. The code depends on the protocol of the
/// group and on its state.
fn has_members(error: &KafkaError) -> bool {
    let refusals = [
        Code::UnknownMemberId,
        Code::IllegalGeneration,
        Code::RebalanceInProgress,
        Code::StaleMemberEpoch,
        Code::NonEmptyGroup,
    ];
    error.rdkafka_error_code().is_some_and(|code| refusals.contains(&code))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_commit_that_members_prevent_differs_from_one_without_an_answer() {
        let of = |code| has_members(&KafkaError::ConsumerCommit(code));
        assert!(
            of(Code::UnknownMemberId) && of(Code::IllegalGeneration) && of(Code::StaleMemberEpoch)
        );
        assert!(!of(Code::RequestTimedOut) && !of(Code::GroupAuthorizationFailed));
    }

    #[test]
    fn a_member_is_named_by_its_client_and_host() {
        let (client, host, id) = ("clicktrail-processors".into(), "/10.0.0.7".into(), "m-1".into());
        let shown = GroupMember { client, host, id }.to_string();
        assert_eq!(shown, "client clicktrail-processors on host /10.0.0.7 (member m-1)");
    }

    #[test]
    fn a_static_member_is_recognised_by_the_id_that_the_coordinator_gave_it() {
        let uuid = "0b6c2a0e-6a0f-4c57-9d0c-0d3f5f6f7a10";
        for (id, name) in [
            (format!("rdkafka-{uuid}"), None),
            (format!("web1-0-{uuid}"), Some("web1-0")),
            ("web1-0-without-a-uuid-of-thirty-six-characters".to_owned(), None),
            ("m-1".to_owned(), None),
            (uuid.to_owned(), None),
        ] {
            let member = GroupMember { client: "rdkafka".into(), host: "h".into(), id };
            assert_eq!(member.static_name(), name, "{member}");
            let shown = member.to_string();
            assert_eq!(shown.contains("(static name web1-0, member"), name.is_some(), "{shown}");
        }
    }
}
