//! The dimension of links: stores the records of the topic of links in ClickHouse, in a table of its own.
//!
//! A record may be inserted twice: readers see the newest version of a link.

use std::collections::HashMap;

use broker::{BATCH_UNREADABLE, Registry, SchemaLookup, ServerError};
use records::flow::topic_record::TopicRecord;
use schemas::{LINK_BYTES_MAX, LinkDecoder, SchemaId, TopicName, unframe};

use crate::clickhouse::link_table::{LinkRow, insert_links};
use crate::clickhouse::server::Server;
use crate::kafka::topic_reader::{KeptRecord, TopicRecords};
use crate::metrics::processor::ProcessorMetrics;
use crate::run::topic_copy::RecordStore;

/// The rows of links.
#[derive(Debug)]
pub struct LinkDimension {
    topic: TopicName,
    server: Server,
    metrics: ProcessorMetrics,
    schemas: LinkSchemas,
}

/// A record of the topic of links.
#[derive(Debug, PartialEq, Eq)]
pub struct LinkRecord {
    key: Vec<u8>,
    /// `None` is a tombstone.
    value: Option<Vec<u8>>,
}

impl KeptRecord for LinkRecord {
    fn keep(record: TopicRecord<'_>) -> Option<Self> {
        let key = record.key.unwrap_or_default();
        let bytes = key.len() + record.value.map_or(0, <[u8]>::len);
        let is_small = bytes <= LINK_BYTES_MAX;
        is_small.then(|| Self { key: key.to_vec(), value: record.value.map(<[u8]>::to_vec) })
    }

    fn bytes(&self) -> usize {
        self.key.len() + self.value.as_ref().map_or(0, Vec::len)
    }
}

impl RecordStore<LinkRecord> for LinkDimension {
    async fn store(&mut self, read: &TopicRecords<LinkRecord>) -> Result<(), ServerError> {
        self.refused("link_too_large", "it is larger than a link", read.too_large);
        self.refused(BATCH_UNREADABLE, "its batch cannot be read", read.unreadable);
        let (mut rows, mut bad) = (Vec::with_capacity(read.records.len()), Vec::new());
        for record in &read.records {
            match self.schemas.row(record).await? {
                Ok(row) => rows.push(row),
                Err(cause) => bad.push(cause),
            }
        }
        self.refused("link_record", bad.first().map_or("", String::as_str), bad.len());
        insert_links(&self.server, &rows).await
    }
}

impl LinkDimension {
    /// The links of `topic`, by the schemas of `registry`, in the table of `server`.
    pub fn new(
        topic: TopicName,
        registry: Registry,
        server: Server,
        metrics: ProcessorMetrics,
    ) -> Self {
        let schemas = LinkSchemas::new(registry, topic.subject());
        Self { topic, server, metrics, schemas }
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
#[derive(Debug)]
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn m2_a_record_larger_than_a_link_is_not_kept() {
        let bytes = vec![1; LINK_BYTES_MAX];
        for (key, value, is_kept) in [
            (Some(&bytes[8..]), Some(&bytes[..8]), true),
            (Some(&bytes[7..]), Some(&bytes[..8]), false),
            (None, Some(&bytes[..]), true),
            (Some(&bytes[..]), None, true),
            (None, None, true),
        ] {
            let record = TopicRecord {
                topic: "links.v1",
                partition: 0,
                offset: 0,
                logged_at_ms: 0,
                key,
                value,
                headers: Vec::new(),
            };
            let kept = LinkRecord::keep(record);
            assert_eq!(kept.is_some(), is_kept);
            let bytes = key.unwrap_or_default().len() + value.unwrap_or_default().len();
            assert!(kept.is_none_or(|kept| kept.bytes() == bytes));
        }
    }
}
