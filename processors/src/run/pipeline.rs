//! A block to encoded rows (decode ▸ enrich ▸ encode), a batch to durable (insert ▸ breaker ▸ dead
//! letters).
//!
//! When [`Pipeline::store`] returns `Ok`, every record of the batch is a row in ClickHouse or
//! acknowledged in the dead-letter topic, and its offset may be committed.
#![expect(clippy::disallowed_methods, reason = "stamps dead letters, measures freshness")]

use broker::ServerError;
use std::collections::hash_map::Entry;
use std::collections::{BTreeMap, HashMap};
use std::future::Future;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use futures_util::future::try_join_all;
use schemas::{SchemaId, TraceContext, headers};
use tokio::time::Instant;
use tracing::Instrument as _;

use crate::clickhouse::breaker_overrides::Pass;
use crate::clickhouse::server::Insert;
use crate::dead_letters::headers as dead_letter_headers;
use crate::decode::schema_cache::{CachedSchema, SchemaCache};
use crate::decode::{decode, framed};
use crate::encode::columns::{ClickRow, Columns};
use crate::encode::encoded_rows::{EncodeBuffers, EncodedRows};
use crate::encode::record_location::RecordLocation;
use crate::enrich::Enricher;
use crate::enrich::rule_set::RuleSet;
use crate::error::RecordError;
use crate::flow::block::{Block, Record};
use crate::flow::storm_breaker::{Breaker, Held, Verdict};
use crate::metrics::Metrics;
use crate::rules::folder::SharedRuleSet;
use crate::run::batch::{Bad, Batch, Encoded, stretch};
use crate::run::retry::until_done;
use crate::run::trace::{link, traceparent};
use service::lock::lock;
use service::number::gauge;

/// How often a held batch looks whether it can be decided.
const DECIDE_EVERY: Duration = Duration::from_millis(100);
/// Dead letters under way at once.
const DEAD_LETTERS_AT_ONCE: usize = 100;

/// Where rows go.
pub trait Tables: Send + Sync + 'static {
    /// Inserts; `Ok` means durable.
    fn insert(&self, insert: &Insert<'_>) -> impl Future<Output = Result<(), ServerError>> + Send;

    /// An operator's leaves for bad records of a topic.
    fn passes(&self, topic: &str) -> impl Future<Output = Result<Vec<Pass>, ServerError>> + Send;
}

