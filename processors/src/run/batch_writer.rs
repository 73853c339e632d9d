//! The batch writer: makes a batch durable by inserts, waits for the schema ids that the registry does
//! not know yet, asks the storm breaker about the bad records, and writes them as dead letters.
//! I/O-bound.
//!
//! When [`BatchWriter::store`] returns `Ok`, every record of the batch is a row in ClickHouse or
//! acknowledged in the dead-letter topic, and its offset may be committed.
#![expect(clippy::disallowed_methods, reason = "stamps dead letters, measures freshness")]

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use broker::{ErrorClass, ServerError};
use futures_util::future::try_join_all;
use tokio::time::Instant;
use tracing::Instrument as _;

use crate::dead_letters::headers as dead_letter_headers;
use crate::encode::encoded_rows::EncodedRows;
use crate::error::RecordError;
use crate::flow::block::{Block, Record};
use crate::metrics::processor::ProcessorMetrics;
use crate::run::batch::{BadRecords, Batch, OpenRecords};
use crate::run::block_encoder::BlockEncoder;
use crate::run::dead_letter_log::DeadLetterLog;
use crate::run::in_flight::BatchState;
use crate::run::retry::{Retry, until_done};
use crate::run::shared_breaker::SharedBreaker;
use crate::run::sink::{DeadLetterSink, Insert, Sink};
use crate::run::trace::{link, traceparent};
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
    sink: K,
    dead_letters: D,
    breaker: Arc<SharedBreaker>,
    metrics: ProcessorMetrics,
    log: Mutex<DeadLetterLog>,
    /// Held by an attempt to insert records whose schema ids were unknown.
    late_insert: tokio::sync::Mutex<()>,
}

impl<K: Sink, D: DeadLetterSink> BatchWriter<K, D> {
    /// A writer of what `encoder` encodes, with its breaker and its metrics.
    pub fn new(encoder: Arc<BlockEncoder>, sink: K, dead_letters: D) -> Self {
        let (topic, metrics) = (encoder.topic.clone(), encoder.metrics.clone());
        let (breaker, log) = (Arc::clone(&encoder.breaker), Mutex::default());
        let late_insert = tokio::sync::Mutex::default();
        Self { encoder, topic, sink, dead_letters, breaker, metrics, log, late_insert }
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
            link(&batch.sampled);
            self.insert(std::mem::take(&mut batch.rows), &batch, None).await?;
            state.set_bytes(batch.undecided_bytes());
            self.note_freshness(batch.newest_ms);
            for bad in &batch.bad_records {
                self.dead_letter(bad, &state).await?;
            }
            // The storm breaker counts all of them before it decides about the first.
            let mut settled = Vec::new();
            for open in std::mem::take(&mut batch.open_records) {
                settled.extend(self.settle(open, &batch, &state).await?);
            }
            for bad in &settled {
                self.dead_letter(bad, &state).await?;
            }
            Ok(())
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
        let mut rows: BTreeMap<i64, Vec<EncodedRows>> = BTreeMap::new();
        for (days, own) in settled.rows {
            rows.entry(days).or_default().push(own);
        }
        self.insert(rows, batch, Some(state)).await?;
        Ok(settled.bad_records)
    }

    /// Dead-letters bad records, unless they are a storm.
    async fn dead_letter(&self, bad: &BadRecords, state: &BatchState) -> Result<(), ServerError> {
        self.check_storm(bad, state).await?;
        self.write_dead_letters(bad).await
    }

