//! The copy of the dead-letter topic: stores each dead letter in ClickHouse, in tables of its own.
//!
//! A dead letter may be stored twice: of equal keys, readers see the earliest failure.

use broker::{BATCH_UNREADABLE, ServerError};
use records::dead_letters::letter::Letter;
use records::flow::topic_record::TopicRecord;

use crate::clickhouse::dead_letter_table::{LetterRow, insert_letters};
use crate::clickhouse::server::Server;
use crate::kafka::topic_reader::{KeptRecord, TopicRecords};
use crate::metrics::processor::ProcessorMetrics;
use crate::run::topic_copy::RecordStore;

/// The rows of dead letters.
#[derive(Debug)]
pub struct DeadLetterCopy {
    /// The server of the rows.
    pub server: Server,
    /// Counts what cannot be copied.
    pub metrics: ProcessorMetrics,
}

impl KeptRecord for LetterRow {
    fn keep(record: TopicRecord<'_>) -> Option<Self> {
        Some(Self::new(&Letter::parse(record)))
    }

    fn bytes(&self) -> usize {
        self.memory_bytes()
    }
}

impl RecordStore<LetterRow> for DeadLetterCopy {
    async fn store(&mut self, read: &TopicRecords<LetterRow>) -> Result<(), ServerError> {
        if read.unreadable > 0 {
            self.metrics.dead_letters_refused(BATCH_UNREADABLE, read.unreadable as u64);
        }
        insert_letters(&self.server, &read.records).await
    }
}
