//! Judges records before a redrive sends them: repairs them, and decodes them by today's rules.
#![expect(
    clippy::disallowed_methods,
    reason = "unknown schema ids are waited for from the start on"
)]

use std::collections::BTreeSet;

use broker::{Registry, ServerError};
use prometheus_client::registry::Registry as MetricRegistry;
use schemas::{SchemaId, unframe};
use tokio::time::Instant;

use crate::clickhouse::dead_letter_repairs::StoredRepair;
use crate::dead_letters::origin::Origin;
use crate::dead_letters::redriven_copy::RecordBytes;
use crate::dead_letters::repair::{KeyFacts, Repair, RepairError, RepairInput, repair};
use crate::dead_letters::verdict::verdict;
use crate::decode::schema_cache::SchemaCache;
use crate::decode::subject_schemas::SubjectSchemas;
use crate::error::RecordError;
use crate::flow::block::SizeLimits;
use crate::flow::stub::VALUE_BYTES_MAX;
use crate::metrics::processor::ProcessorMetrics;
use crate::random_bits::random_bits;
use crate::redrive::record_source::SourceRecord;
use crate::redrive::server_attempts::{Interrupt, ServerAttempts};

/// A record that was judged.
#[derive(Debug)]
pub(crate) struct JudgedRecord {
    /// Its bytes, repaired.
    pub(crate) bytes: RecordBytes,
    /// The key facts of its click, or why a copy would fail.
    pub(crate) verdict: Result<KeyFacts, RecordError>,
    /// The repair, which is stored before the record is sent.
    pub(crate) repair: Option<StoredRepair>,
    /// Why the repair of the plan does not apply.
    pub(crate) unrepaired: Option<String>,
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
        let mut judged = Vec::with_capacity(records.len());
        for (origin, SourceRecord { bytes, is_repaired }) in records {
            let wanted = self.repair.filter(|_| !is_repaired);
            let (bytes, repaired) = match wanted {
                Some(wanted) => self.repaired(wanted, origin, bytes).await?,
                None => (bytes, Ok(None)),
            };
            judged.push((origin, bytes, repaired));
        }
        let values = judged.iter().filter_map(|(_, bytes, _)| bytes.value.as_deref());
        let ids: BTreeSet<SchemaId> = values.filter_map(schema_id).collect();
        let (cache, began) = (&self.cache, self.began);
        let settle = self.attempts.until_ok("schemas", async || cache.settle(&ids, began).await);
        let schemas = settle.await?;
        let judged = judged.into_iter().map(|(origin, bytes, repaired)| {
            let verdict = verdict(&bytes, origin, &schemas);
            let (repair, unrepaired) = match repaired {
                Ok(repair) => (repair, None),
                Err(error) => (None, Some(error.to_string())),
            };
            JudgedRecord { bytes, verdict, repair, unrepaired }
        });
        Ok(judged.collect())
    }

    /// The bytes with their value repaired, or unchanged with the reason.
    async fn repaired(
        &mut self,
        wanted: Repair,
        origin: &Origin,
        mut bytes: RecordBytes,
    ) -> Result<(RecordBytes, Result<Option<StoredRepair>, RepairError>), Interrupt> {
        let Some(value) = &bytes.value else { return Ok((bytes, Ok(None))) };
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
        let random = random_bits();
        let logged_at_ms = origin.logged_at_ms;
        let input = RepairInput { value, logged_at_ms, random, newest, fixed: None };
        let repaired = match repair(wanted, &input, |id| self.subject.get(id)) {
            Ok(repaired) => repaired,
            Err(error) => return Ok((bytes, Err(error))),
        };
        bytes.value = Some(repaired.value.clone());
        Ok((bytes, Ok(Some(StoredRepair { repair: wanted.name().to_owned(), repaired }))))
    }
}

/// The schema id in the frame of a value that a processor would decode.
fn schema_id(value: &[u8]) -> Option<SchemaId> {
    let value = Some(value).filter(|value| value.len() <= VALUE_BYTES_MAX)?;
    unframe(value).ok().map(|(id, _)| id)
}
