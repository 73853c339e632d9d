//! `processors audit`: reads log, table and dead letters, sorts them, and compares them.
#![expect(
    clippy::disallowed_methods,
    reason = "the log is read as it is now, and waits until a deadline for rows that are not stored yet"
)]

use broker::{ServerError, UnreadableBatch};
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use jiff::Timestamp;
use schemas::headers;
use tokio::runtime::Handle;
use tokio_util::sync::CancellationToken;

use crate::audit::balance::{self, SortedInputs};
use crate::audit::compared_log::ComparedLog;
use crate::audit::decoded_events::{ClickDecoder, blocking, position, read};
use crate::audit::entry::{AuditEntry, AuditReport, DeadLetterRange, LogPosition, PartitionReport};
use crate::audit::external_sort::{Sorted, Sorter};
use crate::audit::misplaced_clicks::MisplacedClicks;
use crate::audit::pending_work::pending_offsets;
use crate::audit::unshown_records::UnshownRecords;
use crate::audit::verdict::AuditVerdict;
use crate::clickhouse::audit_queries;
use crate::clickhouse::server_clock::earlier_ms;
use crate::clickhouse::shard_readers::ShardReaders;
use crate::config::Servers;
use crate::kafka::log_reader;
use crate::kafka::log_reader::{LogItem, LogReader};

/// Folder and memory for sorting.
#[derive(Debug, Clone)]
pub(crate) struct SortSpace {
    pub(crate) folder: PathBuf,
    /// Bytes.
    pub(crate) memory: usize,
}

impl SortSpace {
    /// A sorter that has this many sixteenths of the memory.
    pub(crate) fn sorter<const N: usize>(&self, sixteenths: usize) -> Sorter<N> {
        Sorter::new(&self.folder, self.memory / 16 * sixteenths)
    }

    /// The sorters of unshown records; they have two sixteenths of the memory.
    pub(crate) fn unshown_records(&self) -> UnshownRecords {
        UnshownRecords { by_position: self.sorter(1), by_event: self.sorter(1) }
    }
}

/// Pause between two comparisons while rows may still be inserted.
const RETRY: Duration = Duration::from_secs(1);

/// Audits the whole log; compares again until it is balanced or `wait` is over. Records that `group` has not
/// processed are lagging, and not missing.
///
/// # Errors
/// A server does not answer, or the disk is full.
pub(crate) async fn audit(
    servers: &Servers,
    space: &SortSpace,
    group: &str,
    wait: Duration,
) -> Result<JudgedLog, ServerError> {
    let deadline = Instant::now() + wait;
    let now_ms = Timestamp::now().as_millisecond();
    let until_ms = earlier_ms(&servers.clickhouse.server()?, now_ms).await?;
    let log = read_log(servers, space, until_ms).await?;
    loop {
        let began = Instant::now();
        let report = compare(servers, space, group, &log).await?;
        if !report.may_still_come() || Instant::now() >= deadline {
            let verdict = AuditVerdict::of_log(&report, &log.compared);
            return Ok(JudgedLog { report, verdict, took: began.elapsed() });
        }
        tokio::time::sleep(RETRY).await;
    }
}

/// What an audit of the log has found.
#[derive(Debug)]
pub(crate) struct JudgedLog {
    pub(crate) report: AuditReport,
    pub(crate) verdict: AuditVerdict,
    /// How long the last comparison took.
    pub(crate) took: Duration,
}

/// What the log holds.
struct SortedLog {
    compared: ComparedLog,
    partitions: BTreeMap<i32, PartitionReport>,
    events: Sorted<28>,
    undecodable: Sorted<12>,
}

/// Reads the whole log as it is at `until_ms`, once.
async fn read_log(
    servers: &Servers,
    space: &SortSpace,
    until_ms: i64,
) -> Result<SortedLog, ServerError> {
    let (brokers, topic) = (servers.kafka.brokers(), servers.kafka.topic.to_string());
    let (registry, subject) = (servers.registry.registry()?, servers.kafka.topic.subject());
    let mut decoder = ClickDecoder::new(registry, subject, Handle::current());
    let (mut events, mut undecodable) = (space.sorter(6), space.sorter(1));
    blocking(move || {
        let log = LogReader::open(&brokers, &topic)?;
        let bounds = log.bounds().iter().map(|(partition, bounds)| {
            let (low, high) = (bounds.low, bounds.high);
            (*partition, PartitionReport { low, high, ..PartitionReport::default() })
        });
        let mut partitions: BTreeMap<i32, PartitionReport> = bounds.collect();
        let firsts = partitions.iter().map(|(number, partition)| (*number, partition.low));
        let mut compared = ComparedLog::whole(until_ms, firsts);
        read(log, &CancellationToken::new(), |item| {
            let record = match item {
                LogItem::Record(record) => record,
                // Counts as one record, because it has one dead letter.
                LogItem::Unreadable(UnreadableBatch { partition, first, .. }) => {
                    partitions.entry(partition).or_default().undecodable += 1;
                    return undecodable.push(LogPosition { partition, offset: first }.to_bytes());
                }
            };
            let position = position(record);
            compared.add(position, record.logged_at_ms());
            let partition = partitions.entry(position.partition).or_default();
            partition.records += 1;
            match decoder.click(record)? {
                Some(click) => {
                    events.push(AuditEntry { id: click.event_id.into_bytes(), position }.to_bytes())
                }
                None => {
                    partition.undecodable += 1;
                    undecodable.push(position.to_bytes())
                }
            }
        })?;
        let (events, undecodable) = (events.sorted()?, undecodable.sorted()?);
        Ok(SortedLog { compared, partitions, events, undecodable })
    })
    .await
}

