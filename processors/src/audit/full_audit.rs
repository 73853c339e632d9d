//! Reads log, table and dead letters into sorted books, and compares them.

use broker::ServerError;
use std::collections::BTreeMap;
use std::path::PathBuf;

use schemas::headers;
use tokio::runtime::Handle;
use tokio_util::sync::CancellationToken;

use crate::audit::balance::{self, Books};
use crate::audit::decoded_events::{Schemas, blocking, place, read};
use crate::audit::entry::{Entry, Partition, Place, Report};
use crate::audit::external_sort::{Sorted, Sorter};
use crate::clickhouse::audit_queries;
use crate::config::Servers;
use crate::kafka::log_reader;
use crate::kafka::log_reader::LogReader;

/// Where to sort, and in how much memory altogether.
#[derive(Debug, Clone)]
pub(crate) struct Scratch {
    pub(crate) folder: PathBuf,
    /// Bytes.
    pub(crate) memory: usize,
}

impl Scratch {
    /// A sorter that has so many eighths of the memory.
    pub(crate) fn sorter<const N: usize>(&self, eighths: usize) -> Sorter<N> {
        Sorter::new(&self.folder, self.memory / 8 * eighths)
    }
}

/// What the log holds.
pub(crate) struct Log {
    partitions: BTreeMap<i32, Partition>,
    events: Sorted<28>,
    undecodable: Sorted<12>,
}

/// Reads the whole log, once.
pub(crate) async fn log(servers: &Servers, scratch: &Scratch) -> Result<Log, ServerError> {
    let (brokers, topic) = (servers.kafka.brokers(), servers.kafka.topic.to_string());
    let mut schemas = Schemas::new(servers.registry.registry()?, Handle::current());
    let (mut events, mut undecodable) = (scratch.sorter(3), scratch.sorter(1));
    blocking(move || {
        let log = LogReader::open(&brokers, &topic)?;
        let bounds = log.bounds().iter().map(|(partition, bounds)| {
            let (low, high) = (bounds.low, bounds.high);
            (*partition, Partition { low, high, ..Partition::default() })
        });
        let mut partitions: BTreeMap<i32, Partition> = bounds.collect();
        read(log, &CancellationToken::new(), |record| {
            let place = place(record);
            let partition = partitions.entry(place.partition).or_default();
            partition.records += 1;
            match schemas.click(record)? {
                Some(click) => {
                    events.push(Entry { id: click.event_id.into_bytes(), place }.to_bytes())
                }
                None => {
                    partition.undecodable += 1;
                    undecodable.push(place.to_bytes())
                }
            }
        })?;
        Ok(Log { partitions, events: events.sorted()?, undecodable: undecodable.sorted()? })
    })
    .await
}

/// Holds the log against what table and dead letters say now.
pub(crate) async fn compare(
    servers: &Servers,
    scratch: &Scratch,
    log: &Log,
) -> Result<Report, ServerError> {
    let stop = CancellationToken::new();
    let dead = dead_letters(servers, scratch, None, &stop).await?;
    let mut shown = scratch.sorter(3);
    let server = servers.clickhouse.server()?;
    audit_queries::shown(&server, servers.kafka.topic.as_str(), |row| shown.push(row.to_bytes()))
        .await?;
    let shown = shown.sorted()?;
    let (brokers, topic) = (servers.kafka.brokers(), servers.kafka.topic.to_string());
    let now = blocking(move || log_reader::bounds(&brokers, &topic)).await?;
    let mut partitions = log.partitions.clone();
    for (partition, now) in now {
        // One that was not there before has nothing that was looked at.
        let new = Partition { low: now.low, high: now.low, ..Partition::default() };
        let known = partitions.entry(partition).or_insert(new);
        // Retention goes on while the audit reads.
        known.low = known.low.max(now.low);
        known.end = now.high;
    }
    let (entry, place) = (Entry::from_bytes, Place::from_bytes);
    let books = Books {
        log: log.events.iter().map(|bytes| bytes.map(entry)),
        shown: shown.iter().map(|bytes| bytes.map(entry)),
        undecodable: log.undecodable.iter().map(|bytes| bytes.map(place)),
        dead: dead.iter().map(|bytes| bytes.map(place)),
    };
    balance::balance(partitions, books)
}

/// Where the records stood that the dead-letter topic holds: of all its letters, or of those since
/// a time (milliseconds since 1970).
pub(crate) async fn dead_letters(
    servers: &Servers,
    scratch: &Scratch,
    since_ms: Option<i64>,
    stop: &CancellationToken,
) -> Result<Sorted<12>, ServerError> {
    let (brokers, topic) = (servers.kafka.brokers(), servers.kafka.topic.to_string());
    let letters = servers.kafka.topic.dead_letters();
    let (mut dead, stop) = (scratch.sorter(1), stop.clone());
    blocking(move || {
        let log = match since_ms {
            None => LogReader::open(&brokers, &letters)?,
            Some(since_ms) => LogReader::open_since(&brokers, &letters, since_ms)?,
        };
        read(log, &stop, |letter| {
            let text = |name| letter.header(name).and_then(|value| std::str::from_utf8(value).ok());
            let number = |name| text(name).and_then(|value| value.parse::<i64>().ok());
            let partition = number(headers::CONNECT_PARTITION).and_then(|p| i32::try_from(p).ok());
            match (text(headers::CONNECT_TOPIC), partition, number(headers::CONNECT_OFFSET)) {
                (Some(of), Some(partition), Some(offset)) if of == topic => {
                    dead.push(Place { partition, offset }.to_bytes())
                }
                _ => Ok(()),
            }
        })?;
        dead.sorted()
    })
    .await
}
