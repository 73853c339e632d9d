//! The batch writer: makes a batch durable by inserts, asks the storm breaker about its bad records,
//! and writes them as dead letters. Work that waits for servers.
//!
//! When [`BatchWriter::store`] returns `Ok`, every record of the batch is a row in ClickHouse or
//! acknowledged in the dead-letter topic, and its offset may be committed.
#![expect(clippy::disallowed_methods, reason = "stamps dead letters, measures freshness")]

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use broker::ServerError;
use futures_util::future::try_join_all;
use tokio::time::Instant;
use tracing::Instrument as _;

use crate::dead_letters::headers as dead_letter_headers;
use crate::encode::encoded_rows::EncodedRows;
use crate::error::RecordError;
use crate::flow::block::Record;
use crate::metrics::processor::ProcessorMetrics;
use crate::run::batch::{BadRecords, Batch};
use crate::run::retry::until_done;
use crate::run::shared_breaker::SharedBreaker;
use crate::run::sink::{DeadLetterSink, Insert, Sink};
use crate::run::trace::{link, traceparent};
use service::number::gauge;

/// Dead letters in flight at once.
const DEAD_LETTERS_MAX: usize = 100;

/// Writes batches to a sink of rows and a sink of dead letters, several at once.
#[derive(Debug)]
pub struct BatchWriter<K, D> {
    topic: String,
    sink: K,
    dead_letters: D,
    breaker: Arc<SharedBreaker>,
    metrics: ProcessorMetrics,
}

impl<K: Sink, D: DeadLetterSink> BatchWriter<K, D> {
    /// A writer of what is read from `topic`.
    pub fn new(
        topic: &str,
        sink: K,
        dead_letters: D,
        breaker: Arc<SharedBreaker>,
        metrics: ProcessorMetrics,
    ) -> Self {
        Self { topic: topic.to_owned(), sink, dead_letters, breaker, metrics }
    }

    /// Batches whose rows are durable and which only wait for the storm breaker.
    pub fn waiting_for_breaker(&self) -> usize {
        self.breaker.waiting()
    }

    /// Makes a batch durable. Waits while servers do not answer.
    ///
    /// # Errors
    /// Only fatal ones. Nothing of the batch may then be committed.
    pub async fn store(self: Arc<Self>, mut batch: Batch) -> Result<(), ServerError> {
        let span = tracing::info_span!("process", records = batch.records, bytes = batch.bytes);
        let store = async {
            link(&batch.sampled);
            self.insert(std::mem::take(&mut batch.rows), &batch).await?;
            for bad in &batch.bad_records {
                self.check_storm(bad).await?;
                self.write_dead_letters(bad).await?;
            }
            Ok(())
        };
        store.instrument(span).await
    }

    async fn insert(
        &self,
        rows_by_days: BTreeMap<i64, Vec<EncodedRows>>,
        batch: &Batch,
    ) -> Result<(), ServerError> {
        for rows in rows_by_days.into_values() {
            let count: usize = rows.iter().map(|rows| rows.count).sum();
            let span = tracing::info_span!("insert", rows = count);
            let traceparent = traceparent(&span);
            let insert = Insert {
                topic: &self.topic,
                ranges: &batch.ranges,
                rows: &rows,
                traceparent: traceparent.as_deref(),
            };
            let began = Instant::now();
            until_done!("insert", &self.metrics, async {
                self.sink.insert(&insert).instrument(span.clone()).await
            });
            self.metrics.insert_seconds.observe(began.elapsed().as_secs_f64());
            self.metrics.rows.inc_by(count as u64);
            self.metrics.batches.inc();
        }
        if let Some(newest_ms) = batch.newest_ms {
            let age_ms = now_ms().saturating_sub(newest_ms).max(0).unsigned_abs();
            self.metrics.freshness_seconds.set(Duration::from_millis(age_ms).as_secs_f64());
        }
        Ok(())
    }

    /// Waits until it is certain that the bad records are no storm.
    ///
    /// # Errors
    /// Fatal: they are a storm, and no override covers all of them.
    async fn check_storm(&self, bad: &BadRecords) -> Result<(), ServerError> {
        let Some(pending) = bad.pending else { return Ok(()) };
        if !self.breaker.is_storm(pending).await {
            return Ok(());
        }
        let overrides = until_done!("breaker", &self.metrics, self.sink.overrides(&self.topic));
        let is_covered = |record: &Record<'_>| {
            overrides.iter().any(|own| own.covers(record.partition(), record.offset()))
        };
        let is_refused = |(record, error): &(Record<'_>, &RecordError)| {
            error.sign().is_suspect() && !is_covered(record)
        };
        let refused: Vec<_> = bad.iter().filter(is_refused).collect();
        if refused.is_empty() { Ok(()) } else { Err(storm_error(&self.topic, &refused)) }
    }

    async fn write_dead_letters(&self, bad: &BadRecords) -> Result<(), ServerError> {
        let all: Vec<_> = bad.iter().collect();
        for some in all.chunks(DEAD_LETTERS_MAX) {
            let sends = some.iter().map(|(record, error)| async move {
                let reason = dead_letter_headers::headers(&self.topic, *record, error, now_ms());
                let send = || self.dead_letters.send(*record, &reason);
                until_done!("dead_letter", &self.metrics, send());
                self.metrics.dead_letter(error.code());
                let (partition, offset) = (record.partition(), record.offset());
                tracing::warn!(code = error.code(), partition, offset, %error, "dead-lettered");
                Ok::<_, ServerError>(())
            });
            try_join_all(sends).await?;
        }
        Ok(())
    }
}

/// What an operator has to know to fix the cause, or to override the breaker.
fn storm_error(topic: &str, refused: &[(Record<'_>, &RecordError)]) -> ServerError {
    let mut codes: BTreeMap<&str, usize> = BTreeMap::new();
    let mut ranges: BTreeMap<i32, (i64, i64)> = BTreeMap::new();
    for (record, error) in refused {
        *codes.entry(error.code()).or_default() += 1;
        let offset = record.offset();
        let range = ranges.entry(record.partition()).or_insert((offset, offset));
        *range = (range.0.min(offset), range.1.max(offset));
    }
    let codes: Vec<_> = codes.iter().map(|(code, count)| format!("{count} {code}")).collect();
    let overrides: Vec<_> = ranges
        .iter()
        .map(|(partition, (first, last))| {
            format!("processors breaker override --partition {partition} --offsets {first}-{last}")
        })
        .collect();
    ServerError::fatal(
        "storm_breaker",
        format!(
            "most of a hundred records of {topic} in a row cannot be decoded ({}); no record was \
             dead-lettered and no position passed them. Fix the registry or the sender; to \
             dead-letter the records that are in the log already, run: {}",
            codes.join(", "),
            overrides.join("; ")
        ),
    )
}

fn now_ms() -> i64 {
    // A clock before 1970 makes nothing but stamps and freshness wrong.
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    gauge(since.as_millis())
}
