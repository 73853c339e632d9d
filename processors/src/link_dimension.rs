//! The dimension of links: copies the topic of links into ClickHouse, beside the clicks.
//!
//! A record may be inserted twice: readers see the newest version of a link. No failure here stops
//! the clicks.

use std::collections::HashMap;

use broker::{BATCH_UNREADABLE, Brokers, ErrorClass, Registry, SchemaLookup, ServerError};
use schemas::{LinkDecoder, SchemaId, TopicName, unframe};
use tokio_util::sync::CancellationToken;

use crate::clickhouse::link_table::{LinkRow, insert_links};
use crate::clickhouse::server::Server;
use crate::kafka::link_reader::{LinkReader, LinkRecord, LinkRecords};
use crate::metrics::processor::ProcessorMetrics;
use crate::run::retry::Retry;

/// The task that copies.
#[derive(Debug)]
pub struct LinkDimension {
    /// Where the topic is.
    pub brokers: Brokers,
    /// The topic.
    pub topic: TopicName,
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
        let mut schemas = LinkSchemas::new(self.registry.clone(), self.topic.subject());
        loop {
            let copied = stop.run_until_cancelled(self.copy(&mut retry, &mut schemas)).await;
            let Some(Err(error)) = copied else { return };
            // A fatal error of links is none of clicks: it is logged, and the attempt repeated.
            let error = ServerError { class: ErrorClass::Retryable, ..error };
            retry.name(|| self.topic.to_string());
            if stop.run_until_cancelled(retry.after(error)).await.is_none() {
                return;
            }
        }
    }

    /// Reads and inserts until something fails.
    async fn copy(
        &self,
        retry: &mut Retry<'_>,
        schemas: &mut LinkSchemas,
    ) -> Result<(), ServerError> {
        let mut reader = LinkReader::join(&self.brokers, &self.group, self.topic.as_str())?;
        loop {
            let read;
            (read, reader) = blocking(move || read_from(reader)).await?;
            let read = read?;
            if read.is_empty() {
                continue;
            }
            self.refused("link_too_large", "it is larger than a link", read.too_large);
            self.refused(BATCH_UNREADABLE, "its batch cannot be read", read.unreadable);
            let (mut rows, mut bad) = (Vec::with_capacity(read.records.len()), Vec::new());
            for record in &read.records {
                match schemas.row(record).await? {
                    Ok(row) => rows.push(row),
                    Err(cause) => bad.push(cause),
                }
            }
            self.refused("link_record", bad.first().map_or("", String::as_str), bad.len());
            insert_links(&self.server, &rows).await?;
            let committed;
            (committed, reader) = blocking(move || (reader.commit(), reader)).await?;
            committed?;
            retry.done();
        }
    }

    /// Counts records that are no links; `cause` is that of the first.
    fn refused(&self, code: &'static str, cause: &str, records: usize) {
        if records > 0 {
            self.metrics.links_refused(code, records as u64);
            let topic = self.topic.as_str();
            tracing::error!(
                code,
                cause,
                records,
                topic,
                "the topic holds records that are no links"
            );
        }
    }
}

/// The schemas of links, by id.
struct LinkSchemas {
    lookup: SchemaLookup,
    /// `None` where the schema does not parse.
    decoders: HashMap<SchemaId, Option<LinkDecoder>>,
}

/// Decoders that are kept at once; beyond that, all are made again.
const DECODERS_MAX: usize = 100;

impl LinkSchemas {
    fn new(registry: Registry, subject: String) -> Self {
        Self { lookup: SchemaLookup::new(registry, subject), decoders: HashMap::new() }
    }

    /// The row of a record, or why it is no link.
    ///
    /// # Errors
    /// Retryable: the registry does not answer.
    async fn row(&mut self, record: &LinkRecord) -> Result<Result<LinkRow, String>, ServerError> {
        let Some(value) = &record.value else {
            return Ok(Err("it has no value".to_owned()));
        };
        let Ok((id, datum)) = unframe(value) else {
            return Ok(Err("it is not framed".to_owned()));
        };
        if !self.decoders.contains_key(&id) {
            let Some(schema) = self.lookup.schema(id).await? else {
                return Ok(Err(format!("the topic's subject has no schema {id}")));
            };
            if self.decoders.len() >= DECODERS_MAX {
                self.decoders.clear();
            }
            self.decoders.insert(id, LinkDecoder::new(&schema).ok());
        }
        let Some(decoder) = self.decoders.get(&id).and_then(Option::as_ref) else {
            return Ok(Err(format!("schema {id} does not parse")));
        };
        Ok(match decoder.decode(datum) {
            Ok(link) if link.id.as_bytes() == record.key => {
                link.check().map(|()| LinkRow::new(&link)).map_err(|error| error.to_string())
            }
            Ok(_) => Err("its key is not the link's id".to_owned()),
            Err(error) => Err(error.to_string()),
        })
    }
}

fn read_from(mut reader: LinkReader) -> (Result<LinkRecords, ServerError>, LinkReader) {
    (reader.read(), reader)
}

async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<T, ServerError> {
    let done = tokio::task::spawn_blocking(work).await;
    done.map_err(|error| ServerError::fatal("task_panicked", error))
}
