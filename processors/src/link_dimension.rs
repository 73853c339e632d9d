//! The dimension of links: copies the topic of links into ClickHouse, into a table of its own.
//!
//! A record may be inserted twice: readers see the newest version of a link. No failure here stops the
//! processing of clicks.

use std::collections::HashMap;

use broker::{BATCH_UNREADABLE, Brokers, ErrorClass, Registry, SchemaLookup, ServerError};
use schemas::{LinkDecoder, SchemaId, TopicName, unframe};
use tokio_util::sync::CancellationToken;

use crate::clickhouse::link_table::{LinkRow, insert_links};
use crate::clickhouse::server::Server;
use crate::kafka::link_reader::{LinkReader, LinkRecord, LinkSource};
use crate::metrics::processor::ProcessorMetrics;
use crate::run::retry::Retry;

/// The task that copies.
#[derive(Debug)]
pub struct LinkDimension {
    /// The brokers of the topic.
    pub brokers: Brokers,
    /// The topic.
    pub topic: TopicName,
    /// The group of its readers.
    pub group: String,
    /// The registry of its schemas.
    pub registry: Registry,
    /// The server of the rows.
    pub server: Server,
    /// Its metrics.
    pub metrics: ProcessorMetrics,
}

impl LinkDimension {
    /// Runs until `stop`. Failed attempts are repeated without end.
    pub async fn run(self, stop: CancellationToken) {
        let mut retry = Retry::new("links", &self.metrics);
        let mut schemas = LinkSchemas::new(self.registry.clone(), self.topic.subject());
        loop {
            let copy = async {
                let reader = LinkReader::join(&self.brokers, &self.group, self.topic.as_str())?;
                self.copy(reader, &mut retry, &mut schemas).await
            };
            let copied = stop.run_until_cancelled(copy).await;
            let Some(Err(error)) = copied else { return };
            // A fatal error of links must not stop the clicks: it is logged, and the attempt is
            // repeated.
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
        mut reader: impl LinkSource,
        retry: &mut Retry<'_>,
        schemas: &mut LinkSchemas,
    ) -> Result<(), ServerError> {
        loop {
            let read;
            (read, reader) = blocking(move || (reader.read(), reader)).await?;
            let read = read?;
            if read.is_empty() {
                // Without a record, only this check ends the failure of an earlier attempt.
                if retry.has_failed() {
                    let has_read_all;
                    (has_read_all, reader) =
                        blocking(move || (reader.has_read_all(), reader)).await?;
                    if has_read_all? {
                        retry.done();
                    }
                }
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

    /// Counts records that are not links; `cause` is that of the first.
    fn refused(&self, code: &'static str, cause: &str, records: usize) {
        if records > 0 {
            self.metrics.links_refused(code, records as u64);
            let topic = self.topic.as_str();
            tracing::error!(
                code,
                cause,
                records,
                topic,
                "the topic of links holds records that are not links"
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

/// Maximum of cached decoders; beyond it, the cache is cleared.
const DECODERS_MAX: usize = 100;

impl LinkSchemas {
    fn new(registry: Registry, subject: String) -> Self {
        Self { lookup: SchemaLookup::new(registry, subject), decoders: HashMap::new() }
    }

    /// The row of a record, or why it is not a link.
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

async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<T, ServerError> {
    let done = tokio::task::spawn_blocking(work).await;
    done.map_err(|error| ServerError::fatal("task_panicked", error))
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::flow::block::SizeLimits;
    use crate::kafka::link_reader::LinkRecords;
    use prometheus_client::registry::Registry as MetricRegistry;

    /// A topic of no more records, whose reader fails after some reads.
    struct Idle {
        reads: u32,
        has_read_all: bool,
    }

    impl LinkSource for Idle {
        fn read(&mut self) -> Result<LinkRecords, ServerError> {
            self.reads = self.reads.checked_sub(1).ok_or_else(unreachable)?;
            Ok(LinkRecords::default())
        }

        fn has_read_all(&self) -> Result<bool, ServerError> {
            Ok(self.has_read_all)
        }

        fn commit(&self) -> Result<(), ServerError> {
            Ok(())
        }
    }

    fn unreachable() -> ServerError {
        ServerError::retryable("kafka_unreachable", "")
    }

    #[tokio::test(start_paused = true)]
    async fn a_failure_of_links_ends_when_no_record_is_left_to_read() {
        let limits = SizeLimits { rows_max: 1, bytes_max: 1 };
        let metrics = ProcessorMetrics::register(&mut MetricRegistry::default(), limits);
        metrics.attempts.set_stuck_after(Duration::ZERO);
        let registry = Registry::new("http://127.0.0.1:1").unwrap();
        let text = String::new;
        let links = LinkDimension {
            brokers: Brokers { servers: text(), properties: Vec::new() },
            topic: "links.v1".parse().unwrap(),
            group: text(),
            registry: registry.clone(),
            server: Server { url: text(), user: text(), password: text(), database: text() },
            metrics: metrics.clone(),
        };
        let mut schemas = LinkSchemas::new(registry, links.topic.subject());
        let mut retry = Retry::new("links", &metrics);
        for (has_read_all, problems) in [(false, 1), (true, 0)] {
            retry.after(unreachable()).await.unwrap();
            let idle = Idle { reads: 3, has_read_all };
            assert!(links.copy(idle, &mut retry, &mut schemas).await.is_err());
            assert_eq!(metrics.attempts.problems().len(), problems);
            assert_eq!(retry.has_failed(), !has_read_all);
        }
    }
}
