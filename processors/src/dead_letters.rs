//! What a dead letter holds besides the record.
pub mod headers;
