//! Dead letters written with the headers of the product, of records that were never in the log.

use records::dead_letters::headers::{headers, kept};
use records::error::RecordError;
use records::flow::block::{Block, Record, RecordMetadata};
use schemas::{DecodeError, SchemaId};

use crate::kafka::Raw;
use crate::world::World;

/// A record that failed, and why.
#[derive(Debug)]
pub struct FailedRecord {
    /// Its offset in partition 0.
    pub offset: i64,
    /// Its log time, and the time of its failure, milliseconds since 1970.
    pub at_ms: i64,
    /// Its value.
    pub value: Vec<u8>,
    /// Why it failed.
    pub error: RecordError,
}

impl FailedRecord {
    /// A record of `bytes` whose datum no decoder of schema `id` takes. `kind`, below 64, decides the
    /// message and so the group.
    ///
    /// # Panics
    /// When it is shorter than a frame.
    pub fn of_kind(kind: usize, id: SchemaId, offset: i64, bytes: usize) -> Self {
        // Not hexadecimal: a pattern replaces digits.
        let names = ["ground", "kiwi", "lemon", "mango", "nutmeg", "olive", "prune", "quince"];
        let message = format!("{} of {} is none", names[kind / 8 % 8], names[kind % 8]);
        let error = RecordError::Decode(DecodeError::Avro(message));
        let mut value = Vec::new();
        schemas::frame(id, &mut value);
        assert!(bytes > value.len(), "{bytes}");
        value.resize(bytes, 0xff);
        Self { offset, at_ms: jiff::Timestamp::now().as_millisecond(), value, error }
    }

    /// Its dead letter.
    pub fn dead_letter(&self, topic: &str) -> Raw {
        let metadata = RecordMetadata {
            partition: 0,
            offset: self.offset,
            epoch: 1,
            logged_at_ms: self.at_ms,
        };
        let mut block = Block::default();
        block.push(metadata, None, Some(&self.value), std::iter::empty());
        let record = block.records().next().expect("the record");
        dead_letter(topic, record, &self.error)
    }
}

/// The dead letter of a record of `topic`, which failed at its log time.
pub fn dead_letter(topic: &str, record: Record<'_>, error: &RecordError) -> Raw {
    let own = kept(record).map(|header| (header.name.to_owned(), header.value.map(Into::into)));
    let added = headers(topic, record, error, record.logged_at_ms());
    let added = added.into_iter().map(|(name, value)| (name.to_owned(), Some(value.into())));
    Raw {
        key: record.key().map(Into::into),
        value: record.value().map(Into::into),
        headers: own.chain(added).collect(),
        ..Raw::default()
    }
}

impl World {
    /// Writes the dead letters of records to the dead-letter topic.
    pub fn write_dead_letters(&self, records: &[FailedRecord]) {
        let letters: Vec<_> =
            records.iter().map(|record| record.dead_letter(&self.topic)).collect();
        self.kafka.produce(&self.dead_letters(), &letters);
    }
}
