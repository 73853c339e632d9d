//! Why no record with a schema id is decoded.

/// Why a schema id is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SchemaRefusal {
    /// The registry has no such id.
    Unknown,
    /// The registry has the id, the topic's subject does not.
    OtherSubject,
}
