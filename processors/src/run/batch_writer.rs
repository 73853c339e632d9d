//! The batch writer: makes a batch durable by inserts (`row_writer`), waits for the schema ids that the registry does
//! not know yet, asks the storm breaker about the bad records, and writes them as dead letters.
//! I/O-bound.
//!
//! When [`BatchWriter::store`] returns `Ok`, every record of the batch is a row in ClickHouse or
//! acknowledged in the dead-letter topic, and its offset may be committed.
#![expect(clippy::disallowed_methods, reason = "stamps dead letters, measures freshness")]

#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use broker::{ErrorClass, ServerError};
use futures_util::future::try_join_all;
use records::dead_letters::headers as dead_letter_headers;
use records::dead_letters::origin::redriven;
use records::error::RecordError;
use records::flow::block::{Block, Record};
use records::flow::storm_breaker::WINDOW;
use tokio::time::Instant;
use tracing::Instrument as _;

use crate::metrics::processor::ProcessorMetrics;
use crate::run::batch::{BadRecords, Batch, OpenRecords, RowsByInsert};
use crate::run::block_encoder::BlockEncoder;
use crate::run::dead_letter_log::DeadLetterLog;
use crate::run::in_flight::BatchState;
use crate::run::retry::{Retry, until_done};
use crate::run::row_writer::{RowWriter, RowsOf};
use crate::run::shared_breaker::SharedBreaker;
use crate::run::sink::{DeadLetterSink, Sink};
use crate::run::trace::link;
use service::lock::lock;
use service::number::gauge;

/// Maximum of dead letters in flight.
const DEAD_LETTERS_MAX: usize = 100;
/// Bytes of their keys and values; one larger record is sent alone.
const DEAD_LETTER_BYTES_MAX: usize = 8 << 20;
/// After this many refusals of one dead letter, which are about the record and not about the state of
/// the brokers, its stub is written. Not after the first: brokers refuse a batch for any record in it.
const REFUSALS_MAX: u32 = 3;

/// Writes batches to a sink of rows and a sink of dead letters, several concurrently.
#[derive(Debug)]
pub struct BatchWriter<K, D> {
    /// Encodes records again.
    encoder: Arc<BlockEncoder>,
    topic: String,
    /// Arguments of the command that overrides the storm breaker.
    override_args: String,
    rows: RowWriter<K>,
    dead_letters: D,
    breaker: Arc<SharedBreaker>,
    metrics: ProcessorMetrics,
    log: Mutex<DeadLetterLog>,
}

impl<K: Sink, D: DeadLetterSink> BatchWriter<K, D> {
    /// A writer of what `encoder` encodes, with its breaker and its metrics.
    pub fn new(encoder: Arc<BlockEncoder>, sink: K, dead_letters: D) -> Self {
        let (topic, metrics) = (encoder.topic.clone(), encoder.metrics.clone());
        let (breaker, log) = (Arc::clone(&encoder.breaker), Mutex::default());
        let rows = RowWriter::new(topic.clone(), sink, &encoder.layout, metrics.clone());
        let override_args = "--backlog".to_owned();
        Self { encoder, topic, override_args, rows, dead_letters, breaker, metrics, log }
    }

    /// The writer, whose error of a storm names these arguments of `processors breaker override`.
    #[must_use]
    pub(crate) fn with_override_args(self, override_args: String) -> Self {
        Self { override_args, ..self }
    }

    /// Makes a batch durable. Waits while servers do not answer. `state` gets fewer bytes when the
    /// rows are durable, and is waiting during each wait for a decision.
    ///
    /// # Errors
    /// Only fatal ones. Nothing of the batch may then be committed.
    pub async fn store(
        self: Arc<Self>,
        mut batch: Batch,
        state: BatchState,
    ) -> Result<(), ServerError> {
        let span = tracing::info_span!("process", records = batch.records, bytes = batch.bytes);
        let store = async {
            let _click_spans = link(&batch.sampled);
            let rows = std::mem::take(&mut batch.rows);
            self.rows.insert(rows, rows_of(&batch, &state, false)).await?;
            state.set_bytes(batch.undecided_bytes());
            self.note_freshness(batch.newest_ms);
            self.dead_letter(&batch.bad_records, &state).await?;
            // The storm breaker counts all of them before it decides about the first.
            let mut settled = Vec::new();
            for open in std::mem::take(&mut batch.open_records) {
                settled.extend(self.settle(open, &batch, &state).await?);
            }
            self.dead_letter(&settled, &state).await
        };
        store.instrument(span).await
    }

