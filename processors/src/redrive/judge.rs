//! Judges records before a redrive sends them: repairs them, and decodes them by today's rules.
#![expect(
    clippy::disallowed_methods,
    reason = "unknown schema ids are waited for from the start on"
)]

use std::collections::BTreeSet;

use broker::{Registry, ServerError};
use prometheus_client::registry::Registry as MetricRegistry;
use records::dead_letters::origin::Origin;
use records::dead_letters::redriven_copy::RecordBytes;
use records::dead_letters::repair::{KeyFacts, Repair, RepairError, RepairInput, Repaired, repair};
use records::dead_letters::verdict::verdict;
use records::error::RecordError;
use records::flow::block::SizeLimits;
use records::flow::stub::VALUE_BYTES_MAX;
use schemas::{SchemaId, unframe};
use tokio::time::Instant;

use crate::clickhouse::dead_letter_repairs::StoredRepair;
use crate::metrics::processor::ProcessorMetrics;
use crate::redrive::record_source::SourceRecord;
use crate::redrive::server_attempts::{Interrupt, ServerAttempts};
use crate::registry::schema_cache::SchemaCache;
use crate::registry::subject_schemas::SubjectSchemas;

/// A record that was judged.
#[derive(Debug)]
pub(crate) struct JudgedRecord {
    /// Its bytes, repaired.
    pub(crate) bytes: RecordBytes,
    /// What they lack; empty: nothing.
    pub(crate) left_out: String,
    /// The key facts of its click, or why a copy would fail.
    pub(crate) verdict: Result<KeyFacts, RecordError>,
    /// The repair, which is stored before the record is sent.
    pub(crate) repair: Option<StoredRepair>,
    /// Why the repair of the plan does not apply.
    pub(crate) unrepaired: Option<String>,
}

impl JudgedRecord {
    fn repair_by(&mut self, wanted: Repair, repaired: Repaired) {
        self.bytes.value = Some(repaired.value.clone());
        self.verdict = Ok(repaired.key_facts);
        self.repair = Some(StoredRepair { repair: wanted.name().to_owned(), repaired });
    }
}

/// Repairs and decodes records.
#[derive(Debug)]
pub(crate) struct Judge {
    cache: SchemaCache,
    began: Instant,
    repair: Option<Repair>,
    subject: SubjectSchemas,
    attempts: ServerAttempts,
}

impl Judge {
    /// A judge by the schemas of `subject`.
    pub(crate) fn new(
        registry: Registry,
        subject: String,
        repair: Option<Repair>,
        attempts: ServerAttempts,
    ) -> Self {
        // Nothing exports them.
        let limits = SizeLimits { rows_max: 0, bytes_max: 0 };
        let metrics = ProcessorMetrics::register(&mut MetricRegistry::default(), limits);
        Self {
            cache: SchemaCache::new(registry.clone(), subject.clone(), metrics),
            began: Instant::now(),
            repair,
            subject: SubjectSchemas::new(registry, subject),
            attempts,
        }
    }

    /// Judges records, in their order. Waits while the registry does not answer, and once for some
    /// seconds for ids that the subject does not have.
    ///
    /// # Errors
    /// The redrive is stopped, or a fatal error of the registry.
    pub(crate) async fn judge(
        &mut self,
        records: Vec<(&Origin, SourceRecord)>,
    ) -> Result<Vec<JudgedRecord>, Interrupt> {
        let values = records.iter().filter_map(|(_, record)| record.bytes.value.as_deref());
        let ids: BTreeSet<SchemaId> = values.filter_map(schema_id).collect();
        let (cache, began) = (&self.cache, self.began);
        let settle = self.attempts.until_ok("schemas", async || cache.settle(&ids, began).await);
        let schemas = settle.await?;
        let mut judged = Vec::with_capacity(records.len());
        for (origin, SourceRecord { bytes, is_repaired, left_out }) in records {
            let verdict = verdict(&bytes, origin, &schemas);
            // A record that would not fail is sent as it is.
            let wanted = self.repair.filter(|_| !is_repaired && verdict.is_err());
            let (repair, unrepaired) = (None, None);
            let mut record = JudgedRecord { bytes, left_out, verdict, repair, unrepaired };
            if let (Some(wanted), Some(value)) = (wanted, &record.bytes.value) {
                match self.repaired(wanted, origin, value).await? {
                    Ok(repaired) => record.repair_by(wanted, repaired),
                    Err(error) => record.unrepaired = Some(error.to_string()),
                }
            }
            judged.push(record);
        }
        Ok(judged)
    }

    /// The repaired value, or why the repair does not apply.
    async fn repaired(
        &mut self,
        wanted: Repair,
        origin: &Origin,
        value: &[u8],
    ) -> Result<Result<Repaired, RepairError>, Interrupt> {
        let new_id = match wanted {
            Repair::SchemaId(id) => Some(id),
            Repair::TrailingBytes | Repair::KeyFacts => None,
        };
        let (subject, mut newest) = (&mut self.subject, SchemaId(0));
        let ids = schema_id(value).into_iter().chain(new_id);
        let load = self.attempts.until_ok("schemas", async || {
            for id in ids.clone() {
                subject.load(id).await?;
            }
            if wanted == Repair::KeyFacts {
                newest = subject.newest().await?;
            }
            Ok::<_, ServerError>(())
        });
        load.await?;
        let (random, logged_at_ms) = (origin.id_bits(), origin.logged_at_ms);
        let input = RepairInput { value, logged_at_ms, random, newest, fixed: None };
        Ok(repair(wanted, &input, |id| self.subject.get(id)))
    }
}

/// The schema id in the frame of a value that a processor would decode.
fn schema_id(value: &[u8]) -> Option<SchemaId> {
    let value = Some(value).filter(|value| value.len() <= VALUE_BYTES_MAX)?;
    unframe(value).ok().map(|(id, _)| id)
}
