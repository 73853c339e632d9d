//! Why the collector rejects one record of a request.
//!
//! Pure.

use schemas::UnknownOutcome;
use thiserror::Error;
use uuid::Uuid;

use crate::collector::collector_limits::RECORD_BYTES_MAX;

/// Why a record cannot become a click.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum RecordFault {
    /// It is no JSON object with the fields of a click.
    #[error("{0}")]
    Malformed(String),
    /// It has more bytes than the limit.
    #[error("the record has {0} bytes, more than {max}", max = RECORD_BYTES_MAX)]
    RecordTooLarge(usize),
    /// Its id has another UUID version.
    #[error("event_id {0} is not a UUID v7")]
    EventId(Uuid),
    /// It has an id, but no time.
    #[error(
        "a record with an event_id must have occurred_at too: both are the key of the click, and must be the same when it is sent again"
    )]
    TimeMissing,
    /// Its time is malformed.
    #[error("occurred_at {0:?} is not a time such as 2026-11-26T12:00:00Z")]
    Time(String),
    /// Its time is before 2000, or more than a day ahead.
    #[error("occurred_at {0} is before 2000 or more than a day ahead (microseconds since 1970)")]
    OutOfBounds(i64),
    /// Its time is before the days that the collector accepts.
    #[error(
        "occurred_at {occurred_at} is more than {days} days ago (--collector-days): `producer import` accepts clicks since 2000 from access logs"
    )]
    TooOld {
        /// Microseconds since 1970.
        occurred_at: i64,
        /// Days that are accepted.
        days: u32,
    },
    /// Its outcome is not in the schema.
    #[error(transparent)]
    Outcome(#[from] UnknownOutcome),
    /// Its click is larger than the outbox accepts.
    #[error("the click is larger than the outbox accepts")]
    TooLarge,
    /// A bug of this program.
    #[error("the click cannot be encoded by the schema: {0}")]
    Encode(String),
}

impl RecordFault {
    /// Stable name: in the answer, metric label, heading in docs/collector.md.
    pub fn code(&self) -> &'static str {
        match self {
            Self::Malformed(_) => "record_malformed",
            Self::RecordTooLarge(_) => "record_too_large",
            Self::EventId(_) => "event_id_version",
            Self::TimeMissing => "occurred_at_missing",
            Self::Time(_) => "occurred_at_malformed",
            Self::OutOfBounds(_) => "occurred_at_out_of_bounds",
            Self::TooOld { .. } => "occurred_at_too_old",
            Self::Outcome(_) => "outcome_unknown",
            Self::TooLarge => "too_large",
            Self::Encode(_) => "encode",
        }
    }
}
