//! The table of clicks of a cluster: an insert goes to a replica of the shard that owns its rows.

use std::sync::Arc;

use broker::ServerError;

use crate::clickhouse::breaker_overrides;
use crate::clickhouse::server::Server;
use crate::clickhouse::shard_replicas::ShardReplicas;
use crate::run::sink::{BreakerOverride, Insert, Sink};
use crate::shards::cluster::Cluster;
use crate::shards::shard_layout::ShardLayout;

/// The table `click_versions` of each shard; clones share the connections, and which replica takes the inserts.
#[derive(Debug, Clone)]
pub struct ShardTables {
    layout: ShardLayout,
    shards: Arc<[ShardReplicas]>,
    /// The server of the small tables.
    any: Server,
}

impl ShardTables {
    /// Opens a replica of each shard.
    ///
    /// # Errors
    /// All replicas of a shard refuse, or do not answer.
    pub async fn open(cluster: &Cluster) -> Result<Self, ServerError> {
        let shards = 0..cluster.shards.len();
        let shards: Arc<[_]> = shards.map(|shard| ShardReplicas::new(cluster, shard)).collect();
        for shard in shards.iter() {
            shard.open().await?;
        }
        Ok(Self { layout: cluster.layout.clone(), shards, any: cluster.any().clone() })
    }
}

impl Sink for ShardTables {
    fn layout(&self) -> ShardLayout {
        self.layout.clone()
    }

    async fn insert(&self, insert: &Insert<'_>) -> Result<(), ServerError> {
        self.shards[insert.shard].insert(insert).await
    }

    async fn overrides(&self, topic: &str) -> Result<Vec<BreakerOverride>, ServerError> {
        breaker_overrides::overrides(&self.any, topic).await
    }
}