/// Where records go that never succeed.
pub trait Letters: Send + Sync + 'static {
    /// Sends one, with `reason` added to its headers; `Ok` means acknowledged.
    fn send(
        &self,
        record: Record<'_>,
        reason: &[(&'static str, String)],
    ) -> impl Future<Output = Result<(), ServerError>> + Send;
}

/// What a block is encoded with, and used again.
#[derive(Debug, Default)]
struct Desk {
    /// What the rules remember.
    enricher: Enricher,
    /// Where rows are written.
    buffers: EncodeBuffers,
}

/// What blocks and batches need on their way.
#[derive(Debug)]
pub struct Pipeline<T, L> {
    topic: String,
    decoders: SchemaCache,
    tables: T,
    letters: L,
    pub(crate) metrics: Metrics,
    rules: SharedRuleSet,
    breaker: Mutex<Breaker>,
    /// Batches whose rows are durable and whose bad records wait for the breaker.
    held: AtomicUsize,
    /// One for each block that is encoded at the moment.
    desks: Mutex<Vec<Desk>>,
    /// Blocks that were encoded: memory for the next.
    spare: Mutex<Vec<Block>>,
    began: Instant,
}

impl<T: Tables, L: Letters> Pipeline<T, L> {
    /// A pipeline of what is read from `topic`.
    pub fn new(
        topic: &str,
        decoders: SchemaCache,
        tables: T,
        letters: L,
        metrics: Metrics,
    ) -> Self {
        Self {
            topic: topic.to_owned(),
            decoders,
            tables,
            letters,
            metrics,
            rules: SharedRuleSet::default(),
            breaker: Mutex::default(),
            held: AtomicUsize::new(0),
            desks: Mutex::default(),
            spare: Mutex::default(),
            began: Instant::now(),
        }
    }

    /// The same, by these rules instead of none.
    #[must_use]
    pub fn ruled_by(self, rules: SharedRuleSet) -> Self {
        Self { rules, ..self }
    }

    /// The snapshot of the rules to be used now.
    pub fn rules(&self) -> Arc<RuleSet> {
        self.rules.load_full()
    }

    /// An empty block.
    pub fn block(&self) -> Block {
        let mut block = lock(&self.spare).pop().unwrap_or_default();
        block.clear();
        block
    }

    /// Batches that only wait for the breaker.
    pub fn held(&self) -> usize {
        self.held.load(Ordering::Relaxed)
    }

    /// Decodes, enriches by `rules` and encodes a block, waiting as long as the registry is away.
    ///
    /// # Errors
    /// Only fatal ones.
    pub async fn encode(
        self: Arc<Self>,
        block: Block,
        rules: Arc<RuleSet>,
    ) -> Result<Encoded, ServerError> {
        let known = self.schemas(&block).await?;
        let mut desk = lock(&self.desks).pop().unwrap_or_default();
        desk.enricher.use_rules(&rules);
        let mut encoded = self.judge(&block, &known, &mut desk);
        if let Ok(encoded) = &mut encoded {
            encoded.rules = rules.number();
        }
        lock(&self.desks).push(desk);
        lock(&self.spare).push(block);
        encoded
    }

    async fn schemas(&self, block: &Block) -> Result<HashMap<SchemaId, CachedSchema>, ServerError> {
        let mut known = HashMap::new();
        let mut last = None;
        for (id, _) in block.records().filter_map(|record| framed(record).ok()) {
            if last.replace(id) == Some(id) {
                continue;
            }
            if let Entry::Vacant(entry) = known.entry(id) {
                entry.insert(until_done!("registry", &self.metrics, self.decoders.get(id)));
            }
        }
        Ok(known)
    }

    fn judge(
        &self,
        block: &Block,
        known: &HashMap<SchemaId, CachedSchema>,
        desk: &mut Desk,
    ) -> Result<Encoded, ServerError> {
        let mut encoded =
            Encoded { spans: block.spans().clone(), records: block.rows(), ..Encoded::default() };
        let mut stretches: BTreeMap<i64, Columns> = BTreeMap::new();
        let (mut bad, mut errors) = (Block::default(), Vec::new());
        let mut verdicts = Vec::with_capacity(block.rows());
        for record in block.records() {
            let click = framed(record).and_then(|(id, datum)| {
                let known = known.get(&id).unwrap_or(&CachedSchema::Unknown);
                decode(known.decoder(id)?, datum, record.logged_at_ms())
            });
            verdicts.push(click.is_err());
            let click = match click {
                Ok(click) => click,
                Err(error) => {
                    bad.copy(record);
                    errors.push(error);
                    continue;
                }
            };
            let sampled = sampled(record);
            encoded.sampled.extend(sampled);
            encoded.newest_ms = encoded.newest_ms.max(Some(record.logged_at_ms()));
            let location = RecordLocation {
                topic: &self.topic,
                partition: record.partition(),
                offset: record.offset(),
                logged_at_ms: record.logged_at_ms(),
                trace_id: sampled.map_or([0; 16], |trace| trace.trace_id),
            };
            // Most blocks are of one stretch.
            let rows = if stretches.is_empty() { block.rows() } else { 0 };
            let columns = stretches.entry(stretch(click.occurred_at));
            let columns = columns.or_insert_with(|| Columns::for_rows(rows));
            columns.push(&ClickRow::new(&click, &desk.enricher.enrich(&click), location));
        }
        for (stretch, mut columns) in stretches {
            encoded.rows.push((
                stretch,
                EncodedRows::encode(&mut columns, &mut desk.buffers).map_err(too_large)?,
            ));
        }
        let held = lock(&self.breaker).judged(verdicts.into_iter(), self.age_ms());
        encoded.bad = held.map(|held| Bad { records: bad, errors, held });
        Ok(encoded)
    }

    /// Makes a batch durable, waiting as long as servers are away.
    ///
    /// # Errors
    /// Only fatal ones. Nothing of the batch may then be committed.
    pub async fn store(self: Arc<Self>, mut batch: Batch) -> Result<(), ServerError> {
        let span = tracing::info_span!("process", records = batch.records, bytes = batch.bytes);
        let store = async {
            link(&batch.sampled);
            self.insert(std::mem::take(&mut batch.stretches), &batch).await?;
            for bad in &batch.bad {
                self.decide(bad).await?;
                self.bury(bad).await?;
            }
            Ok(())
        };
        store.instrument(span).await
    }

    async fn insert(
        &self,
        stretches: BTreeMap<i64, Vec<EncodedRows>>,
        batch: &Batch,
    ) -> Result<(), ServerError> {
        for rows in stretches.into_values() {
            let count: usize = rows.iter().map(|rows| rows.count).sum();
            let span = tracing::info_span!("insert", rows = count);
            let traceparent = traceparent(&span);
            let insert = Insert {
                topic: &self.topic,
                spans: &batch.spans,
                rows: &rows,
                traceparent: traceparent.as_deref(),
            };
            let began = Instant::now();
            until_done!("insert", &self.metrics, async {
                self.tables.insert(&insert).instrument(span.clone()).await
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

    /// Waits until it is sure that the bad records are a trickle.
    ///
    /// # Errors
    /// Fatal: they are a storm, and no operator gave leave for them.
    async fn decide(&self, bad: &Bad) -> Result<(), ServerError> {
        if self.verdict(bad.held).await == Verdict::Pass {
            return Ok(());
        }
        let passes = until_done!("breaker", &self.metrics, self.tables.passes(&self.topic));
        let may_pass = |record: &Record<'_>| {
            passes.iter().any(|pass| pass.covers(record.partition(), record.offset()))
        };
        let left: Vec<_> = bad.iter().filter(|(record, _)| !may_pass(record)).collect();
        match left.is_empty() {
            true => Ok(()),
            false => Err(storm(&self.topic, &left)),
        }
    }

    async fn verdict(&self, held: Held) -> Verdict {
        self.held.fetch_add(1, Ordering::Relaxed);
        let verdict = loop {
            match lock(&self.breaker).decide(held, self.age_ms()) {
                Verdict::Wait => {}
                verdict @ (Verdict::Pass | Verdict::Storm) => break verdict,
            }
            tokio::time::sleep(DECIDE_EVERY).await;
        };
        self.held.fetch_sub(1, Ordering::Relaxed);
        verdict
    }

    async fn bury(&self, bad: &Bad) -> Result<(), ServerError> {
        let all: Vec<_> = bad.iter().collect();
        for some in all.chunks(DEAD_LETTERS_AT_ONCE) {
            let sends = some.iter().map(|(record, error)| async move {
                let reason = dead_letter_headers::headers(&self.topic, *record, error, now_ms());
                let send = || self.letters.send(*record, &reason);
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

    fn age_ms(&self) -> u64 {
        u64::try_from(self.began.elapsed().as_millis()).unwrap_or(u64::MAX)
    }
}

/// The request's trace, where it was sampled.
fn sampled(record: Record<'_>) -> Option<TraceContext> {
    let header = record.header(headers::TRACEPARENT)?;
    // Most are not, and say so in their last bit.
    if header.ends_with(b"-00") {
        return None;
    }
    TraceContext::parse(std::str::from_utf8(header).ok()?).filter(|trace| trace.sampled)
}

fn too_large(error: impl std::fmt::Display) -> ServerError {
    ServerError::fatal("clickhouse_client", error)
}

/// What an operator has to know to mend it, or to give leave.
fn storm(topic: &str, left: &[(Record<'_>, &RecordError)]) -> ServerError {
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
            format!("processors breaker override --partition {partition} --offsets {first}-{last}")
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

fn now_ms() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    gauge(since.as_millis())
}
