//! Errors of records: why one cannot become a row. Each cause has a code that never changes.
//!
//! The code is metric label, log field, dead-letter header and RUNBOOK heading.

use schemas::bounds::OutOfBounds;
use schemas::{BATCH_UNREADABLE, ContractError, DecodeError, ErrorClass, FrameError, SchemaId};
use thiserror::Error;

use crate::flow::record_sign::{RecordSign, SourceHash};

/// Why one record can never become a row.
#[derive(Debug, Error)]
pub enum RecordError {
    /// A tombstone, which the log of clicks does not use.
    #[error("the record has no value")]
    EmptyValue,
    /// The value is larger than any click.
    #[error("the value has {0} bytes, more than the 1048576 that a click may have")]
    TooLarge(usize),
    /// The library cannot read the batch that holds it.
    #[error(
        "the batch up to offset {last_offset} cannot be read: it decompresses to more than 16 MiB, or its bytes are damaged"
    )]
    BatchUnreadable {
        /// Offset of its last record.
        last_offset: i64,
    },
    /// The value is not in the registry's wire format.
    #[error(transparent)]
    Frame(#[from] FrameError),
    /// The registry has no schema with the id, even after a wait.
    #[error("the registry has no schema with id {0}")]
    SchemaUnknown(SchemaId),
    /// The id is not one of the topic's subject.
    #[error("schema {0} is not registered under the subject of the topic")]
    SchemaOfOtherSubject(SchemaId),
    /// The schema with the id is not one of clicks.
    #[error("schema {0} is not the schema of a click: {1}")]
    SchemaUnusable(SchemaId, String),
    /// The datum does not decode.
    #[error(transparent)]
    Decode(#[from] DecodeError),
    /// The click occurred more than a day after its log time, or before 2000.
    #[error(
        "occurred_at {occurred_at_us} of source {click_source:?} is out of bounds for a record logged at {logged_at_ms} ms: it must be in 2000 or later, and at most a day after the log time"
    )]
    OccurredAtOutOfBounds {
        /// Time of the click, microseconds since 1970.
        occurred_at_us: i64,
        /// Log time of the record, milliseconds since 1970.
        logged_at_ms: i64,
        /// The bound that it exceeds.
        bound: OutOfBounds,
        /// The host or log that the click is from.
        click_source: Box<str>,
    },
}

impl RecordError {
    /// Always [`ErrorClass::Record`]: an outage is not an error of a record.
    pub fn class(&self) -> ErrorClass {
        ErrorClass::Record
    }

    /// Stable, low-cardinality name.
    pub fn code(&self) -> &'static str {
        match self {
            Self::EmptyValue => "empty_value",
            Self::TooLarge(_) => "record_too_large",
            Self::BatchUnreadable { .. } => BATCH_UNREADABLE,
            Self::Frame(FrameError::TooShort(_)) => "frame_too_short",
            Self::Frame(FrameError::BadMagic(_)) => "bad_magic",
            Self::SchemaUnknown(_) => "schema_unknown",
            Self::SchemaOfOtherSubject(_) => "schema_of_other_subject",
            Self::SchemaUnusable(..) => "schema_unusable",
            Self::Decode(DecodeError::Avro(_)) => "avro_mismatch",
            Self::Decode(DecodeError::TrailingBytes(_)) => "trailing_bytes",
            Self::Decode(DecodeError::Contract(ContractError::NilEventId)) => "event_id_nil",
            Self::Decode(DecodeError::Contract(ContractError::ClientIpLength(_))) => {
                "client_ip_length"
            }
            Self::Decode(DecodeError::DatumTooLong(_)) => "contract_datum_length",
            Self::Decode(DecodeError::Contract(ContractError::TextTooLong { .. })) => {
                "contract_text_length"
            }
            Self::OccurredAtOutOfBounds { .. } => "occurred_at_out_of_bounds",
        }
    }

    /// Bytes of memory.
    pub fn memory_bytes(&self) -> usize {
        let text = match self {
            Self::SchemaUnusable(_, why) => why.len(),
            Self::Decode(DecodeError::Avro(why)) => why.len(),
            Self::OccurredAtOutOfBounds { click_source, .. } => click_source.len(),
            Self::EmptyValue
            | Self::TooLarge(_)
            | Self::BatchUnreadable { .. }
            | Self::Frame(_)
            | Self::SchemaUnknown(_)
            | Self::SchemaOfOtherSubject(_)
            | Self::Decode(_) => 0,
        };
        size_of::<Self>() + text
    }

    /// What the error indicates: wrong content of one record, or a wrong schema, registry or clock.
    pub fn sign(&self) -> RecordSign {
        match self {
            Self::EmptyValue
            | Self::Frame(_)
            | Self::SchemaUnknown(_)
            | Self::SchemaOfOtherSubject(_)
            | Self::SchemaUnusable(..)
            | Self::Decode(DecodeError::Avro(_) | DecodeError::TrailingBytes(_)) => {
                RecordSign::Schema
            }
            Self::TooLarge(_)
            | Self::BatchUnreadable { .. }
            | Self::Decode(DecodeError::DatumTooLong(_) | DecodeError::Contract(_)) => {
                RecordSign::Content
            }
            Self::OccurredAtOutOfBounds { bound: OutOfBounds::TooOld, .. } => RecordSign::Content,
            Self::OccurredAtOutOfBounds {
                bound: OutOfBounds::TooFarAhead,
                occurred_at_us,
                click_source,
                ..
            } => RecordSign::Clock {
                source: SourceHash::of(click_source),
                occurred_at_us: *occurred_at_us,
            },
        }
    }

    /// The source of the click, if the record could be decoded.
    pub fn click_source(&self) -> Option<SourceHash> {
        match self {
            Self::OccurredAtOutOfBounds { click_source, .. } => Some(SourceHash::of(click_source)),
            Self::EmptyValue
            | Self::TooLarge(_)
            | Self::BatchUnreadable { .. }
            | Self::Frame(_)
            | Self::SchemaUnknown(_)
            | Self::SchemaOfOtherSubject(_)
            | Self::SchemaUnusable(..)
            | Self::Decode(_) => None,
        }
    }
}
