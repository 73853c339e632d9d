//! The clients of a batch probe: ask the brokers about single offsets.
#![expect(clippy::disallowed_methods, reason = "bounds the time of a reply by a deadline")]

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use rdkafka::client::ClientContext;
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::consumer::{BaseConsumer, Consumer as _, ConsumerContext};
use rdkafka::error::{KafkaError, RDKafkaErrorCode as Code};
use rdkafka::{Offset, TopicPartitionList};
use tokio::time::Instant;

use crate::client::{Brokers, QuietContext, UNREADABLE, server_error};
use crate::end_search::{Question, Reply};
use crate::error::ServerError;
use crate::fetch_log::FetchLog;
use crate::native_message::{ConsumeError, DebugLines, Polled, pass_log_lines, poll, set_debug};

/// Longest wait for a reply about one offset.
pub(crate) const REPLY_MAX: Duration = Duration::from_secs(3);
/// Wait in one poll, milliseconds: a debug line does not end it.
const POLL_MS: i32 = 10;

const REQUIRED: &[(&str, &str)] = &[
    ("group.id", "clicktrail-batch-probe"),
    ("allow.auto.create.topics", "false"),
    ("enable.auto.commit", "false"),
    ("enable.auto.offset.store", "false"),
    ("enable.partition.eof", "true"),
    ("auto.offset.reset", "error"),
    ("isolation.level", "read_committed"),
];
/// A probe asks about one offset after another, so it waits less than the operator's consumers.
const FETCH_WAITS: [(&str, &str); 2] =
    [("fetch.wait.max.ms", "10"), ("fetch.error.backoff.ms", "20")];
/// The first record of a partition is enough, so little is fetched ahead. The library waits for the backoff
/// after that record, also where another offset is asked for meanwhile.
const FETCH_AHEAD: [(&str, &str); 3] = [
    ("queued.min.messages", "1"),
    ("queued.max.messages.kbytes", "1024"),
    ("fetch.queue.backoff.ms", "5"),
];
/// The debug lines that report requests and replies; and those with a line for each skipped record, too.
const REPLY_LINES: &str = "fetch";
const RECORD_LINES: &str = "fetch,msg";

/// Silent replies about one partition after which other clients ask. At each response without a record,
/// librdkafka doubles the size that it asks for, and the partition keeps it; at 1 GiB, after 17 responses, it
/// may report an error of the offset instead.
const SILENT_MAX: u32 = 5;

/// The clients of one probe.
pub(crate) struct ProbeClients {
    brokers: Brokers,
    client_id: &'static str,
    replies: ProbeClient,
    /// Made when it is needed.
    records: Option<ProbeClient>,
    /// Silent replies that they have received, by partition.
    silent: BTreeMap<i32, u32>,
}

impl ProbeClients {
    /// Clients of this name for `topic`.
    ///
    /// # Errors
    /// Fatal: a property is refused.
    pub(crate) fn new(
        brokers: &Brokers,
        client_id: &'static str,
        topic: &str,
    ) -> Result<Self, ServerError> {
        let replies = ProbeClient::new(brokers, client_id, topic, REPLY_LINES)?;
        Ok(Self {
            brokers: brokers.clone(),
            client_id,
            replies,
            records: None,
            silent: BTreeMap::new(),
        })
    }

    /// The replies to one question about each partition, as far as they come in time.
    pub(crate) fn replies(
        &mut self,
        questions: &BTreeMap<i32, Question>,
    ) -> Result<BTreeMap<i32, Reply>, ServerError> {
        let offsets = questions.iter().map(|(own, question)| (*own, question.offset)).collect();
        let mut replies = self.replies.replies(&offsets, Instant::now() + REPLY_MAX)?;
        let deadline = Instant::now() + REPLY_MAX;
        for (partition, reply) in &mut replies {
            let Some(&question) = questions.get(partition) else { continue };
            *reply = self.with_base(*partition, question, *reply, deadline)?;
        }
        Ok(replies)
    }

