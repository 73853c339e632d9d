//! How large the table of clicks is, and how much room its disks have.

use std::time::Duration;

use broker::ServerError;
use clickhouse::Row;
use serde::Deserialize;

use crate::clickhouse::selected_rows::reading;
use crate::clickhouse::server::{Server, within};

/// Longest time for the answer.
const TIMEOUT: Duration = Duration::from_secs(4);

/// Sizes of one server.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Row, Deserialize)]
pub(crate) struct TableSize {
    /// Rows of all versions.
    pub(crate) row_count: u64,
    /// Bytes of them on disk.
    pub(crate) bytes: u64,
    /// Bytes that are free on the disks of its parts.
    pub(crate) free_bytes: u64,
}

impl TableSize {
    /// Bytes of so many rows more, if they take what the present ones take; `None` without rows.
    pub(crate) fn bytes_of(self, rows: u64) -> Option<u64> {
        let bytes = u128::from(self.bytes) * u128::from(rows);
        u64::try_from(bytes.checked_div(u128::from(self.row_count))?).ok()
    }
}

/// The sizes of `click_versions`.
///
/// # Errors
/// The server's refusal, for example because the user may not read the system tables.
pub(crate) async fn table_size(server: &Server) -> Result<TableSize, ServerError> {
    let parts = "FROM system.parts WHERE active AND database = currentDatabase() \
                 AND table = 'click_versions'";
    let text = format!(
        "SELECT ifNull((SELECT sum(rows) {parts}), 0) AS row_count, \
         ifNull((SELECT sum(bytes_on_disk) {parts}), 0) AS bytes, \
         ifNull((SELECT sum(unreserved_space) FROM system.disks \
         WHERE name IN (SELECT disk_name {parts})), 0) AS free_bytes"
    );
    within(TIMEOUT, reading(server).query_raw(&text).fetch_one()).await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn more_rows_take_what_the_present_ones_take() {
        let size = TableSize { row_count: 4, bytes: 100, free_bytes: 0 };
        assert_eq!(size.bytes_of(10), Some(250));
        assert_eq!(TableSize { row_count: 0, ..size }.bytes_of(10), None);
        assert_eq!(TableSize { bytes: u64::MAX, ..size }.bytes_of(u64::MAX), None);
    }
}
