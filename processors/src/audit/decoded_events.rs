//! Decodes records of the log into clicks, by the schemas of the registry.

use broker::{Registry, ServerError};
use std::collections::HashMap;
use std::time::Duration;

use schemas::{RawClick, SchemaId, unframe};
use tokio::runtime::Handle;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::audit::entry::LogPosition;
use crate::decode::decode;
use crate::decode::schema_cache::CachedSchema;
use crate::decode::schema_refusal::SchemaRefusal;
use crate::decode::subject_ids::SubjectIds;
use crate::flow::stub::VALUE_BYTES_MAX;
use crate::kafka::log_reader::{LogItem, LogReader, LogRecord};

/// Time between two requests for the ids of the subject, while records have others.
const REFRESH_EVERY: Duration = Duration::from_secs(1);

/// Decodes clicks by the schemas of the topic's subject, which it fetches once each. A processor doubts
/// the first answer of a registry, because it would make dead letters of it; the audit writes nothing,
/// so that it does not doubt.
pub(crate) struct ClickDecoder {
    registry: Registry,
    runtime: Handle,
    subject: SubjectIds,
    refreshed_at: Option<Instant>,
    known: HashMap<SchemaId, CachedSchema>,
}

impl ClickDecoder {
    /// A decoder without schemas. `runtime` calls the registry; the caller is a thread that may block.
    pub(crate) fn new(registry: Registry, subject: String, runtime: Handle) -> Self {
        let subject = SubjectIds::new(subject);
        Self { registry, runtime, subject, refreshed_at: None, known: HashMap::new() }
    }

    /// The click of a record, or `None` when it can never be one. It is decoded in full, as a
    /// processor does, because only that decides.
    ///
    /// # Errors
    /// Retryable: the registry does not answer.
    pub(crate) fn click<'r>(
        &mut self,
        record: LogRecord<'r>,
    ) -> Result<Option<RawClick<'r>>, ServerError> {
        let value = record.value().filter(|value| value.len() <= VALUE_BYTES_MAX);
        let Some(Ok((id, datum))) = value.map(unframe) else { return Ok(None) };
        if !self.known.contains_key(&id) && self.is_own(id)? {
            let text = self.runtime.block_on(self.registry.schema(id))?;
            let unknown = CachedSchema::Refused(SchemaRefusal::Unknown);
            self.known.insert(id, text.map_or(unknown, |text| CachedSchema::parsed(&text)));
        }
        let decoder = self.known.get(&id).and_then(|known| known.decoder(id).ok());
        Ok(decoder.and_then(|decoder| decode(decoder, datum, record.logged_at_ms()).ok()))
    }

    /// Whether the id is one of the subject's, by what the registry said within the last second.
    fn is_own(&mut self, id: SchemaId) -> Result<bool, ServerError> {
        let is_fresh = self.refreshed_at.is_some_and(|at| at.elapsed() < REFRESH_EVERY);
        if !self.subject.contains(id) && !is_fresh {
            self.runtime.block_on(self.subject.refresh(&self.registry))?;
            self.refreshed_at = Some(Instant::now());
        }
        Ok(self.subject.contains(id))
    }
}

/// Calls `take` with every record and every batch that cannot be read; `false` when `stop` was cancelled before the end. Blocks.
///
/// # Errors
/// The broker does not answer, or the error of `take`.
pub(crate) fn read(
    mut log: LogReader,
    stop: &CancellationToken,
    mut take: impl FnMut(LogItem<'_>) -> Result<(), ServerError>,
) -> Result<bool, ServerError> {
    while !stop.is_cancelled() {
        let mut taken = Ok(());
        let more = log.next(&mut |item| {
            if taken.is_ok() {
                taken = take(item);
            }
        })?;
        taken?;
        if !more {
            return Ok(true);
        }
    }
    Ok(false)
}

/// The position of a record.
pub(crate) fn position(record: LogRecord<'_>) -> LogPosition {
    LogPosition { partition: record.partition(), offset: record.offset() }
}

/// Runs blocking work on a thread that may block.
pub(crate) async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, ServerError> + Send + 'static,
) -> Result<T, ServerError> {
    let done = tokio::task::spawn_blocking(work).await;
    done.map_err(|panicked| ServerError::fatal("task_panicked", panicked))?
}
