//! Counts the clicks that were enriched by other versions of the rules than the given ones.

use broker::ServerError;
use clickhouse::Row;
use serde::Deserialize;

use crate::clickhouse::server::{Server, server_error};

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
#[derive(Debug, Clone, Copy, PartialEq, Eq, Row, Deserialize)]
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

/// Counts the clicks of the view `clicks`; the server reads five columns of all rows.
///
/// # Errors
/// The server's refusal; retryable while it does not answer.
pub(crate) async fn stale_rows(
    server: &Server,
    versions: &RuleVersions<'_>,
) -> Result<StaleRows, ServerError> {
    let client = server.client();
    let query = client
        .query(
            "SELECT count() AS clicks, countIf(enrich_version != ?) AS program, \
             countIf(geo_db_build != ?) AS geo, countIf(ua_rules_version != ?) AS user_agents, \
             countIf(bot_rules_version != ?) AS crawlers, \
             countIf(referrer_rules_version != ?) AS referrers FROM clicks",
        )
        .bind(versions.program)
        .bind(versions.geo)
        .bind(versions.user_agents)
        .bind(versions.crawlers)
        .bind(versions.referrers);
    query.fetch_one().await.map_err(server_error)
}
