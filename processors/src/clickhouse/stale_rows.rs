//! Counts the clicks that were enriched by other versions of the rules than the given ones.

use broker::ServerError;
use clickhouse::Row;
use serde::Deserialize;

use crate::clickhouse::server::{Server, server_error};
use crate::clickhouse::shard_readers::ShardReaders;
use crate::shards::cluster::Cluster;

/// Versions of the rules, in the form of the columns.
#[derive(Debug)]
pub(crate) struct RuleVersions<'a> {
    /// Version of the rules in the program.
    pub(crate) program: u32,
    pub(crate) geo: &'a str,
    pub(crate) user_agents: &'a str,
    pub(crate) crawlers: &'a str,
    pub(crate) referrers: &'a str,
}

/// Counts of clicks by the kind of rules whose version differs.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Row, Deserialize)]
pub(crate) struct StaleRows {
    /// All clicks.
    pub(crate) clicks: u64,
    /// Those that another version of the rules in the program enriched.
    pub(crate) program: u64,
    pub(crate) geo: u64,
    pub(crate) user_agents: u64,
    pub(crate) crawlers: u64,
    pub(crate) referrers: u64,
}

impl StaleRows {
    fn add(&mut self, of_shard: Self) {
        self.clicks += of_shard.clicks;
        self.program += of_shard.program;
        self.geo += of_shard.geo;
        self.user_agents += of_shard.user_agents;
        self.crawlers += of_shard.crawlers;
        self.referrers += of_shard.referrers;
    }
}

/// Counts the clicks of the view `clicks`; a server reads five columns of all of its rows.
///
/// # Errors
/// The server's refusal; retryable while it does not answer.
pub(crate) async fn stale_rows(
    cluster: &Cluster,
    versions: &RuleVersions<'_>,
) -> Result<StaleRows, ServerError> {
    let readers = ShardReaders::open(cluster).await?;
    let text = format!(
        "SELECT count() AS clicks, countIf(enrich_version != ?) AS program, \
         countIf(geo_db_build != ?) AS geo, countIf(ua_rules_version != ?) AS user_agents, \
         countIf(bot_rules_version != ?) AS crawlers, \
         countIf(referrer_rules_version != ?) AS referrers FROM {}",
        readers.view()
    );
    let ask = async |_: usize, server: &Server| {
        let query = server.client().query(&text).bind(versions.program).bind(versions.geo);
        let query = query.bind(versions.user_agents).bind(versions.crawlers);
        query.bind(versions.referrers).fetch_one::<StaleRows>().await.map_err(server_error)
    };
    let mut all = StaleRows::default();
    readers.each(ask).await?.into_iter().for_each(|of_shard| all.add(of_shard));
    Ok(all)
}
