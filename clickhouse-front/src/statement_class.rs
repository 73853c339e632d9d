//! What a statement would do, by ClickHouse's own parser, and how much it did. Pure.

/// What a statement would do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Class {
    /// Leaves no trace.
    Read,
    /// Changes something.
    Write,
    /// `SET`, `USE`, `SYSTEM`, `KILL` and the like; `INTO OUTFILE`; `INSERT INTO FUNCTION`.
    Control,
    /// Did not parse.
    Unknown,
}

/// How much a statement read, wrote and gave.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Counts {
    /// Rows of the result.
    pub(crate) rows: u64,
    /// Bytes of the result, unpacked.
    pub(crate) bytes: u64,
    /// Rows read from tables.
    pub(crate) rows_read: u64,
    /// Bytes read from tables, unpacked.
    pub(crate) bytes_read: u64,
    /// Rows written, those of materialized views included.
    pub(crate) rows_written: u64,
    /// Bytes written.
    pub(crate) bytes_written: u64,
}

impl std::ops::AddAssign for Counts {
    fn add_assign(&mut self, other: Self) {
        self.rows += other.rows;
        self.bytes += other.bytes;
        self.rows_read += other.rows_read;
        self.bytes_read += other.bytes_read;
        self.rows_written += other.rows_written;
        self.bytes_written += other.bytes_written;
    }
}