    /// Waits until the schema ids of records are known or refused. Inserts the records that are clicks,
    /// and returns the others.
    async fn settle(
        &self,
        open: OpenRecords,
        batch: &Batch,
        state: &BatchState,
    ) -> Result<Option<BadRecords>, ServerError> {
        let settled = state.wait_for(self.encoder.settle(open)).await?;
        debug_assert!(settled.open_records.is_none(), "no id stays open");
        let mut rows = RowsByInsert::new();
        for (key, own) in settled.rows {
            rows.entry(key).or_default().push(own);
        }
        self.rows.insert(rows, rows_of(batch, state, true)).await?;
        Ok(settled.bad_records)
    }

    /// Dead-letters the bad records of blocks, unless they are a storm. The redriven ones do not wait for
    /// the storm breaker.
    async fn dead_letter(
        &self,
        blocks: &[BadRecords],
        state: &BatchState,
    ) -> Result<(), ServerError> {
        let all = blocks.iter().flat_map(BadRecords::iter);
        let redriven: Vec<_> = all.filter(is_redriven).collect();
        self.write_dead_letters(&redriven).await?;
        for bad in blocks {
            let others: Vec<_> = bad.iter().filter(|own| !is_redriven(own)).collect();
            if let Some(pending) = bad.pending
                && state.wait_for(self.breaker.is_storm(pending)).await
            {
                self.check_overrides(&others).await?;
            }
            self.write_dead_letters(&others).await?;
        }
        Ok(())
    }

    /// Notes the age of the newest row, by its log time (milliseconds since 1970).
    fn note_freshness(&self, newest_ms: Option<i64>) {
        if let Some(newest_ms) = newest_ms {
            let age_ms = now_ms().saturating_sub(newest_ms).max(0).unsigned_abs();
            self.metrics.freshness_seconds.set(Duration::from_millis(age_ms).as_secs_f64());
        }
    }

