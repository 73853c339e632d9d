//! The events that the view `clicks` shows, for the audit: each shard is asked for its own.

use std::ops::RangeInclusive;
use std::sync::Mutex;
use std::time::Duration;

use broker::ServerError;
use clickhouse::Row;
use records::replay::pinned_rules::PinnedRules;
use serde::Deserialize;
use service::lock::lock;

use crate::audit::entry::{AuditEntry, Id, LogPosition, hex};
use crate::audit::misplaced_clicks::MisplacedClicks;
use crate::clickhouse::server::{Server, server_error, within};
use crate::clickhouse::shard_readers::ShardReaders;

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

/// Calls `take` with each row that the view shows of `topic`, and the index of its shard, as the servers send them:
/// keeps no row.
///
/// # Errors
/// The server's refusal, or that of `take`.
pub(crate) async fn shown(
    readers: &ShardReaders,
    topic: &str,
    take: impl FnMut(usize, AuditEntry) -> Result<(), ServerError>,
) -> Result<(), ServerError> {
    let text = format!(
        "SELECT event_id, kafka_partition, kafka_offset FROM {} WHERE kafka_topic = ?",
        readers.view()
    );
    let take = Mutex::new(take);
    let read = readers.each(async |shard: usize, server: &Server| {
        let query = server.client().query(&text).bind(topic);
        let mut rows = query.fetch::<Shown>().map_err(server_error)?;
        while let Some(row) = rows.next().await.map_err(server_error)? {
            (*lock(&take))(shard, row.entry())?;
        }
        Ok(())
    });
    read.await.map(drop)
}

#[derive(Row, Deserialize)]
struct Count {
    event_id: [u8; 16],
    rows: u64,
}

/// Events that are looked up.
#[derive(Debug, Clone)]
pub(crate) struct LookedUp<'a> {
    pub(crate) topic: &'a str,
    /// When they occurred, microseconds since 1970, by which a server finds the rows.
    pub(crate) times_us: RangeInclusive<i64>,
    pub(crate) ids: &'a [Id],
}

/// How many rows the view shows of each event. The result has no entry for an event that the view does not show, and one
/// for each shard that has one. Every shard is asked for all events, and adds those of other shards to `misplaced`.
///
/// # Errors
/// The server's refusal; retryable while it does not answer.
pub(crate) async fn rows_of(
    readers: &ShardReaders,
    events: LookedUp<'_>,
    misplaced: &mut MisplacedClicks,
) -> Result<Vec<(Id, u64)>, ServerError> {
    let LookedUp { topic, times_us, ids } = events;
    let text = format!(
        "SELECT event_id, count() AS rows FROM {} WHERE kafka_topic = ? \
         AND occurred_at >= fromUnixTimestamp64Micro(toInt64(?)) \
         AND occurred_at <= fromUnixTimestamp64Micro(toInt64(?)) \
         AND event_id IN (SELECT toFixedString(unhex(arrayJoin(?)), 16)) GROUP BY event_id",
        readers.view()
    );
    let ids = texts(ids);
    let ask = async |_: usize, server: &Server| {
        let query = server.client().query(&text).bind(topic);
        let query = query.bind(*times_us.start()).bind(*times_us.end()).bind(&ids);
        within(LOOKUP_TIMEOUT, query.fetch_all::<Count>()).await
    };
    let mut all = Vec::with_capacity(ids.len());
    for (shard, rows) in readers.each(ask).await?.into_iter().enumerate() {
        for Count { event_id, rows } in rows {
            misplaced.add(readers.layout(), shard, (event_id, rows));
            all.push((event_id, rows));
        }
    }
    Ok(all)
}

/// Rows that a replay has to have written.
#[derive(Debug, Clone, Copy)]
pub(crate) struct RewrittenRows<'a> {
    /// Start of the replay, microseconds since 1970 by the server's clock.
    pub(crate) since_us: i64,
    /// Rules of the replay.
    pub(crate) rules: &'a PinnedRules,
}

#[derive(Row, Deserialize)]
struct RewrittenCount {
    event_id: [u8; 16],
    rows: u64,
    rewritten: u64,
    other_rules: u64,
}

/// As [`rows_of`], of rows that were inserted since a replay started; an event whose row is older, or on another shard than
/// its own, has no entry. A row on another shard is shown beside the new one: `misplaced` counts it though it is older.
/// Also returns how many of the new rows have other rules than the replay.
///
/// # Errors
/// Likewise.
pub(crate) async fn rewritten_rows(
    readers: &ShardReaders,
    rewritten: RewrittenRows<'_>,
    events: LookedUp<'_>,
    misplaced: &mut MisplacedClicks,
) -> Result<(Vec<(Id, u64)>, u64), ServerError> {
    let RewrittenRows { since_us, rules } = rewritten;
    let LookedUp { topic, times_us, ids } = events;
    let text = format!(
        "WITH ingested_at >= fromUnixTimestamp64Micro(toInt64(?)) AS is_new SELECT event_id, \
         count() AS rows, countIf(is_new) AS rewritten, countIf(is_new AND (enrich_version != ? \
         OR geo_db_build != ? OR ua_rules_version != ? OR bot_rules_version != ? \
         OR referrer_rules_version != ?)) AS other_rules FROM {} WHERE kafka_topic = ? \
         AND occurred_at >= fromUnixTimestamp64Micro(toInt64(?)) \
         AND occurred_at <= fromUnixTimestamp64Micro(toInt64(?)) \
         AND event_id IN (SELECT toFixedString(unhex(arrayJoin(?)), 16)) GROUP BY event_id",
        readers.view()
    );
    let ids = texts(ids);
    let ask = async |_: usize, server: &Server| {
        let query = server.client().query(&text).bind(since_us).bind(rules.program);
        let query = query.bind(&rules.geo).bind(&rules.user_agents).bind(&rules.crawlers);
        let query = query.bind(&rules.referrers).bind(topic);
        let query = query.bind(*times_us.start()).bind(*times_us.end()).bind(&ids);
        within(LOOKUP_TIMEOUT, query.fetch_all::<RewrittenCount>()).await
    };
    let (mut all, mut of_other_rules) = (Vec::with_capacity(ids.len()), 0);
    for (shard, rows) in readers.each(ask).await?.into_iter().enumerate() {
        for RewrittenCount { event_id, rows, rewritten, other_rules } in rows {
            let is_own = misplaced.add(readers.layout(), shard, (event_id, rows));
            if is_own && rewritten > 0 {
                all.push((event_id, rewritten));
                of_other_rules += other_rules;
            }
        }
    }
    Ok((all, of_other_rules))
}

/// As the queries take them.
fn texts(ids: &[Id]) -> Vec<String> {
    ids.iter().map(|id| hex(id).replace('-', "")).collect()
}
