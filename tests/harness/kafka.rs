//! The broker as an independent client sees it: raw records, positions, bounds, administration.

use std::collections::BTreeMap;
use std::time::Duration;

use rdkafka::admin::{
    AdminClient, AdminOptions, AlterConfig, ConfigSource, NewPartitions, ResourceSpecifier,
};
use rdkafka::client::DefaultClientContext;
use rdkafka::config::ClientConfig;
use rdkafka::consumer::{BaseConsumer, CommitMode, Consumer as _};
use rdkafka::error::KafkaError;
use rdkafka::message::{Header, Headers as _, Message as _, OwnedHeaders};
use rdkafka::producer::{BaseProducer, BaseRecord, Producer as _};
use rdkafka::{Offset, TopicPartitionList};

use crate::wait::until;

const WAIT: Duration = Duration::from_secs(20);

/// A record to write.
#[derive(Debug, Clone, Default)]
pub struct Raw {
    /// Its partition.
    pub partition: i32,
    /// Its key.
    pub key: Option<Vec<u8>>,
    /// Its value; none is a tombstone.
    pub value: Option<Vec<u8>>,
    /// Its headers.
    pub headers: Vec<(String, Option<Vec<u8>>)>,
}

/// A record of a topic.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Logged {
    /// Its partition.
    pub partition: i32,
    /// Its offset.
    pub offset: i64,
    /// Its key.
    pub key: Option<Vec<u8>>,
    /// Its value.
    pub value: Option<Vec<u8>>,
    /// Its headers.
    pub headers: Vec<(String, Option<Vec<u8>>)>,
}

impl Logged {
    /// The text of the last header with this name.
    pub fn header(&self, name: &str) -> Option<&str> {
        let found = self.headers.iter().rev().find(|(own, _)| own == name)?;
        std::str::from_utf8(found.1.as_deref()?).ok()
    }
}

/// A broker, or a cluster.
#[derive(Debug, Clone)]
pub struct Kafka {
    /// `host:port`, comma-separated if there are several.
    pub brokers: String,
}

/// The brokers of a partition's copies.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Copies {
    /// The leader.
    pub leader: i32,
    /// All replicas.
    pub all: Vec<i32>,
    /// The in-sync replicas.
    pub in_sync: Vec<i32>,
}

impl Kafka {
    fn config(&self) -> ClientConfig {
        let mut config = ClientConfig::new();
        config.set("bootstrap.servers", &self.brokers);
        config
    }

    fn consumer(&self, group: &str) -> BaseConsumer {
        let mut config = self.config();
        config.set("group.id", group).set("enable.auto.commit", "false");
        config.set("enable.partition.eof", "true").set("auto.offset.reset", "earliest");
        config.create().expect("a consumer can be made")
    }

    /// Writes records and waits for the broker's acknowledgement.
    pub fn produce(&self, topic: &str, records: &[Raw]) {
        self.send(topic, records, None);
    }

    /// Writes records with a log time, milliseconds since 1970, as if the broker had appended them then.
    pub fn produce_at(&self, topic: &str, records: &[Raw], logged_at_ms: i64) {
        const KIND: &str = "message.timestamp.type";
        let own = self.settings(topic);
        let with = |kind: &str| {
            let mut settings = own.clone();
            settings.insert(KIND.to_owned(), kind.to_owned());
            let settings: Vec<_> =
                settings.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
            self.configure(topic, &settings);
            until("the topic is configured", || {
                (self.settings(topic).get(KIND).map(String::as_str) == Some(kind)).then_some(())
            });
        };
        with("CreateTime");
        self.send(topic, records, Some(logged_at_ms));
        with("LogAppendTime");
    }

    fn send(&self, topic: &str, records: &[Raw], logged_at_ms: Option<i64>) {
        let mut config = self.config();
        config.set("message.max.bytes", "2000000").set("linger.ms", "0");
        let producer: BaseProducer = config.create().expect("a producer can be made");
        for raw in records {
            let mut headers = OwnedHeaders::new();
            for (key, value) in &raw.headers {
                headers = headers.insert(Header { key, value: value.as_ref() });
            }
            let mut record =
                BaseRecord::<[u8], [u8]>::to(topic).partition(raw.partition).headers(headers);
            record.key = raw.key.as_deref();
            record.payload = raw.value.as_deref();
            record.timestamp = logged_at_ms;
            producer.send(record).map_err(|(error, _)| error).expect("a record can be queued");
        }
        producer.flush(WAIT).expect("the broker takes the records");
    }

