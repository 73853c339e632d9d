//! How large the table of clicks is, and how much room its disks have.

use std::time::Duration;

use broker::ServerError;
use clickhouse::Row;
use serde::Deserialize;

use crate::clickhouse::selected_rows::reading;
use crate::clickhouse::server::{Server, within};
use crate::clickhouse::shard_readers::ShardReaders;
use crate::shards::cluster::Cluster;
use crate::shards::shard_layout::ShardLayout;

/// Longest time for the answer.
const TIMEOUT: Duration = Duration::from_secs(4);

/// Sizes of one replica of each shard.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Row, Deserialize)]
pub(crate) struct TableSize {
    /// Rows of all versions.
    pub(crate) row_count: u64,
    /// Bytes of them on disk.
    pub(crate) bytes: u64,
    /// Bytes that are free on the disks of its parts; of several shards, how much they take until one of them is full.
    pub(crate) free_bytes: u64,
}

impl TableSize {
    /// Bytes of so many rows more, if they take what the present ones take; `None` without rows.
    pub(crate) fn bytes_of(self, rows: u64) -> Option<u64> {
        let bytes = u128::from(self.bytes) * u128::from(rows);
        u64::try_from(bytes.checked_div(u128::from(self.row_count))?).ok()
    }

    /// Of all shards. What is inserted is distributed by the weights.
    fn of_shards(layout: &ShardLayout, shards: &[Self]) -> Self {
        let slots: u64 = layout.weights().iter().copied().map(u64::from).sum();
        let weights = layout.weights().iter().copied().map(u64::from);
        let until_full = weights
            .zip(shards)
            .map(|(weight, shard)| shard.free_bytes.saturating_mul(slots) / weight);
        Self {
            row_count: shards.iter().map(|shard| shard.row_count).sum(),
            bytes: shards.iter().map(|shard| shard.bytes).sum(),
            free_bytes: until_full.min().unwrap_or_default(),
        }
    }
}

/// The sizes of `click_versions`.
///
/// # Errors
/// The server's refusal, for example because the user may not read the system tables.
pub(crate) async fn table_size(cluster: &Cluster) -> Result<TableSize, ServerError> {
    let parts = "FROM system.parts WHERE active AND database = currentDatabase() \
                 AND table = 'click_versions'";
    let text = format!(
        "SELECT ifNull((SELECT sum(rows) {parts}), 0) AS row_count, \
         ifNull((SELECT sum(bytes_on_disk) {parts}), 0) AS bytes, \
         ifNull((SELECT sum(unreserved_space) FROM system.disks \
         WHERE name IN (SELECT disk_name {parts})), 0) AS free_bytes"
    );
    let ask = async |_: usize, server: &Server| {
        within(TIMEOUT, reading(server).query_raw(&text).fetch_one::<TableSize>()).await
    };
    let of_shards = ShardReaders::open(cluster).await?.each(ask).await?;
    Ok(TableSize::of_shards(&cluster.layout, &of_shards))
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

    #[test]
    fn shards_take_bytes_until_one_of_them_is_full() {
        let of = |row_count, free_bytes| TableSize { row_count, bytes: 10 * row_count, free_bytes };
        let one = of(4, 100);
        assert_eq!(TableSize::of_shards(&ShardLayout::single(), &[one]), one);
        let all = TableSize::of_shards(&ShardLayout::new(vec![1, 3]), &[of(4, 100), of(12, 240)]);
        // 80 bytes of each slot, of 4 slots.
        assert_eq!(all, of(16, 320));
    }
}
