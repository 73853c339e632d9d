//! One batch from bytes to durable: decode ▸ enrich ▸ insert ▸ breaker ▸ dead letters.
//!
//! When [`Pipeline::process`] returns `Ok`, every record of the batch is a row in
//! ClickHouse or acknowledged in the dead-letter topic, and its offset may be committed.
#![expect(clippy::disallowed_methods, reason = "measures inserts, stamps dead letters")]

use std::collections::hash_map::Entry;
use std::collections::{BTreeMap, HashMap};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use futures_util::future::try_join_all;
use opentelemetry::trace::{
    SpanContext, SpanId, TraceContextExt as _, TraceFlags, TraceId, TraceState,
};
use schemas::{SchemaId, TraceContext, headers};
use tracing::Instrument as _;
use tracing_opentelemetry::OpenTelemetrySpanExt as _;

use crate::clickhouse::{Rows, Server, Table, passes};
use crate::dead_letter;
use crate::decode::{decode, framed};
use crate::decoders::{Decoders, Known};
use crate::enrich::enrich;
use crate::error::{RecordError, ServerError};
use crate::flow::{Batch, Breaker, Held, Record, Verdict};
use crate::kafka::DeadLetters;
use crate::metrics::Metrics;
use crate::retry::until_done;
use crate::row::{ClickRow, Place};

/// Links a span holds at most (the SDK's own bound).
const LINKS_MAX: usize = 128;
/// How often a held batch looks whether it can be decided.
const DECIDE_EVERY: std::time::Duration = std::time::Duration::from_millis(100);
/// Dead letters under way at once.
const DEAD_LETTERS_AT_ONCE: usize = 100;

/// What a batch needs on its way.
#[derive(Debug)]
pub struct Pipeline {
    /// Topic that is read, as it stands in the rows.
    pub topic: String,
    /// Schemas by id.
    pub decoders: Decoders,
    /// Where records go that never succeed.
    pub dead_letters: DeadLetters,
    /// Where rows go.
    pub table: Table,
    /// Where an operator's leaves for bad records are kept.
    pub server: Server,
    /// Counts.
    pub metrics: Metrics,
    /// What the last records were.
    pub breaker: Mutex<Breaker>,
    /// Batches whose rows are durable and whose bad records wait for the breaker.
    pub held: AtomicUsize,
}

/// A batch, judged: what becomes of each record.
struct Judged<'a> {
    rows: Vec<ClickRow<'a>>,
    dead: Vec<(Record<'a>, RecordError)>,
    /// Of every record in its order, whether it is bad.
    bad: Vec<bool>,
    sampled: Vec<TraceContext>,
}

impl Pipeline {
    /// Makes a batch durable, waiting as long as servers are away.
    ///
    /// # Errors
    /// Only fatal ones. Nothing of the batch may then be committed.
    pub async fn process(self: Arc<Self>, batch: Batch) -> Result<(), ServerError> {
        let span = tracing::info_span!("process", records = batch.rows(), bytes = batch.bytes());
        let process = async {
            let known = self.schemas(&batch).await?;
            let judged = self.judge(&batch, &known);
            link(&judged.sampled);
            let held = lock(&self.breaker).judged(judged.bad.iter().copied(), since_1970_ms());
            self.insert(judged.rows).await?;
            if let Some(held) = held {
                self.decide(held, &judged.dead).await?;
                self.bury(&judged.dead).await?;
            }
            Ok(())
        };
        process.instrument(span).await
    }

    async fn schemas(&self, batch: &Batch) -> Result<HashMap<SchemaId, Known>, ServerError> {
        let mut known = HashMap::new();
        for (id, _) in batch.records().filter_map(|record| framed(record).ok()) {
            if let Entry::Vacant(entry) = known.entry(id) {
                entry.insert(until_done!("registry", &self.metrics, self.decoders.get(id)));
            }
        }
        Ok(known)
    }

