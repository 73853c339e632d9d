//! The dimension of links: copies the topic of links into ClickHouse, beside the clicks.
//!
//! A record may be inserted twice: readers see the newest version of a link. No failure here stops
//! the clicks.

use std::collections::HashMap;
use std::collections::hash_map::Entry;

use broker::{Brokers, ErrorClass, Registry, ServerError};
use schemas::{LinkDecoder, SchemaId, unframe};
use tokio_util::sync::CancellationToken;

use crate::clickhouse::link_table::{LinkRow, insert_links};
use crate::clickhouse::server::Server;
use crate::kafka::link_reader::LinkReader;
use crate::metrics::processor::ProcessorMetrics;
use crate::run::retry::Retry;

/// The task that copies.
#[derive(Debug)]
pub struct LinkDimension {
    /// Where the topic is.
    pub brokers: Brokers,
    /// The topic.
    pub topic: String,
    /// Its readers.
    pub group: String,
    /// Schemas of its records.
    pub registry: Registry,
    /// Where rows go.
    pub server: Server,
    /// Its metrics.
    pub metrics: ProcessorMetrics,
}

impl LinkDimension {
    /// Runs until `stop`. What fails is repeated without end.
    pub async fn run(self, stop: CancellationToken) {
        let mut retry = Retry::new("links", &self.metrics);
        while let Some(Err(error)) = stop.run_until_cancelled(self.copy()).await {
            // A fatal error of links is none of clicks: it is logged, and the attempt repeated.
            let error = ServerError { class: ErrorClass::Retryable, ..error };
            if stop.run_until_cancelled(retry.after(error)).await.is_none() {
                return;
            }
        }
    }

    /// Reads and inserts until something fails.
    async fn copy(&self) -> Result<(), ServerError> {
        let mut reader = LinkReader::join(&self.brokers, &self.group, &self.topic)?;
        let mut decoders = HashMap::new();
        loop {
            let read;
            (read, reader) = blocking(move || (reader.read(), reader)).await?;
            let values = read?;
            if values.is_empty() {
                continue;
            }
            let mut rows = Vec::with_capacity(values.len());
            for value in &values {
                rows.extend(self.row(value, &mut decoders).await?);
            }
            insert_links(&self.server, &rows).await?;
            let committed;
            (committed, reader) = blocking(move || (reader.commit(), reader)).await?;
            committed?;
        }
    }

    /// `None`, and counted, where the record is no link.
    async fn row(
        &self,
        value: &[u8],
        decoders: &mut HashMap<SchemaId, Option<LinkDecoder>>,
    ) -> Result<Option<LinkRow>, ServerError> {
        let Ok((id, datum)) = unframe(value) else {
            return Ok(self.refused("the record is not framed"));
        };
        let decoder = match decoders.entry(id) {
            Entry::Occupied(known) => known.into_mut(),
            Entry::Vacant(free) => {
                let schema = self.registry.schema(id).await?.ok_or_else(|| {
                    let text = format!("the registry has no schema with id {id} of {}", self.topic);
                    ServerError::retryable("schema_unknown", text)
                })?;
                free.insert(LinkDecoder::new(&schema).ok())
            }
        };
        let Some(decoder) = decoder else {
            return Ok(self.refused("its schema does not parse"));
        };
        match decoder.decode(datum) {
            Ok(link) => match link.check() {
                Ok(()) => Ok(Some(LinkRow::new(&link))),
                Err(error) => Ok(self.refused(&error.to_string())),
            },
            Err(error) => Ok(self.refused(&error.to_string())),
        }
    }

    fn refused(&self, cause: &str) -> Option<LinkRow> {
        let code = "link_record";
        self.metrics.retry("links", code);
        tracing::error!(
            code,
            cause,
            topic = self.topic,
            "a record of the topic of links is no link"
        );
        None
    }
}

async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<T, ServerError> {
    let done = tokio::task::spawn_blocking(work).await;
    done.map_err(|error| ServerError::fatal("task_panicked", error))
}