    /// Ends partitions with offsets that hold no record: those of two records of a transaction that is
    /// aborted, and of its marker.
    pub fn abort_transaction(&self, topic: &str, id: &str, partitions: &[i32]) {
        let mut config = self.config();
        let producer: BaseProducer =
            config.set("transactional.id", id).create().expect("a producer can be made");
        producer.init_transactions(WAIT).expect("the broker has a coordinator");
        producer.begin_transaction().expect("a transaction can begin");
        for partition in partitions.iter().flat_map(|partition| [*partition; 2]) {
            let record = BaseRecord::<[u8], [u8]>::to(topic).partition(partition);
            let sent = producer.send(record.payload(b"aborted")).map_err(|(error, _)| error);
            sent.expect("a record can be queued");
        }
        producer.flush(WAIT).expect("the broker takes the records");
        let sent = self.bounds(topic);
        producer.abort_transaction(WAIT).expect("the transaction can be aborted");
        // The coordinator writes the markers after it has answered.
        until("the markers are written", || {
            let now = self.bounds(topic);
            partitions.iter().all(|own| now[own].1 > sent[own].1).then_some(())
        });
    }

    /// Every record of a topic, by partition and offset.
    pub fn read(&self, topic: &str) -> Vec<Logged> {
        let mut records = Vec::new();
        self.each(topic, |record| records.push(record));
        records.sort_by_key(|record| (record.partition, record.offset));
        records
    }