    fn judge<'a>(&'a self, batch: &'a Batch, known: &'a HashMap<SchemaId, Known>) -> Judged<'a> {
        let mut judged = Judged {
            rows: Vec::with_capacity(batch.rows()),
            dead: Vec::new(),
            bad: Vec::with_capacity(batch.rows()),
            sampled: Vec::new(),
        };
        for record in batch.records() {
            let click = framed(record).and_then(|(id, datum)| {
                let known = known.get(&id).unwrap_or(&Known::Unknown);
                decode(known.decoder(id)?, datum, record.logged_at_ms())
            });
            judged.bad.push(click.is_err());
            let click = match click {
                Ok(click) => click,
                Err(error) => {
                    judged.dead.push((record, error));
                    continue;
                }
            };
            let header = record.header(headers::TRACEPARENT).map(std::str::from_utf8);
            let trace = header.and_then(Result::ok).and_then(TraceContext::parse);
            let sampled = trace.filter(|trace| trace.sampled);
            judged.sampled.extend(sampled);
            let place = Place {
                topic: &self.topic,
                partition: record.partition(),
                offset: record.offset(),
                logged_at_ms: record.logged_at_ms(),
                trace_id: sampled.map_or([0; 16], |trace| trace.trace_id),
            };
            judged.rows.push(ClickRow::new(&click, enrich(&click), place));
        }
        judged
    }

    /// Waits until it is sure that the bad records are a trickle.
    ///
    /// # Errors
    /// Fatal: they are a storm, and no operator gave leave for them.
    async fn decide(
        &self,
        held: Held,
        dead: &[(Record<'_>, RecordError)],
    ) -> Result<(), ServerError> {
        self.held.fetch_add(1, Ordering::Relaxed);
        let verdict = loop {
            match lock(&self.breaker).decide(held, since_1970_ms()) {
                Verdict::Wait => {}
                verdict @ (Verdict::Pass | Verdict::Storm) => break verdict,
            }
            tokio::time::sleep(DECIDE_EVERY).await;
        };
        self.held.fetch_sub(1, Ordering::Relaxed);
        if verdict == Verdict::Pass {
            return Ok(());
        }
        let passes = until_done!("breaker", &self.metrics, passes(&self.server, &self.topic));
        let may_pass = |record: &Record<'_>| {
            passes.iter().any(|pass| pass.covers(record.partition(), record.offset()))
        };
        let left: Vec<_> = dead.iter().filter(|(record, _)| !may_pass(record)).collect();
        match left.is_empty() {
            true => Ok(()),
            false => Err(storm(&self.topic, &left)),
        }
    }

    async fn bury(&self, dead: &[(Record<'_>, RecordError)]) -> Result<(), ServerError> {
        for some in dead.chunks(DEAD_LETTERS_AT_ONCE) {
            let sends = some.iter().map(|(record, error)| async move {
                let reason = dead_letter::headers(&self.topic, *record, error, now_ms());
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

    async fn insert(&self, rows: Vec<ClickRow<'_>>) -> Result<(), ServerError> {
        let Some(newest_ms) = rows.iter().map(|row| row.logged_at).max() else { return Ok(()) };
        let (encoded, count) = (Rows::new(&rows)?, rows.len());
        // What is kept for a repetition is the encoded bytes.
        drop(rows);
        let span = tracing::info_span!("insert", rows = count);
        let traceparent = traceparent(&span);
        let began = Instant::now();
        until_done!("insert", &self.metrics, async {
            let insert = self.table.insert(&encoded, traceparent.as_deref());
            insert.instrument(span.clone()).await
        });
        self.metrics.insert_seconds.observe(began.elapsed().as_secs_f64());
        self.metrics.rows.inc_by(count as u64);
        self.metrics.batches.inc();
        let age = std::time::Duration::from_millis(
            now_ms().saturating_sub(newest_ms).max(0).unsigned_abs(),
        );
        self.metrics.freshness_seconds.set(age.as_secs_f64());
        Ok(())
    }
}

/// What an operator has to know to mend it, or to give leave.
fn storm(topic: &str, left: &[&(Record<'_>, RecordError)]) -> ServerError {
    let mut codes: BTreeMap<&str, usize> = BTreeMap::new();
    let mut ranges: BTreeMap<i32, (i64, i64)> = BTreeMap::new();
    for (record, error) in left {
        *codes.entry(error.code()).or_default() += 1;
        let offset = record.offset();
        let range = ranges.entry(record.partition()).or_insert((offset, offset));
        *range = (range.0.min(offset), range.1.max(offset));
    }
    let codes: Vec<_> = codes.iter().map(|(code, count)| format!("{count} {code}")).collect();
    let leaves: Vec<_> = ranges
        .iter()
        .map(|(partition, (first, last))| {
            format!("processors breaker pass --partition {partition} --offsets {first}-{last}")
        })
        .collect();
    ServerError::fatal(
        "storm_breaker",
        format!(
            "most of a hundred records of {topic} in a row cannot be processed ({}); nothing was \
             dead-lettered and no position passed them. Mend the registry or the sender; to give \
             up what is in the log already: {}",
            codes.join(", "),
            leaves.join("; ")
        ),
    )
}

fn lock(breaker: &Mutex<Breaker>) -> MutexGuard<'_, Breaker> {
    breaker.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Links the current span to the requests whose clicks it processes.
fn link(sampled: &[TraceContext]) {
    let span = tracing::Span::current();
    for trace in sampled.iter().take(LINKS_MAX) {
        let context = SpanContext::new(
            TraceId::from_bytes(trace.trace_id),
            SpanId::from_bytes(trace.span_id),
            TraceFlags::SAMPLED,
            true,
            TraceState::default(),
        );
        span.add_link(context);
    }
}

/// What tells the server which trace its insert belongs to; none when spans are not exported.
fn traceparent(span: &tracing::Span) -> Option<String> {
    let context = span.context();
    let context = context.span().span_context().clone();
    let trace = TraceContext {
        trace_id: context.trace_id().to_bytes(),
        span_id: context.span_id().to_bytes(),
        sampled: context.is_sampled(),
    };
    context.is_valid().then(|| trace.traceparent().as_str().to_owned())
}

fn since_1970_ms() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}

fn now_ms() -> i64 {
    i64::try_from(since_1970_ms()).unwrap_or(i64::MAX)
}
