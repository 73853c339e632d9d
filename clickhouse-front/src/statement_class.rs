//! What a statement would do, by ClickHouse's own parser. Pure.

/// What a statement would do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum StatementClass {
    /// Changes nothing.
    Read,
    /// Changes something.
    Write,
    /// `SET`, `USE`, `SYSTEM`, `KILL` and the like; `INTO OUTFILE`; `INSERT INTO FUNCTION`.
    Control,
    /// Did not parse.
    Unknown,
}