/// Compares the log with what table and dead letters hold now.
async fn compare(
    servers: &Servers,
    space: &SortSpace,
    group: &str,
    log: &SortedLog,
) -> Result<AuditReport, ServerError> {
    let stop = CancellationToken::new();
    let cluster = servers.clickhouse.cluster()?;
    let readers = ShardReaders::open(&cluster).await?;
    let partitions = log.partitions.keys().copied().collect();
    let pending = pending_offsets(servers, cluster.any(), group, partitions).await?;
    let dead = dead_letters(servers, space, None, &stop).await?;
    let (mut shown, mut misplaced) = (space.sorter(5), MisplacedClicks::default());
    let take = |shard, row: AuditEntry| {
        misplaced.add(readers.layout(), shard, (row.id, 1));
        shown.push(row.to_bytes())
    };
    audit_queries::shown(&readers, servers.kafka.topic.as_str(), take).await?;
    let shown = shown.sorted()?;
    let (brokers, topic) = (servers.kafka.brokers(), servers.kafka.topic.to_string());
    let now = blocking(move || log_reader::bounds(&brokers, &topic)).await?;
    let mut partitions = log.partitions.clone();
    for (partition, now) in now {
        // The audit read no record of a partition that was added after it had read the log.
        let new = PartitionReport { low: now.low, high: now.low, ..PartitionReport::default() };
        let known = partitions.entry(partition).or_insert(new);
        // Retention may remove records while the audit reads.
        known.low = known.low.max(now.low);
        known.end = now.high;
    }
    let (entry, position) = (AuditEntry::from_bytes, LogPosition::from_bytes);
    let inputs = SortedInputs {
        log: log.events.iter().map(|bytes| bytes.map(entry)),
        shown: shown.iter().map(|bytes| bytes.map(entry)),
        undecodable: log.undecodable.iter().map(|bytes| bytes.map(position)),
        dead: &dead,
        pending: &pending,
    };
    let report = balance::balance(partitions, inputs, space.unshown_records())?;
    let (rows, examples) = (misplaced.rows(), misplaced.texts());
    Ok(AuditReport { misplaced: rows, misplaced_examples: examples, ..report })
}

/// The records in the dead-letter topic, as ranges: of all dead letters, or of those written since a time
/// (milliseconds since 1970).
pub(crate) async fn dead_letters(
    servers: &Servers,
    space: &SortSpace,
    since_ms: Option<i64>,
    stop: &CancellationToken,
) -> Result<Sorted<20>, ServerError> {
    let (brokers, topic) = (servers.kafka.brokers(), servers.kafka.topic.to_string());
    let dead_letter_topic = servers.kafka.topic.dead_letters();
    let (mut dead, stop) = (space.sorter(2), stop.clone());
    blocking(move || {
        let log = match since_ms {
            None => LogReader::open(&brokers, &dead_letter_topic)?,
            Some(since_ms) => LogReader::open_since(&brokers, &dead_letter_topic, since_ms)?,
        };
        read(log, &stop, |item| {
            // The audit finds no dead letter in a batch that cannot be read.
            let LogItem::Record(dead_letter) = item else { return Ok(()) };
            let text =
                |name| dead_letter.header(name).and_then(|value| std::str::from_utf8(value).ok());
            let number = |name| text(name).and_then(|value| value.parse::<i64>().ok());
            let partition = number(headers::CONNECT_PARTITION).and_then(|p| i32::try_from(p).ok());
            match (text(headers::CONNECT_TOPIC), partition, number(headers::CONNECT_OFFSET)) {
                (Some(of), Some(partition), Some(offset)) if of == topic => {
                    let is_batch = text(headers::DEAD_LETTER_STUB) == Some("batch");
                    let last = is_batch.then(|| number(headers::STUB_LAST_OFFSET)).flatten();
                    let last_offset = last.unwrap_or(offset).max(offset);
                    let first = LogPosition { partition, offset };
                    dead.push(DeadLetterRange { first, last_offset }.to_bytes())
                }
                _ => Ok(()),
            }
        })?;
        dead.sorted()
    })
    .await
}