    /// The reply to one question, [`Reply::None`] after `deadline`.
    pub(crate) fn reply(
        &mut self,
        partition: i32,
        question: Question,
        deadline: Instant,
    ) -> Result<Reply, ServerError> {
        if self.silent.get(&partition).is_some_and(|silent| *silent >= SILENT_MAX) {
            *self = Self::new(&self.brokers, self.client_id, &self.replies.topic)?;
        }
        let deadline = deadline.min(Instant::now() + REPLY_MAX);
        if question.needs_base {
            let first = self.records()?.first_record(partition, question.offset, deadline)?;
            return Ok(match first {
                FirstRecord::At(base) => Reply::In(base),
                FirstRecord::NotBefore => Reply::Readable,
                FirstRecord::Unknown => Reply::None,
            });
        }
        let offsets = BTreeMap::from([(partition, question.offset)]);
        let replies = self.replies.replies(&offsets, deadline)?;
        let reply = replies.get(&partition).copied().unwrap_or(Reply::None);
        self.with_base(partition, question, reply, deadline)
    }

    /// Replaces the offset of a silent reply by the base offset of its batch, and adds that of a readable
    /// one if the question needs it.
    ///
    /// The offset of a batch's first record identifies the batch: Kafka checks that the offsets of the
    /// records of a compressed batch start at its base offset, and that the lengths of all others are right.
    fn with_base(
        &mut self,
        partition: i32,
        question: Question,
        reply: Reply,
        deadline: Instant,
    ) -> Result<Reply, ServerError> {
        let offset = match reply {
            Reply::Silent(offset) => {
                *self.silent.entry(partition).or_default() += 1;
                offset
            }
            Reply::Readable if question.needs_base => question.offset,
            Reply::Readable | Reply::In(_) | Reply::Unreadable(_) | Reply::None => {
                return Ok(reply);
            }
        };
        Ok(match (reply, self.records()?.first_record(partition, offset, deadline)?) {
            (Reply::Silent(_), FirstRecord::At(base)) => Reply::Silent(base),
            (_, FirstRecord::At(base)) => Reply::In(base),
            // It can be read now, or fails in another way.
            (Reply::Silent(_), FirstRecord::NotBefore) | (_, FirstRecord::Unknown) => Reply::None,
            (_, FirstRecord::NotBefore) => Reply::Readable,
        })
    }
}

impl ProbeClients {
    fn records(&mut self) -> Result<&ProbeClient, ServerError> {
        let client = match self.records.take() {
            Some(client) => client,
            None => {
                let (brokers, topic) = (&self.brokers, &self.replies.topic);
                ProbeClient::new(brokers, self.client_id, topic, RECORD_LINES)?
            }
        };
        Ok(self.records.insert(client))
    }
}

/// The first record of the batch that holds an offset.
enum FirstRecord {
    /// It is at this offset.
    At(i64),
    /// No record of the batch precedes the offset.
    NotBefore,
    /// No reply came in time.
    Unknown,
}

struct ProbeClient {
    consumer: BaseConsumer<FetchLogContext>,
    topic: String,
}

impl ProbeClient {
    fn new(
        brokers: &Brokers,
        client_id: &str,
        topic: &str,
        lines: &str,
    ) -> Result<Self, ServerError> {
        let mut config = brokers.consumer_config(client_id, &[], REQUIRED)?;
        for (name, value) in FETCH_WAITS.into_iter().chain(FETCH_AHEAD) {
            config.set(name, value);
        }
        config.set("debug", lines).set_log_level(RDKafkaLogLevel::Debug);
        let log = Mutex::new(FetchLog::new(topic));
        let context = FetchLogContext { log, reads_records: lines == RECORD_LINES };
        let consumer: BaseConsumer<FetchLogContext> =
            config.create_with_context(context).map_err(|error| server_error(&error))?;
        pass_log_lines(&consumer);
        Ok(Self { consumer, topic: topic.to_owned() })
    }

