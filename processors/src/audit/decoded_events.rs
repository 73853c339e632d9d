//! From records of the log to events, by the schemas that the registry knows.

use broker::{Registry, ServerError};
use std::collections::HashMap;

use schemas::{RawClick, SchemaId, unframe};
use tokio::runtime::Handle;
use tokio_util::sync::CancellationToken;

use crate::audit::entry::Place;
use crate::decode::decode;
use crate::decode::schema_cache::Known;
use crate::kafka::log_reader::{LogReader, LogRecord};

/// Ids that are remembered at once. A log has a few; one of garbage has any number.
const KNOWN_MAX: usize = 10_000;

/// Schemas by id, each asked for once: unlike a processor, whoever audits gives nothing up for a
/// registry's first answer, so it need not doubt it.
pub(crate) struct Schemas {
    registry: Registry,
    runtime: Handle,
    known: HashMap<SchemaId, Known>,
}

impl Schemas {
    /// None yet. `runtime` asks the registry; the caller is a thread that may block.
    pub(crate) fn new(registry: Registry, runtime: Handle) -> Self {
        Self { registry, runtime, known: HashMap::new() }
    }

    /// The click of a record, or `None` when it can never be one: it is decoded in full, as a
    /// processor does, for only that tells.
    ///
    /// # Errors
    /// Retryable: the registry is away.
    pub(crate) fn click<'r>(
        &mut self,
        record: LogRecord<'r>,
    ) -> Result<Option<RawClick<'r>>, ServerError> {
        let Some(Ok((id, datum))) = record.value().map(unframe) else { return Ok(None) };
        if !self.known.contains_key(&id) {
            if self.known.len() >= KNOWN_MAX {
                self.known.clear();
            }
            let known = self.runtime.block_on(Known::ask(&self.registry, id))?;
            self.known.insert(id, known);
        }
        let decoder = self.known.get(&id).and_then(|known| known.decoder(id).ok());
        Ok(decoder.and_then(|decoder| decode(decoder, datum, record.logged_at_ms()).ok()))
    }
}

/// Hands every record to `take`; `false` when told to stop before the end. Blocks.
///
/// # Errors
/// The broker is away, or that of `take`.
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

/// Where a record stands.
pub(crate) fn place(record: LogRecord<'_>) -> Place {
    Place { partition: record.partition(), offset: record.offset() }
}

/// Does what blocks, where that is allowed.
pub(crate) async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, ServerError> + Send + 'static,
) -> Result<T, ServerError> {
    let done = tokio::task::spawn_blocking(work).await;
    done.map_err(|panicked| ServerError::fatal("task_panicked", panicked))?
}
