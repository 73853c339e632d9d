//! The block encoder: decodes, enriches and encodes a block. Work for a processor core.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex};

use broker::ServerError;
use schemas::{TraceContext, headers};

use crate::decode::schema_cache::{CachedSchema, SchemaCache, Schemas};
use crate::decode::schema_refusal::SchemaRefusal;
use crate::decode::{decode, framed};
use crate::encode::columns::{ClickRow, Columns};
use crate::encode::encoded_rows::{EncodeBuffers, EncodedRows};
use crate::encode::record_location::RecordLocation;
use crate::enrich::Enricher;
use crate::enrich::rule_set::RuleSet;
use crate::error::RecordError;
use crate::flow::block::{Block, Record};
use crate::flow::record_sign::RecordSign;
use crate::metrics::processor::ProcessorMetrics;
use crate::rules::folder::SharedRuleSet;
use crate::run::batch::{BadRecords, EncodedBlock, day_range};
use crate::run::retry::until_done;
use crate::run::shared_breaker::SharedBreaker;
use service::lock::lock;

/// Memory of one encoding that the next one reuses.
#[derive(Debug, Default)]
struct EncoderState {
    /// With its caches.
    enricher: Enricher,
    /// Where rows are written.
    buffers: EncodeBuffers,
}

/// Encodes blocks, several at once.
#[derive(Debug)]
pub struct BlockEncoder {
    topic: String,
    decoders: SchemaCache,
    rules: SharedRuleSet,
    breaker: Arc<SharedBreaker>,
    metrics: ProcessorMetrics,
    /// Those that no block is encoded with at the moment.
    states: Mutex<Vec<EncoderState>>,
    /// Blocks that were encoded: memory for the next.
    free_blocks: Mutex<Vec<Block>>,
}

impl BlockEncoder {
    /// An encoder of what is read from `topic`.
    pub fn new(
        topic: &str,
        decoders: SchemaCache,
        rules: SharedRuleSet,
        breaker: Arc<SharedBreaker>,
        metrics: ProcessorMetrics,
    ) -> Self {
        Self {
            topic: topic.to_owned(),
            decoders,
            rules,
            breaker,
            metrics,
            states: Mutex::default(),
            free_blocks: Mutex::default(),
        }
    }

    /// The rule set to enrich with now.
    pub fn rules(&self) -> Arc<RuleSet> {
        self.rules.load_full()
    }

    /// An empty block.
    pub fn block(&self) -> Block {
        let mut block = lock(&self.free_blocks).pop().unwrap_or_default();
        block.clear();
        block
    }

    /// Decodes, enriches by `rules` and encodes a block. Waits while the registry does not answer.
    ///
    /// # Errors
    /// Only fatal ones.
    pub async fn encode(
        self: Arc<Self>,
        block: Block,
        rules: Arc<RuleSet>,
    ) -> Result<EncodedBlock, ServerError> {
        let known = self.schemas(&block).await?;
        let mut state = lock(&self.states).pop().unwrap_or_default();
        state.enricher.use_rules(&rules);
        let mut encoded = self.encode_records(&block, &known, &mut state);
        if let Ok(encoded) = &mut encoded {
            encoded.rule_set = rules.number();
            debug_assert_eq!(encoded.records, block.rows());
        }
        lock(&self.states).push(state);
        lock(&self.free_blocks).push(block);
        encoded
    }

    async fn schemas(&self, block: &Block) -> Result<Schemas, ServerError> {
        let (mut ids, mut last) = (BTreeSet::new(), None);
        for (id, _) in block.records().filter_map(|record| framed(record).ok()) {
            if last.replace(id) != Some(id) {
                ids.insert(id);
            }
        }
        Ok(until_done!(
            "registry",
            &self.metrics,
            self.decoders.get(&ids),
            format!("schemas {ids:?} of {}", block.ranges())
        ))
    }

    fn encode_records(
        &self,
        block: &Block,
        known: &Schemas,
        state: &mut EncoderState,
    ) -> Result<EncodedBlock, ServerError> {
        let mut encoded = EncodedBlock {
            ranges: block.ranges().clone(),
            records: block.rows(),
            ..EncodedBlock::default()
        };
        let mut columns_by_days: BTreeMap<i64, Columns> = BTreeMap::new();
        let (mut bad_block, mut errors) = (Block::default(), Vec::new());
        let mut signs = Vec::with_capacity(block.rows());
        let unknown = CachedSchema::Refused(SchemaRefusal::Unknown);
        for record in block.records() {
            let click = framed(record).and_then(|(id, datum)| {
                let known = known.get(&id).unwrap_or(&unknown);
                decode(known.decoder(id)?, datum, record.logged_at_ms())
            });
            signs.push(click.as_ref().map_or_else(RecordError::sign, |_| RecordSign::Good));
            let click = match click {
                Ok(click) => click,
                Err(error) => {
                    bad_block.copy(record);
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
            // Most blocks are of one range of days.
            let rows = if columns_by_days.is_empty() { block.rows() } else { 0 };
            let columns = columns_by_days.entry(day_range(click.occurred_at));
            let columns = columns.or_insert_with(|| Columns::for_rows(rows));
            columns.push(&ClickRow::new(&click, &state.enricher.enrich(&click), location));
        }
        for (days, mut columns) in columns_by_days {
            let rows = EncodedRows::encode(&mut columns, &mut state.buffers);
            encoded.rows.push((days, rows.map_err(client_error)?));
        }
        let pending = self.breaker.observe(signs.into_iter());
        if !errors.is_empty() {
            encoded.bad_records = Some(BadRecords::new(bad_block, errors, pending));
        }
        Ok(encoded)
    }
}

/// The request's trace, where it was sampled.
fn sampled(record: Record<'_>) -> Option<TraceContext> {
    let header = record.header(headers::TRACEPARENT)?;
    // Most are not: their last flag says so.
    if header.ends_with(b"-00") {
        return None;
    }
    TraceContext::parse(std::str::from_utf8(header).ok()?).filter(|trace| trace.sampled)
}

fn client_error(error: impl std::fmt::Display) -> ServerError {
    ServerError::fatal("clickhouse_client", error)
}
