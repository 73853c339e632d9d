//! Decodes records of the log into clicks, by the schemas of the registry.

use broker::{Registry, ServerError};
use std::collections::HashMap;

use schemas::{RawClick, SchemaId, unframe};
use tokio::runtime::Handle;
use tokio_util::sync::CancellationToken;

use crate::audit::entry::LogPosition;
use crate::decode::decode;
use crate::decode::schema_cache::CachedSchema;
use crate::kafka::log_reader::{LogReader, LogRecord};

/// Ids that are cached at once. A log has a few; a log of random bytes has any number.
const KNOWN_MAX: usize = 10_000;

/// Decodes clicks by schemas that it fetches once each. A processor doubts the first answer of a registry,
/// because it would make dead letters of it; the audit writes nothing, so that it does not doubt.
pub(crate) struct ClickDecoder {
    registry: Registry,
    runtime: Handle,
    known: HashMap<SchemaId, CachedSchema>,
}

impl ClickDecoder {
    /// A decoder without schemas. `runtime` calls the registry; the caller is a thread that may block.
    pub(crate) fn new(registry: Registry, runtime: Handle) -> Self {
        Self { registry, runtime, known: HashMap::new() }
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
        let Some(Ok((id, datum))) = record.value().map(unframe) else { return Ok(None) };
        if !self.known.contains_key(&id) {
            if self.known.len() >= KNOWN_MAX {
                self.known.clear();
            }
            let known = self.runtime.block_on(CachedSchema::fetch(&self.registry, id))?;
            self.known.insert(id, known);
        }
        let decoder = self.known.get(&id).and_then(|known| known.decoder(id).ok());
        Ok(decoder.and_then(|decoder| decode(decoder, datum, record.logged_at_ms()).ok()))
    }
}

/// Calls `take` with every record; `false` when `stop` was cancelled before the end. Blocks.
///
/// # Errors
/// The broker does not answer, or the error of `take`.
pub(crate) fn read(
    mut log: LogReader,
    stop: &CancellationToken,
    mut take: impl FnMut(LogRecord<'_>) -> Result<(), ServerError>,
) -> Result<bool, ServerError> {
    while !stop.is_cancelled() {
        let mut taken = Ok(());
        let more = log.next(&mut |record| taken = take(record))?;
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