    fn log(&self) -> MutexGuard<'_, FetchLog> {
        self.consumer.context().lock()
    }

    /// Asks about these offsets by partition.
    fn ask(&self, offsets: &BTreeMap<i32, i64>) -> Result<(), ServerError> {
        let mut list = TopicPartitionList::new();
        for (&partition, &offset) in offsets {
            list.add_partition_offset(&self.topic, partition, Offset::Offset(offset))
                .map_err(|error| server_error(&error))?;
        }
        // What the last request left does not count for this one.
        while poll(&self.consumer, 0) != Polled::Nothing {}
        self.log().ask(offsets);
        set_debug(&self.consumer, true);
        self.consumer.assign(&list).map_err(|error| server_error(&error))
    }

    /// Ends the assignment, so that the library repeats no request.
    fn stop(&self) -> Result<(), ServerError> {
        set_debug(&self.consumer, false);
        self.consumer.unassign().map_err(|error| server_error(&error))
    }

    /// The replies about these offsets until `deadline`; a silent one has the offset of its request.
    fn replies(
        &self,
        offsets: &BTreeMap<i32, i64>,
        deadline: Instant,
    ) -> Result<BTreeMap<i32, Reply>, ServerError> {
        self.ask(offsets)?;
        let mut replies = BTreeMap::new();
        while replies.len() < offsets.len() && Instant::now() < deadline {
            let polled = match poll(&self.consumer, POLL_MS) {
                Polled::Record(partition) => Some((partition, Reply::Readable)),
                Polled::Failed(error) => reply(&error).map(|reply| (error.partition, reply)),
                Polled::Nothing => None,
            };
            // Also while records of other partitions arrive.
            let silent = self.log().take_silent();
            let silent = silent.map(|(partition, offset)| (partition, Reply::Silent(offset)));
            for (partition, reply) in polled.into_iter().chain(silent) {
                if offsets.contains_key(&partition) {
                    replies.entry(partition).or_insert(reply);
                }
            }
        }
        self.stop()?;
        Ok(replies)
    }

    /// The first record of the batch that the library reads first at `offset`: at `offset` where it stops
    /// silently and no record precedes it.
    fn first_record(
        &self,
        partition: i32,
        offset: i64,
        deadline: Instant,
    ) -> Result<FirstRecord, ServerError> {
        self.ask(&BTreeMap::from([(partition, offset)]))?;
        let mut first = FirstRecord::Unknown;
        while matches!(first, FirstRecord::Unknown) && Instant::now() < deadline {
            let polled = poll(&self.consumer, POLL_MS);
            // The lines about skipped records precede the record that was read.
            let base = self.log().first_record(partition);
            first = match (base, polled) {
                (Some(base), _) => FirstRecord::At(base),
                (None, Polled::Failed(error)) if reply(&error).is_none() => FirstRecord::Unknown,
                (None, Polled::Nothing) => FirstRecord::Unknown,
                (None, Polled::Record(_) | Polled::Failed(_)) => FirstRecord::NotBefore,
            };
        }
        self.stop()?;
        Ok(first)
    }
}

/// Passes the library's debug lines to a fetch log, and its other lines to the debug log.
struct FetchLogContext {
    log: Mutex<FetchLog>,
    reads_records: bool,
}

impl FetchLogContext {
    fn lock(&self) -> MutexGuard<'_, FetchLog> {
        self.log.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl DebugLines for FetchLogContext {
    fn take_line(&self, line: &str) -> bool {
        let mut log = self.lock();
        log.note(line);
        // There is a line for each record before the offset that was asked for, and the first one is enough.
        !(self.reads_records && log.has_first_record())
    }
}

impl ClientContext for FetchLogContext {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, message: &str) {
        // The binding passes the lines of a client that it closes.
        if !matches!(level, RDKafkaLogLevel::Debug) {
            QuietContext.log(level, facility, message);
        }
    }

    fn error(&self, error: KafkaError, reason: &str) {
        QuietContext.error(error, reason);
    }
}

impl ConsumerContext for FetchLogContext {}

fn reply(error: &ConsumeError) -> Option<Reply> {
    if UNREADABLE.contains(&error.code) {
        return Some(Reply::Unreadable(error.offset));
    }
    let ends = [Code::PartitionEOF, Code::OffsetOutOfRange, Code::AutoOffsetReset];
    ends.contains(&error.code).then_some(Reply::Readable)
}
