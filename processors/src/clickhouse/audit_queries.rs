//! The events that the view `clicks` shows, for the audit.

use std::ops::RangeInclusive;
use std::time::Duration;

use broker::ServerError;
use clickhouse::Row;
use records::replay::pinned_rules::PinnedRules;
use serde::Deserialize;

use crate::audit::entry::{AuditEntry, Id, LogPosition, hex};
use crate::clickhouse::server::{Server, server_error};

/// Bounds a look-up of a few thousand events.
const LOOKUP_TIMEOUT: Duration = Duration::from_secs(60);

#[derive(Row, Deserialize)]
struct Shown {
    event_id: [u8; 16],
    kafka_partition: u32,
    kafka_offset: u64,
}

impl Shown {
    fn entry(&self) -> AuditEntry {
        // Another program may have inserted a row with an invalid partition or offset: such a row
        // matches no record of the log.
        let partition = i32::try_from(self.kafka_partition).unwrap_or(i32::MAX);
        let offset = i64::try_from(self.kafka_offset).unwrap_or(i64::MAX);
        AuditEntry { id: self.event_id, position: LogPosition { partition, offset } }
    }
}

/// Calls `take` with each row that the view shows of `topic`, as the server sends it: keeps no row.
///
/// # Errors
/// The server's refusal, or that of `take`.
pub async fn shown(
    server: &Server,
    topic: &str,
    mut take: impl FnMut(AuditEntry) -> Result<(), ServerError>,
) -> Result<(), ServerError> {
    let client = server.client();
    let query = client
        .query("SELECT event_id, kafka_partition, kafka_offset FROM clicks WHERE kafka_topic = ?")
        .bind(topic);
    let mut rows = query.fetch::<Shown>().map_err(server_error)?;
    while let Some(row) = rows.next().await.map_err(server_error)? {
        take(row.entry())?;
    }
    Ok(())
}

#[derive(Row, Deserialize)]
struct Count {
    event_id: [u8; 16],
    rows: u64,
}

/// How many rows the view shows of each event in `ids`. All of them occurred within `times_us`
/// (microseconds since 1970), by which the server finds the rows. The result has no entry for an event
/// that the view does not show.
///
/// # Errors
/// The server's refusal; retryable while it does not answer.
pub async fn rows_of(
    server: &Server,
    topic: &str,
    times_us: RangeInclusive<i64>,
    ids: &[Id],
) -> Result<Vec<(Id, u64)>, ServerError> {
    let query = server.client().query(
        "SELECT event_id, count() AS rows FROM clicks WHERE kafka_topic = ? \
         AND occurred_at >= fromUnixTimestamp64Micro(toInt64(?)) \
         AND occurred_at <= fromUnixTimestamp64Micro(toInt64(?)) \
         AND event_id IN (SELECT toFixedString(unhex(arrayJoin(?)), 16)) GROUP BY event_id",
    );
    let query = query.bind(topic).bind(*times_us.start()).bind(*times_us.end()).bind(texts(ids));
    let rows = in_time(query.fetch_all::<Count>()).await?;
    Ok(rows.into_iter().map(|row| (row.event_id, row.rows)).collect())
}

/// Rows that a replay has to have written.
#[derive(Debug, Clone, Copy)]
pub(crate) struct RewrittenRows<'a> {
    pub(crate) topic: &'a str,
    /// Start of the replay, microseconds since 1970 by the server's clock.
    pub(crate) since_us: i64,
    /// Rules of the replay.
    pub(crate) rules: &'a PinnedRules,
}

#[derive(Row, Deserialize)]
struct RewrittenCount {
    event_id: [u8; 16],
    rows: u64,
    other_rules: u64,
}

/// As [`rows_of`], of rows that were inserted since a replay started; an event whose row is older has no
/// entry. Also returns how many of these rows have other rules than the replay.
///
/// # Errors
/// Likewise.
pub(crate) async fn rewritten_rows(
    server: &Server,
    rewritten: RewrittenRows<'_>,
    times_us: RangeInclusive<i64>,
    ids: &[Id],
) -> Result<(Vec<(Id, u64)>, u64), ServerError> {
    let RewrittenRows { topic, since_us, rules } = rewritten;
    let query = server.client().query(
        "SELECT event_id, count() AS rows, countIf(enrich_version != ? OR geo_db_build != ? \
         OR ua_rules_version != ? OR bot_rules_version != ? OR referrer_rules_version != ?) \
         AS other_rules FROM clicks WHERE kafka_topic = ? \
         AND occurred_at >= fromUnixTimestamp64Micro(toInt64(?)) \
         AND occurred_at <= fromUnixTimestamp64Micro(toInt64(?)) \
         AND ingested_at >= fromUnixTimestamp64Micro(toInt64(?)) \
         AND event_id IN (SELECT toFixedString(unhex(arrayJoin(?)), 16)) GROUP BY event_id",
    );
    let query = query.bind(rules.program).bind(&rules.geo).bind(&rules.user_agents);
    let query = query.bind(&rules.crawlers).bind(&rules.referrers).bind(topic);
    let query = query.bind(*times_us.start()).bind(*times_us.end()).bind(since_us);
    let rows = in_time(query.bind(texts(ids)).fetch_all::<RewrittenCount>()).await?;
    let other_rules = rows.iter().map(|row| row.other_rules).sum();
    Ok((rows.into_iter().map(|row| (row.event_id, row.rows)).collect(), other_rules))
}

/// As the queries take them.
fn texts(ids: &[Id]) -> Vec<String> {
    ids.iter().map(|id| hex(id).replace('-', "")).collect()
}

async fn in_time<T>(
    answer: impl Future<Output = Result<Vec<T>, clickhouse::error::Error>>,
) -> Result<Vec<T>, ServerError> {
    let answer = tokio::time::timeout(LOOKUP_TIMEOUT, answer).await.map_err(|_| {
        let text = format!("the server did not answer within {} s", LOOKUP_TIMEOUT.as_secs());
        ServerError::retryable("clickhouse_timeout", text)
    })?;
    answer.map_err(server_error)
}
