//! The block encoder: decodes, enriches and encodes a block. CPU-bound.
#![expect(clippy::disallowed_methods, reason = "stamps records whose schema id is not known yet")]

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex};

use broker::{SchemaRefusal, ServerError};
use records::dead_letters::origin::{first_logged_at_ms, redriven};
use records::decode::cached_schema::{CachedSchema, Schemas};
use records::decode::{decode, framed};
use records::encode::columns::{ClickRow, Columns};
use records::encode::encoded_rows::{EncodeBuffers, EncodedRows};
use records::encode::record_location::RecordLocation;
use records::enrich::Enricher;
use records::enrich::rule_set::RuleSet;
use records::error::RecordError;
use records::flow::block::{Block, Record};
use records::flow::record_sign::RecordSign;
use records::replay::occurred_window::OccurredWindow;
use schemas::{SchemaId, TraceContext, headers};
use tokio::time::Instant;

use crate::metrics::processor::ProcessorMetrics;
use crate::registry::schema_cache::SchemaCache;
use crate::rules::folder::SharedRuleSet;
use crate::run::batch::{BadRecords, EncodedBlock, InsertKey, OpenRecords, day_range};
use crate::run::retry::until_done;
use crate::run::shared_breaker::SharedBreaker;
use crate::shards::shard_layout::ShardLayout;
use service::lock::lock;

/// Maximum of schema ids in the name of an attempt; senders choose the ids.
const IDS_NAMED: usize = 5;

/// Memory of one encoding that the next one reuses.
#[derive(Debug, Default)]
struct EncoderState {
    /// The enricher with its caches.
    enricher: Enricher,
    /// Where rows are written.
    buffers: EncodeBuffers,
}

/// Encodes blocks, several concurrently.
#[derive(Debug)]
pub struct BlockEncoder {
    pub(crate) topic: String,
    pub(crate) decoders: SchemaCache,
    rules: SharedRuleSet,
    pub(crate) breaker: Arc<SharedBreaker>,
    pub(crate) metrics: ProcessorMetrics,
    /// The clicks that become rows; `None`: all.
    occurred: Option<OccurredWindow>,
    pub(crate) layout: ShardLayout,
    /// The states that are not in use.
    states: Mutex<Vec<EncoderState>>,
    /// Blocks that were encoded, whose memory is reused.
    free_blocks: Mutex<Vec<Block>>,
}

impl BlockEncoder {
    /// An encoder of records of `topic`.
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
            occurred: None,
            layout: ShardLayout::single(),
            states: Mutex::default(),
            free_blocks: Mutex::default(),
        }
    }

    /// As this encoder, for the clicks of a window only: other records become neither rows nor bad records.
    pub(crate) fn within(self, occurred: Option<OccurredWindow>) -> Self {
        Self { occurred, ..self }
    }

    /// As this encoder, for the rows of several shards.
    #[must_use]
    pub fn for_layout(self, layout: ShardLayout) -> Self {
        Self { layout, ..self }
    }

    /// The rule set in use.
    pub fn rules(&self) -> Arc<RuleSet> {
        self.rules.load_full()
    }

    /// An empty block.
    pub fn block(&self) -> Block {
        let mut block = lock(&self.free_blocks).pop().unwrap_or_default();
        block.clear();
        block
    }

    /// Decodes, enriches by `rules` and encodes a block. Records of ids that the registry does not have, or
    /// of unknown ids while it does not answer, are put aside.
    ///
    /// # Errors
    /// Only fatal ones.
    pub async fn encode(
        self: Arc<Self>,
        block: Block,
        rules: Arc<RuleSet>,
    ) -> Result<EncodedBlock, ServerError> {
        let ids = schema_ids(&block);
        let known = self.decoders.get_or_open(&ids).await?;
        let encoded = self.encode_by(&block, &known, &rules, None);
        lock(&self.free_blocks).push(block);
        encoded
    }

    /// Encodes open records again, when their schema ids are known or refused: they become rows or bad
    /// records. Waits for the ids, and while the registry does not answer.
    ///
    /// # Errors
    /// Only fatal ones.
    pub(crate) async fn settle(&self, open: OpenRecords) -> Result<EncodedBlock, ServerError> {
        let OpenRecords { records, signs, since } = open;
        let ids = schema_ids(&records);
        let known = until_done!(
            "registry",
            &self.metrics,
            self.decoders.settle(&ids, since),
            name(&self.topic, &ids, &records)
        );
        self.encode_by(&records, &known, &self.rules(), Some(signs))
    }

    /// Encodes a block, or with `signs` the records of a block of these signs that were not rows. Redriven
    /// records have no sign: the storm breaker does not count what an operator sent.
    fn encode_by(
        &self,
        block: &Block,
        known: &Schemas,
        rules: &Arc<RuleSet>,
        signs: Option<Vec<RecordSign>>,
    ) -> Result<EncodedBlock, ServerError> {
        let mut state = lock(&self.states).pop().unwrap_or_default();
        state.enricher.use_rules(rules);
        let encoded = self.encode_records(block, known, &mut state);
        lock(&self.states).push(state);
        let (mut encoded, bad) = encoded?;
        encoded.rule_set = rules.number();
        debug_assert_eq!(encoded.records, block.rows());
        let BadBlock { records, errors, signs: own, is_open } = bad;
        let pending = match signs {
            None if is_open => {
                let (signs, since) = (self.breaker.postpone(own), Instant::now());
                encoded.open_records = Some(OpenRecords { records, signs, since });
                return Ok(encoded);
            }
            None => self.breaker.observe_in_turn(&own),
            Some(signs) => self.breaker.observe(merged(signs, &own).into_iter()),
        };
        if !errors.is_empty() {
            encoded.bad_records = Some(BadRecords::new(records, errors, pending));
        }
        Ok(encoded)
    }

    fn encode_records(
        &self,
        block: &Block,
        known: &Schemas,
        state: &mut EncoderState,
    ) -> Result<(EncodedBlock, BadBlock), ServerError> {
        let mut encoded = EncodedBlock {
            ranges: block.ranges().clone(),
            records: block.rows(),
            ..EncodedBlock::default()
        };
        let mut columns_by_insert: BTreeMap<InsertKey, Columns> = BTreeMap::new();
        let shards = self.layout.weights().len();
        let mut bad = BadBlock { signs: Vec::with_capacity(block.rows()), ..BadBlock::default() };
        let unknown = CachedSchema::Refused(SchemaRefusal::Unknown);
        for record in block.records() {
            let origin = redriven(record).map(|(origin, _)| origin);
            let judged_by_ms = first_logged_at_ms(origin.as_ref(), record.logged_at_ms());
            let click = framed(record).and_then(|(id, datum)| {
                let known = known.get(&id).unwrap_or(&unknown);
                bad.is_open |= matches!(known, CachedSchema::Open);
                decode(known.decoder(id)?, datum, judged_by_ms)
            });
            if origin.is_none() {
                bad.signs.push(click.as_ref().map_or_else(RecordError::sign, |_| RecordSign::Good));
            }
            let click = match click {
                Ok(click) => click,
                Err(error) => {
                    bad.records.copy(record);
                    bad.errors.push(error);
                    continue;
                }
            };
            if self.occurred.is_some_and(|window| !window.contains(click.occurred_at)) {
                continue;
            }
            let trace = trace(record);
            encoded.sampled.extend(trace.filter(|trace| trace.sampled));
            encoded.newest_ms = encoded.newest_ms.max(Some(record.logged_at_ms()));
            let location = RecordLocation {
                topic: &self.topic,
                partition: record.partition(),
                offset: record.offset(),
                logged_at_ms: record.logged_at_ms(),
                trace_id: trace.map_or([0; 16], |trace| trace.trace_id),
            };
            let shard = self.layout.owner(click.event_id.as_bytes());
            let key = InsertKey { shard, days: day_range(click.occurred_at) };
            // Most blocks have one range of days.
            let rows = if columns_by_insert.len() < shards { block.rows() / shards } else { 0 };
            let columns = columns_by_insert.entry(key);
            let columns = columns.or_insert_with(|| Columns::for_rows(rows));
            columns.push(&ClickRow::new(&click, &state.enricher.enrich(&click), location));
        }
        for (key, mut columns) in columns_by_insert {
            let rows = EncodedRows::encode(&mut columns, &mut state.buffers);
            encoded.rows.push((key, rows.map_err(client_error)?));
        }
        Ok((encoded, bad))
    }
}

