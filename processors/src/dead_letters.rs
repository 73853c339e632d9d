//! What a dead letter carries besides the record.
pub mod headers;