    /// Checks that overrides cover the bad records of a storm.
    ///
    /// # Errors
    /// Fatal: they do not cover all of them.
    async fn check_overrides(&self, bad: &[(Record<'_>, &RecordError)]) -> Result<(), ServerError> {
        let overrides =
            until_done!("breaker", &self.metrics, self.rows.sink.overrides(&self.topic));
        let is_covered = |record: &Record<'_>| {
            overrides.iter().any(|own| own.covers(record.partition(), record.offset()))
        };
        let is_refused = |(record, error): &(Record<'_>, &RecordError)| {
            error.sign().is_suspect() && !is_covered(record)
        };
        let refused: Vec<_> = bad.iter().copied().filter(is_refused).collect();
        if refused.is_empty() { Ok(()) } else { Err(self.storm_error(&refused)) }
    }

    /// The error for the operator: the cause to fix, what was read, and the command that overrides the breaker.
    fn storm_error(&self, refused: &[(Record<'_>, &RecordError)]) -> ServerError {
        let Self { topic, override_args, .. } = self;
        let mut codes: BTreeMap<&str, usize> = BTreeMap::new();
        let mut ranges: BTreeMap<i32, (i64, i64)> = BTreeMap::new();
        for (record, error) in refused {
            *codes.entry(error.code()).or_default() += 1;
            let offset = record.offset();
            let range = ranges.entry(record.partition()).or_insert((offset, offset));
            *range = (range.0.min(offset), range.1.max(offset));
        }
        let codes: Vec<_> = codes.iter().map(|(code, count)| format!("{count} {code}")).collect();
        let read: Vec<_> = ranges
            .iter()
            .map(|(partition, (first, last))| {
                format!("partition {partition} offsets {first}-{last}")
            })
            .collect();
        ServerError::fatal(
            "storm_breaker",
            format!(
                "most of the last {WINDOW} records of {topic} cannot become rows. Refused in this batch: {} \
                 ({}), {}; none of them was dead-lettered and no position passed them. Fix the registry \
                 or the sender; to dead-letter the records that the log holds already, stop the sender \
                 and run: processors breaker override {override_args} --reason TEXT",
                refused.len(),
                codes.join(", "),
                read.join(", ")
            ),
        )
    }

    async fn write_dead_letters(
        &self,
        bad: &[(Record<'_>, &RecordError)],
    ) -> Result<(), ServerError> {
        let mut rest = bad;
        while !rest.is_empty() {
            let (some, later) = rest.split_at(in_flight(rest));
            let sends = some
                .iter()
                .map(|(record, error)| async move { self.write_dead_letter(*record, error).await });
            try_join_all(sends).await?;
            rest = later;
        }
        Ok(())
    }

    async fn write_dead_letter(
        &self,
        record: Record<'_>,
        error: &RecordError,
    ) -> Result<(), ServerError> {
        let mut is_stub = record.stub().is_some();
        if !self.send_dead_letter(record, error, Some(REFUSALS_MAX)).await? {
            is_stub = true;
            let stub = Block::stub_of(record);
            for stub in stub.records() {
                self.send_dead_letter(stub, error, None).await?;
            }
        }
        if is_stub {
            self.metrics.dead_letter_stub(error.code());
        }
        self.metrics.dead_letter(error.code());
        self.log_dead_letter(record, error, is_stub);
        Ok(())
    }

    fn log_dead_letter(&self, record: Record<'_>, error: &RecordError, is_stub: bool) {
        let (code, source) = (error.code(), error.click_source());
        let next = lock(&self.log).next(code, source, Instant::now());
        if let Some(not_logged) = next {
            let (partition, offset) = (record.partition(), record.offset());
            let sent = D::SENT;
            tracing::warn!(code, partition, offset, is_stub, not_logged, %error, "{sent}");
        }
    }

    /// Sends a dead letter until the topic has it; `false` when the brokers have refused the record
    /// itself `refusals_max` times.
    async fn send_dead_letter(
        &self,
        record: Record<'_>,
        error: &RecordError,
        refusals_max: Option<u32>,
    ) -> Result<bool, ServerError> {
        let reason = dead_letter_headers::headers(&self.topic, record, error, now_ms());
        let mut retry = Retry::new("dead_letter", &self.metrics);
        let mut refusals = 0;
        loop {
            let failed = match self.dead_letters.send(record, &reason).await {
                Ok(()) => {
                    retry.done();
                    return Ok(true);
                }
                Err(failed) => failed,
            };
            refusals += u32::from(failed.class == ErrorClass::Record);
            if refusals_max.is_some_and(|max| refusals >= max) {
                retry.done();
                return Ok(false);
            }
            retry.name(|| format!("{} {}:{}", self.topic, record.partition(), record.offset()));
            retry.after(failed).await?;
        }
    }
}

/// The batch as the row writer needs it.
fn rows_of<'a>(batch: &'a Batch, state: &'a BatchState, are_late: bool) -> RowsOf<'a> {
    RowsOf { ranges: &batch.ranges, state, are_late }
}

fn is_redriven((record, _): &(Record<'_>, &RecordError)) -> bool {
    redriven(*record).is_some()
}

/// How many records of `rest`, from the first one, may be in flight together.
fn in_flight(rest: &[(Record<'_>, &RecordError)]) -> usize {
    let bytes = |record: &Record<'_>| {
        record.key().map_or(0, <[u8]>::len) + record.value().map_or(0, <[u8]>::len)
    };
    let mut held = 0;
    let within = rest.iter().take(DEAD_LETTERS_MAX).take_while(|(record, _)| {
        held += bytes(record);
        held <= DEAD_LETTER_BYTES_MAX
    });
    within.count().max(1)
}

fn now_ms() -> i64 {
    // A clock before 1970 affects only timestamps of dead letters and freshness.
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    gauge(since.as_millis())
}
