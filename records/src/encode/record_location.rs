//! Topic, partition, offset and log time of the record that a row is made from.

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
    /// Trace of the request if it was sampled; otherwise zeros.
    pub trace_id: [u8; 16],
}

impl RecordLocation<'_> {
    /// The partition as the table stores it.
    pub(super) fn unsigned_partition(&self) -> u32 {
        debug_assert!(self.partition >= 0, "a broker numbers partitions from 0");
        self.partition.cast_unsigned()
    }

    /// The offset as the table stores it.
    pub(super) fn unsigned_offset(&self) -> u64 {
        debug_assert!(self.offset >= 0, "a broker numbers records from 0");
        self.offset.cast_unsigned()
    }
}
