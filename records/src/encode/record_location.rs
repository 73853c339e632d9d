//! Topic, partition, offset and log time of the record that a row is made from.

use schemas::EventId;

/// The location of a record in the log.
#[derive(Debug, Clone, Copy)]
pub struct RecordLocation<'a> {
    /// Topic.
    pub topic: &'a str,
    /// Partition.
    pub partition: i32,
    /// Offset.
    pub offset: i64,
    /// When the broker appended it, milliseconds since 1970.
    pub logged_at_ms: i64,
    /// Trace that the record's headers name; zeros if they name none.
    pub trace_id: [u8; 16],
}

impl RecordLocation<'_> {
    /// The partition as the table stores it.
    pub(super) fn unsigned_partition(&self) -> u32 {
        debug_assert!(self.partition >= 0, "a broker numbers partitions from 0");
        self.partition.cast_unsigned()
    }

    /// The trace as the table stores it: zeros if its id is the event id, so that the column compresses to nothing.
    /// The view shows the event id there.
    pub(super) fn other_trace_id(&self, event_id: EventId) -> [u8; 16] {
        if self.trace_id == event_id.into_bytes() { [0; 16] } else { self.trace_id }
    }

    /// The offset as the table stores it.
    pub(super) fn unsigned_offset(&self) -> u64 {
        debug_assert!(self.offset >= 0, "a broker numbers records from 0");
        self.offset.cast_unsigned()
    }
}
