//! The active parts of the table of clicks.

use std::time::Duration;

use broker::ServerError;

use crate::clickhouse::server::{Server, within};
use crate::clickhouse::shard_readers::ShardReaders;
use crate::shards::cluster::Cluster;

/// Bounds a query.
const TIMEOUT: Duration = Duration::from_secs(4);

/// The number of active parts of the partition that has most of them, of all shards.
///
/// # Errors
/// The server's refusal; retryable while it does not answer.
pub(crate) async fn most_active_parts(cluster: &Cluster) -> Result<u64, ServerError> {
    let ask = async |_: usize, server: &Server| {
        let client = server.client();
        let query = client.query(
            "SELECT max(parts) FROM (SELECT count() AS parts FROM system.parts WHERE active \
             AND database = currentDatabase() AND table = 'click_versions' GROUP BY partition_id)",
        );
        within(TIMEOUT, query.fetch_one::<u64>()).await
    };
    let of_shards = ShardReaders::open(cluster).await?.each(ask).await?;
    Ok(of_shards.into_iter().max().unwrap_or_default())
}
