//! Decodes records of the log into clicks, by the schemas of the registry.

use broker::{Registry, SchemaAnswer, SchemaLookup, ServerError};
use records::dead_letters::origin::{first_logged_at_ms, origin_of};
use records::decode::cached_schema::CachedSchema;
use records::decode::decode;
use records::error::RecordError;
use records::flow::stub::VALUE_BYTES_MAX;
use std::collections::{BTreeSet, HashMap};

use schemas::{RawClick, SchemaId, unframe};
use tokio::runtime::Handle;
use tokio_util::sync::CancellationToken;

use crate::audit::entry::LogPosition;
use crate::kafka::log_reader::{LogItem, LogReader, LogRecord};

/// Decodes clicks by the schemas of the topic's subject; it fetches each schema once. A processor waits
/// for an id that the subject does not have yet, because it would otherwise dead-letter the records; the
/// audit writes nothing and does not wait.
pub(crate) struct ClickDecoder {
    runtime: Handle,
    lookup: SchemaLookup,
    known: HashMap<SchemaId, CachedSchema>,
}

impl ClickDecoder {
    /// A decoder that has no schemas yet. It calls the registry on `runtime`, from a thread that may
    /// block.
    pub(crate) fn new(registry: Registry, subject: String, runtime: Handle) -> Self {
        Self { runtime, lookup: SchemaLookup::new(registry, subject), known: HashMap::new() }
    }

    /// The click of a record; `None` if the record cannot become a click. Only a full decoding, as in a
    /// processor, decides that.
    ///
    /// # Errors
    /// Retryable: the registry does not answer.
    pub(crate) fn click<'r>(
        &mut self,
        record: LogRecord<'r>,
    ) -> Result<Option<RawClick<'r>>, ServerError> {
        Ok(self.decoded(record)?.ok())
    }

    /// As [`ClickDecoder::click`], with why the record cannot become a click.
    ///
    /// # Errors
    /// Likewise.
    pub(crate) fn decoded<'r>(
        &mut self,
        record: LogRecord<'r>,
    ) -> Result<Result<RawClick<'r>, RecordError>, ServerError> {
        let Some(value) = record.value() else { return Ok(Err(RecordError::EmptyValue)) };
        if value.len() > VALUE_BYTES_MAX {
            return Ok(Err(RecordError::TooLarge(value.len())));
        }
        let (id, datum) = match unframe(value) {
            Ok(framed) => framed,
            Err(error) => return Ok(Err(error.into())),
        };
        if !self.known.contains_key(&id) {
            let ids = BTreeSet::from([id]);
            let answer = self.runtime.block_on(self.lookup.answers(&ids))?.remove(&id);
            let schema = match answer {
                Some(SchemaAnswer::Schema(text)) => CachedSchema::parsed(&text),
                Some(SchemaAnswer::Failed(error)) => return Err(error),
                Some(SchemaAnswer::Refused(refusal)) => {
                    return Ok(Err(CachedSchema::refusal(refusal, id)));
                }
                Some(SchemaAnswer::Open) | None => {
                    return Ok(Err(RecordError::SchemaUnknown(id)));
                }
            };
            self.known.insert(id, schema);
        }
        let open = CachedSchema::Open;
        let decoder = match self.known.get(&id).unwrap_or(&open).decoder(id) {
            Ok(decoder) => decoder,
            Err(error) => return Ok(Err(error)),
        };
        Ok(decode(decoder, datum, judged_by_ms(record)))
    }
}

/// The log time by which a processor judges a record.
fn judged_by_ms(record: LogRecord<'_>) -> i64 {
    let origin = origin_of(record.origin_headers()).map(|(origin, _)| origin);
    first_logged_at_ms(origin.as_ref(), record.logged_at_ms())
}

/// Calls `take` with each record and each batch that cannot be read. Returns `false` if `stop` was
/// cancelled before the end. Blocks.
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

/// Runs `work` on a thread that may block.
pub(crate) async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, ServerError> + Send + 'static,
) -> Result<T, ServerError> {
    let done = tokio::task::spawn_blocking(work).await;
    done.map_err(|panicked| ServerError::fatal("task_panicked", panicked))?
}