/// The records of a block that cannot become rows.
#[derive(Debug, Default)]
struct BadBlock {
    records: Block,
    errors: Vec<RecordError>,
    /// The sign of each record of the block that no redrive sent, valid ones included.
    signs: Vec<RecordSign>,
    /// The subject does not have the schema id of some of them yet.
    is_open: bool,
}

/// Names a look-up at the registry: some of the ids, and the offsets of their records.
fn name(topic: &str, ids: &BTreeSet<SchemaId>, records: &Block) -> String {
    let first: Vec<_> = ids.iter().take(IDS_NAMED).map(SchemaId::to_string).collect();
    let more = ids.len().saturating_sub(IDS_NAMED);
    let more = if more > 0 { format!(" and {more} more") } else { String::new() };
    format!("schemas {}{more} of {topic} {}", first.join(", "), records.ranges())
}

/// The schema ids of a block's records.
fn schema_ids(block: &Block) -> BTreeSet<SchemaId> {
    let (mut ids, mut last) = (BTreeSet::new(), None);
    for (id, _) in block.records().filter_map(|record| framed(record).ok()) {
        if last.replace(id) != Some(id) {
            ids.insert(id);
        }
    }
    ids
}

/// The signs of a block, with those of its bad records replaced by `again`, in order.
fn merged(signs: Vec<RecordSign>, again: &[RecordSign]) -> Vec<RecordSign> {
    let is_bad = |sign: &&RecordSign| **sign != RecordSign::Good;
    debug_assert_eq!(signs.iter().filter(is_bad).count(), again.len());
    let mut again = again.iter().copied();
    let sign = |sign| if sign == RecordSign::Good { sign } else { again.next().unwrap_or(sign) };
    signs.into_iter().map(sign).collect()
}

/// The trace that the record's headers name. Most records have no headers.
fn trace(record: Record<'_>) -> Option<TraceContext> {
    let header = record.header(headers::TRACEPARENT)?;
    TraceContext::parse(std::str::from_utf8(header).ok()?)
}

fn client_error(error: impl std::fmt::Display) -> ServerError {
    ServerError::fatal("clickhouse_client", error)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn h5_the_storm_breaker_counts_a_decided_block_in_the_order_of_its_records() {
        let [good, content, schema] = [RecordSign::Good, RecordSign::Content, RecordSign::Schema];
        let before = vec![good, schema, good, schema, content, good];
        let expected = [good, good, good, schema, content, good];
        assert_eq!(merged(before, &[good, schema, content]), expected);
        assert_eq!(merged(vec![good; 3], &[]), [good; 3]);
    }
}