    /// Calls `take` for every record of a topic, in the order of each partition.
    pub fn each(&self, topic: &str, mut take: impl FnMut(Logged)) {
        let consumer = self.consumer("clicktrail-tests-reader");
        let mut open: Vec<i32> = Vec::new();
        let mut assignment = TopicPartitionList::new();
        for (partition, (low, high)) in self.bounds(topic) {
            if low < high {
                open.push(partition);
                assignment
                    .add_partition_offset(topic, partition, Offset::Offset(low))
                    .expect("an offset");
            }
        }
        consumer.assign(&assignment).expect("an assignment");
        while !open.is_empty() {
            match consumer.poll(WAIT).expect("the broker answers") {
                Ok(message) => take(Logged {
                    partition: message.partition(),
                    offset: message.offset(),
                    key: message.key().map(<[u8]>::to_vec),
                    value: message.payload().map(<[u8]>::to_vec),
                    headers: message.headers().map_or_else(Vec::new, |headers| {
                        let owned = |header: Header<'_, &[u8]>| {
                            (header.key.to_owned(), header.value.map(<[u8]>::to_vec))
                        };
                        headers.iter().map(owned).collect()
                    }),
                }),
                Err(KafkaError::PartitionEOF(partition)) => open.retain(|own| *own != partition),
                Err(error) => panic!("reading {topic}: {error}"),
            }
        }
    }

    /// The first offset of each partition, and the position after its last record.
    pub fn bounds(&self, topic: &str) -> BTreeMap<i32, (i64, i64)> {
        let consumer = self.consumer("clicktrail-tests-reader");
        let metadata = consumer.fetch_metadata(Some(topic), WAIT).expect("the broker answers");
        let partitions = metadata.topics()[0].partitions().iter().map(|partition| partition.id());
        partitions
            .map(|partition| {
                (partition, consumer.fetch_watermarks(topic, partition, WAIT).expect("bounds"))
            })
            .collect()
    }

    /// The copies of each partition.
    ///
    /// # Errors
    /// No broker answers.
    pub fn copies(&self, topic: &str) -> Result<Vec<Copies>, KafkaError> {
        let consumer = self.consumer("clicktrail-tests-reader");
        let metadata = consumer.fetch_metadata(Some(topic), WAIT)?;
        let partitions = metadata.topics().iter().flat_map(|topic| topic.partitions());
        let copies = partitions.map(|partition| Copies {
            leader: partition.leader(),
            all: partition.replicas().to_vec(),
            in_sync: partition.isr().to_vec(),
        });
        Ok(copies.collect())
    }

    /// The number of records in the topic.
    pub fn records(&self, topic: &str) -> i64 {
        self.bounds(topic).values().map(|(low, high)| high - low).sum()
    }

    /// The committed position of each partition that has one.
    pub fn committed(&self, group: &str, topic: &str) -> BTreeMap<i32, i64> {
        let consumer = self.consumer(group);
        let mut asked = TopicPartitionList::new();
        for partition in self.bounds(topic).into_keys() {
            asked.add_partition(topic, partition);
        }
        let answer = consumer.committed_offsets(asked, WAIT).expect("the coordinator answers");
        let position =
            |offset| if let Offset::Offset(position) = offset { Some(position) } else { None };
        let elements = answer.elements();
        elements.iter().filter_map(|e| Some((e.partition(), position(e.offset())?))).collect()
    }

    /// Commits positions for a group without members, as an operator does; a static member leaves it by its
    /// session timeout.
    pub fn commit(&self, group: &str, topic: &str, positions: &[(i32, i64)]) {
        let consumer = self.consumer(group);
        let mut list = TopicPartitionList::new();
        for (partition, position) in positions {
            list.add_partition_offset(topic, *partition, Offset::Offset(*position))
                .expect("an offset");
        }
        until("a group without members takes a commit", || {
            consumer.commit(&list, CommitMode::Sync).ok()
        });
    }

    /// Commits positions for a group with members, as an additional member that reads `elsewhere`: the
    /// broker lets a member commit partitions of other members.
    pub fn commit_among_members(
        &self,
        group: &str,
        elsewhere: &str,
        topic: &str,
        positions: &[(i32, i64)],
    ) {
        let mut config = self.config();
        config.set("group.id", group).set("enable.auto.commit", "false");
        config.set("partition.assignment.strategy", "cooperative-sticky");
        let member: BaseConsumer = config.create().expect("a consumer can be made");
        member.subscribe(&[elsewhere]).expect("a subscription");
        until("the member has joined", || {
            drop(member.poll(Duration::from_millis(200)));
            member.assignment().ok().filter(|own| own.count() > 0)
        });
        let mut list = TopicPartitionList::new();
        for (partition, position) in positions {
            list.add_partition_offset(topic, *partition, Offset::Offset(*position))
                .expect("an offset");
        }
        until("a member may commit anything", || {
            // A rebalance may be under way.
            drop(member.poll(Duration::from_millis(50)));
            member.commit(&list, CommitMode::Sync).ok()
        });
    }

    /// Grows a topic to `partitions` partitions.
    pub fn grow(&self, topic: &str, partitions: usize) {
        let grown = block_on(
            self.admin().create_partitions([&NewPartitions::new(topic, partitions)], &options()),
        );
        grown.expect("the broker answers").remove(0).expect("a topic can grow");
    }

    /// Deletes the records before a position, as retention does.
    pub fn expire(&self, topic: &str, partition: i32, before: i64) {
        let mut list = TopicPartitionList::new();
        list.add_partition_offset(topic, partition, Offset::Offset(before)).expect("an offset");
        block_on(self.admin().delete_records(&list, &options())).expect("records can be deleted");
    }

    /// Deletes a topic.
    ///
    /// # Errors
    /// The broker's refusal.
    pub fn delete_topic(&self, topic: &str) -> Result<(), String> {
        let deleted = block_on(self.admin().delete_topics(&[topic], &options()));
        let result = deleted.map_err(|error| error.to_string())?.remove(0);
        result.map(drop).map_err(|(_, code)| code.to_string())
    }

    /// Replaces all own settings of a topic.
    pub fn configure(&self, topic: &str, settings: &[(&str, &str)]) {
        let mut alter = AlterConfig::new(ResourceSpecifier::Topic(topic));
        for (key, value) in settings {
            alter = alter.set(key, value);
        }
        let altered = block_on(self.admin().alter_configs([&alter], &options()));
        altered.expect("the broker answers").remove(0).expect("a topic can be configured");
    }

    /// The own settings of a topic.
    pub fn settings(&self, topic: &str) -> BTreeMap<String, String> {
        let described =
            block_on(self.admin().describe_configs([&ResourceSpecifier::Topic(topic)], &options()));
        let resource =
            described.expect("the broker answers").remove(0).expect("a topic has settings");
        let own = resource
            .entries
            .into_iter()
            .filter(|entry| matches!(entry.source, ConfigSource::DynamicTopic));
        own.filter_map(|entry| Some((entry.name, entry.value?))).collect()
    }

    fn admin(&self) -> AdminClient<DefaultClientContext> {
        self.config().create().expect("an admin client can be made")
    }
}

fn options() -> AdminOptions {
    AdminOptions::new().request_timeout(Some(WAIT)).operation_timeout(Some(WAIT))
}

fn block_on<T>(future: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    runtime.expect("a runtime can be made").block_on(future)
}
