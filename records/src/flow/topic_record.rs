//! A record of a topic, with all its parts, as a reader lends it. Pure.

use crate::flow::block::Header;

/// A record.
#[derive(Debug, Clone)]
pub struct TopicRecord<'a> {
    /// Topic.
    pub topic: &'a str,
    /// Partition.
    pub partition: i32,
    /// Offset.
    pub offset: i64,
    /// When the broker appended it, milliseconds since 1970.
    pub logged_at_ms: i64,
    /// Key.
    pub key: Option<&'a [u8]>,
    /// Value; `None` is a tombstone.
    pub value: Option<&'a [u8]>,
    /// Headers, in order.
    pub headers: Vec<Header<'a>>,
}
