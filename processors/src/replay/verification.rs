//! Verifies a replay: reads its ranges of the log, and compares their events with the rows that were
//! inserted since the job started, and with the dead letters.

use broker::{ServerError, UnreadableBatch};
use records::replay::replay_plan::ReplayPlan;
use tokio::runtime::Handle;
use tokio_util::sync::CancellationToken;

use crate::audit::decoded_events::{ClickDecoder, blocking, position, read};
use crate::audit::entry::{AuditEntry, LogPosition};
use crate::audit::full_audit::{SortSpace, dead_letters};
use crate::audit::window::{TimedEntry, WindowReport};
use crate::audit::window_comparison::{WindowRecords, compare};
use crate::clickhouse::audit_queries::{RewrittenRows, rewritten_rows};
use crate::config::Servers;
use crate::kafka::log_reader::{LogItem, LogReader};
use crate::replay::replay_group::from_leaders;
use crate::replay::replay_verdict::ReplayVerdict;
use crate::replay::stored_plan::single_ranges;

/// What a verification found: the verdict, and examples of what is not explained.
#[derive(Debug)]
pub(crate) struct Verification {
    pub(crate) verdict: ReplayVerdict,
    pub(crate) examples: String,
}

/// Verifies a replay that has processed all of its ranges; `started_us` is when the job started, by the
/// server's clock. `None` when `stop` was cancelled.
///
/// # Errors
/// A server does not answer, or the disk is full.
pub(crate) async fn verify(
    servers: &Servers,
    space: &SortSpace,
    plan: &ReplayPlan,
    started_us: i64,
    stop: &CancellationToken,
) -> Result<Option<Verification>, ServerError> {
    let Some(ranges) = read_ranges(servers, space, plan, stop).await? else { return Ok(None) };
    let RangeRecords { records, undecodable, expired } = ranges;
    let (server, topic) = (servers.clickhouse.server()?, plan.topic.as_str());
    let rewritten = RewrittenRows { topic, since_us: started_us, rules: &plan.rules };
    let mut other_rules = 0;
    let found = compare(
        records,
        space,
        async |times, ids| {
            let (rows, others) = rewritten_rows(&server, rewritten, times, ids).await?;
            other_rules += others;
            Ok(rows)
        },
        async || dead_letters(servers, space, None, stop).await,
    )
    .await?;
    let explained = found.missing + found.dead_lettered;
    let verdict = ReplayVerdict {
        records: found.records,
        events: found.events,
        rewritten: found.events.saturating_sub(explained),
        other_rules,
        resends: found.records.saturating_sub(found.events + undecodable),
        dead_lettered: found.dead_lettered,
        missing: found.missing,
        undecodable,
        undecodable_without_dead_letter: found.undecodable_without_dead_letter,
        duplicates: found.duplicates,
        expired,
    };
    Ok((!stop.is_cancelled()).then(|| Verification { verdict, examples: found.examples() }))
}

/// What the ranges hold.
struct RangeRecords {
    records: WindowRecords,
    undecodable: u64,
    expired: u64,
}

/// Reads the ranges; `None` when `stop` was cancelled.
async fn read_ranges(
    servers: &Servers,
    space: &SortSpace,
    plan: &ReplayPlan,
    stop: &CancellationToken,
) -> Result<Option<RangeRecords>, ServerError> {
    let (brokers, topic, stop) =
        (from_leaders(servers.kafka.brokers()), servers.kafka.topic.to_string(), stop.clone());
    let (registry, subject) = (servers.registry.registry()?, servers.kafka.topic.subject());
    let mut decoder = ClickDecoder::new(registry, subject, Handle::current());
    let (mut events, mut undecodable) = (space.sorter(9), space.sorter(1));
    let (mut found, mut bad, ranges) = (WindowReport::default(), 0, single_ranges(plan)?);
    blocking(move || {
        let log = LogReader::open_within(&brokers, &topic, &ranges)?;
        // Reading fails where retention deletes records before they are read; it is then repeated.
        let held: u64 = log.bounds().values().map(|own| (own.high - own.low).unsigned_abs()).sum();
        let planned: u64 = ranges.values().map(|range| range.offsets()).sum();
        let complete = read(log, &stop, |item| {
            found.records += 1;
            let record = match item {
                LogItem::Record(record) => record,
                // Counts as one record, because it has one dead letter.
                LogItem::Unreadable(UnreadableBatch { partition, first, .. }) => {
                    bad += 1;
                    return undecodable.push(LogPosition { partition, offset: first }.to_bytes());
                }
            };
            let position = position(record);
            match decoder.click(record)? {
                Some(click) => {
                    let entry = AuditEntry { id: click.event_id.into_bytes(), position };
                    let occurred_at_us = click.occurred_at;
                    events.push(TimedEntry { occurred_at_us, entry }.to_bytes())
                }
                None => {
                    bad += 1;
                    undecodable.push(position.to_bytes())
                }
            }
        })?;
        let (events, undecodable) = (events.sorted()?, undecodable.sorted()?);
        Ok(complete.then_some(RangeRecords {
            records: WindowRecords { found, events, undecodable },
            undecodable: bad,
            expired: planned.saturating_sub(held),
        }))
    })
    .await
}
