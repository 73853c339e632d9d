//! Why no record is decoded by a schema id.

use schemas::SchemaId;

use crate::error::RecordError;

/// Why.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SchemaRefusal {
    /// The registry has no such id.
    Unknown,
    /// The registry has the id, the topic's subject does not.
    OtherSubject,
}

impl SchemaRefusal {
    /// The error of a record with this id.
    pub(crate) fn error(self, id: SchemaId) -> RecordError {
        match self {
            Self::Unknown => RecordError::SchemaUnknown(id),
            Self::OtherSubject => RecordError::SchemaOfOtherSubject(id),
        }
    }
}