    /// Inserts rows. Rows that are `late` wait for their turn before each attempt: after an outage of the
    /// registry many batches come here at the same time, and one whose insert fails does not stop the others.
    async fn insert(
        &self,
        rows_by_days: BTreeMap<i64, Vec<EncodedRows>>,
        batch: &Batch,
        late: Option<&BatchState>,
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
            let mut began = Instant::now();
            until_done!(
                "insert",
                &self.metrics,
                async {
                    let mut turn = None;
                    if let Some(state) = late {
                        turn = Some(state.wait_for(self.late_insert.lock()).await);
                        began = Instant::now();
                    }
                    let inserted = self.sink.insert(&insert).instrument(span.clone()).await;
                    drop(turn);
                    inserted
                },
                format!("{} {}", self.topic, batch.ranges)
            );
            self.metrics.insert_seconds.observe(began.elapsed().as_secs_f64());
            self.metrics.rows.inc_by(count as u64);
            self.metrics.batches.inc();
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

    /// Waits until it is certain that the bad records are not a storm.
    ///
    /// # Errors
    /// Fatal: they are a storm, and no override covers all of them.
    async fn check_storm(&self, bad: &BadRecords, state: &BatchState) -> Result<(), ServerError> {
        let Some(pending) = bad.pending else { return Ok(()) };
        if !state.wait_for(self.breaker.is_storm(pending)).await {
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
        let mut rest = &all[..];
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
            tracing::warn!(code, partition, offset, is_stub, not_logged, %error, "a record is dead-lettered");
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

/// The error for the operator: the cause to fix, and the commands that override the breaker.
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
    // A clock before 1970 affects only timestamps of dead letters and freshness.
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    gauge(since.as_millis())
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;
    use crate::decode::schema_cache::SchemaCache;
    use crate::flow::block::{RecordMetadata, SizeLimits};
    use crate::flow::offset_range::OffsetRange;
    use crate::flow::record_sign::RecordSign;
    use crate::run::sink::BreakerOverride;
    use prometheus_client::registry::Registry;
    use schemas::{Encoder, NEWEST, RawClick, SchemaId};
    use uuid::Uuid;

    /// A dead-letter topic that refuses values of this length or more.
    #[derive(Debug)]
    struct Refusing {
        bytes: usize,
        /// Offset, bytes of the value, and whether it was taken.
        sent: Arc<Mutex<Vec<(i64, usize, bool)>>>,
    }

    impl DeadLetterSink for Refusing {
        async fn send(
            &self,
            record: Record<'_>,
            reason: &[(&'static str, String)],
        ) -> Result<(), ServerError> {
            let bytes = record.value().map_or(0, <[u8]>::len);
            let is_taken = bytes < self.bytes;
            lock(&self.sent).push((record.offset(), bytes, is_taken));
            let is_stub =
                reason.iter().any(|(name, _)| *name == schemas::headers::DEAD_LETTER_STUB);
            assert_eq!(is_stub, record.stub().is_some());
            if is_taken {
                return Ok(());
            }
            let (class, code) = (ErrorClass::Record, "dead_letter_refused");
            Err(ServerError { class, code, message: String::new() })
        }
    }

    /// Counts rows.
    #[derive(Debug, Clone, Default)]
    struct Rows(Arc<AtomicUsize>);

    impl Sink for Rows {
        async fn insert(&self, insert: &Insert<'_>) -> Result<(), ServerError> {
            let rows = insert.rows.iter().map(|rows| rows.count).sum();
            self.0.fetch_add(rows, Ordering::Relaxed);
            Ok(())
        }

        async fn overrides(&self, _: &str) -> Result<Vec<BreakerOverride>, ServerError> {
            Ok(Vec::new())
        }
    }

    const LOGGED_AT_MS: i64 = 1_764_000_000_000;

    /// An encoder that knows one schema id, and asks no registry.
    fn encoder(known: SchemaId) -> Arc<BlockEncoder> {
        let limits = SizeLimits { rows_max: 1, bytes_max: 1 };
        let metrics = ProcessorMetrics::register(&mut Registry::default(), limits);
        let registry = broker::Registry::new("http://127.0.0.1:1").unwrap();
        let cache = SchemaCache::new(registry, "t-value".to_owned(), metrics.clone());
        cache.insert(known, NEWEST);
        let breaker = Arc::new(SharedBreaker::default());
        Arc::new(BlockEncoder::new("t", cache, Arc::default(), breaker, metrics))
    }

    /// A block of these values, from offset 0.
    fn block(values: &[&[u8]]) -> Block {
        let mut block = Block::default();
        for (offset, value) in (0..).zip(values) {
            let (partition, epoch, logged_at_ms) = (0, 1, LOGGED_AT_MS);
            let metadata = RecordMetadata { partition, offset, epoch, logged_at_ms };
            block.push(metadata, None, Some(value), std::iter::empty());
        }
        block
    }

    #[tokio::test(start_paused = true)]
    async fn h5_records_of_an_id_that_becomes_known_are_rows_and_the_others_dead_letters() {
        let (id, mut click) = (SchemaId(9), Vec::new());
        let occurred_at = LOGGED_AT_MS * 1000;
        let raw = RawClick::new(Uuid::from_u128(1), occurred_at, "a");
        Encoder::new(id).encode(&raw, &mut click).unwrap();
        let sent = Arc::<Mutex<Vec<(i64, usize, bool)>>>::default();
        let sink = Refusing { bytes: 1_000, sent: Arc::clone(&sent) };
        let (rows, encoder) = (Rows::default(), encoder(id));
        let metrics = encoder.metrics.clone();
        let writer = Arc::new(BatchWriter::new(encoder, rows.clone(), sink));
        // The valid records of the blocks are already rows.
        let [good, schema] = [RecordSign::Good, RecordSign::Schema];
        let open = || OpenRecords {
            records: block(&[&click, b"garbage", &click]),
            signs: vec![schema, good, schema, good, good, schema],
            since: Instant::now(),
        };
        let (open_records, began) = ((0..9).map(|_| open()).collect(), Instant::now());
        let batch = Batch { open_records, ..Batch::default() };
        writer.store(batch, BatchState::default()).await.unwrap();
        assert_eq!(rows.0.load(Ordering::Relaxed), 18);
        assert_eq!(*lock(&sent), [(1, 7, true); 9]);
        assert_eq!(metrics.rows.get(), 18);
        // The storm breaker decides about all of them within its ten seconds.
        assert!(began.elapsed() < Duration::from_secs(11), "{:?}", began.elapsed());
    }

    #[tokio::test(start_paused = true)]
    async fn h1_a_refused_dead_letter_becomes_a_stub_and_the_others_stay_whole() {
        let encoder = encoder(SchemaId(1));
        let values = [10, 900_000, 5 << 20, 0].map(|bytes| vec![1; bytes]);
        let block = block(&values.each_ref().map(Vec::as_slice));
        let errors = (0..4).map(|_| RecordError::EmptyValue).collect();
        let pending = encoder.breaker.observe([RecordSign::Schema; 4].into_iter());
        let bad_records = vec![BadRecords::new(block, errors, pending)];
        let sent = Arc::<Mutex<Vec<(i64, usize, bool)>>>::default();
        let sink = Refusing { bytes: 500_000, sent: Arc::clone(&sent) };
        let attempts = encoder.metrics.attempts.clone();
        attempts.set_stuck_after(Duration::ZERO);
        let writer = Arc::new(BatchWriter::new(encoder, Rows::default(), sink));
        let began = Instant::now();
        let batch = Batch { bad_records, ..Batch::default() };
        writer.store(batch, BatchState::default()).await.unwrap();
        assert!(began.elapsed() < Duration::from_secs(12), "{:?}", began.elapsed());
        let mut sent = lock(&sent).clone();
        sent.sort_unstable();
        let refused = (1, 900_000, false);
        let expected =
            [(0, 10, true), (1, 0, true), refused, refused, refused, (2, 0, true), (3, 0, true)];
        assert_eq!(sent, expected);
        assert_eq!(attempts.problems(), Vec::<String>::new(), "nothing is tried any more");
    }

    /// A table that takes rows of partition 0 alone.
    #[derive(Debug, Clone, Default)]
    struct OneTable(Rows);

    impl Sink for OneTable {
        async fn insert(&self, insert: &Insert<'_>) -> Result<(), ServerError> {
            if insert.ranges.iter().any(|(partition, _)| partition != 0) {
                return Err(ServerError::retryable("clickhouse_unreachable", "refused"));
            }
            self.0.insert(insert).await
        }

        async fn overrides(&self, topic: &str) -> Result<Vec<BreakerOverride>, ServerError> {
            self.0.overrides(topic).await
        }
    }

    #[tokio::test(start_paused = true)]
    async fn h5_a_late_insert_that_fails_repeatedly_does_not_stop_the_others() {
        let (id, mut click) = (SchemaId(9), Vec::new());
        let raw = RawClick::new(Uuid::from_u128(1), LOGGED_AT_MS * 1000, "a");
        Encoder::new(id).encode(&raw, &mut click).unwrap();
        let (table, sink) = (OneTable::default(), Refusing { bytes: 1, sent: Arc::default() });
        let writer = Arc::new(BatchWriter::new(encoder(id), table.clone(), sink));
        let store = |partition| {
            let (records, signs, since) =
                (block(&[&click]), vec![RecordSign::Schema], Instant::now());
            let open_records = vec![OpenRecords { records, signs, since }];
            let mut batch = Batch { open_records, ..Batch::default() };
            batch.ranges.add(partition, OffsetRange { epoch: 1, first: 0, next: 1 });
            Arc::clone(&writer).store(batch, BatchState::default())
        };
        let all = async { tokio::join!(store(1), store(0)) };
        assert!(tokio::time::timeout(Duration::from_secs(60), all).await.is_err(), "one fails");
        assert_eq!(table.0.0.load(Ordering::Relaxed), 1);
    }
}
