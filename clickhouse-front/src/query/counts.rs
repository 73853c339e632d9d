//! How much a statement read, wrote and returned. Pure.

/// How much a statement read, wrote and returned.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct QueryCounts {
    /// Rows of the result.
    pub(crate) rows: u64,
    /// Bytes of the result, not compressed.
    pub(crate) bytes: u64,
    /// Rows read from tables.
    pub(crate) rows_read: u64,
    /// Bytes read from tables, not compressed.
    pub(crate) bytes_read: u64,
    /// Rows written, those of materialized views included.
    pub(crate) rows_written: u64,
    /// Bytes written.
    pub(crate) bytes_written: u64,
}

impl std::ops::AddAssign for QueryCounts {
    fn add_assign(&mut self, other: Self) {
        self.rows += other.rows;
        self.bytes += other.bytes;
        self.rows_read += other.rows_read;
        self.bytes_read += other.bytes_read;
        self.rows_written += other.rows_written;
        self.bytes_written += other.bytes_written;
    }
}
