//! Verifies a replay: reads its ranges of the log, and compares their events with the rows that were
//! inserted since the job started, with the dead letters, and with the rows that are older than the job.

use broker::ServerError;
use records::replay::log_range::LogRange;
use records::replay::log_window::LogWindow;
use records::replay::replay_plan::ReplayPlan;
use tokio::runtime::Handle;
use tokio_util::sync::CancellationToken;

use crate::audit::decoded_events::{ClickDecoder, blocking};
use crate::audit::entry::AuditEntry;
use crate::audit::full_audit::{SortSpace, dead_letters};
use crate::audit::misplaced_clicks::MisplacedClicks;
use crate::audit::pending_offsets::PendingOffsets;
use crate::audit::window::{TimedEntry, WindowReport};
use crate::audit::window_comparison::{WindowRecords, compare};
use crate::clickhouse::audit_queries::{LookedUp, RewrittenRows, rewritten_rows};
use crate::clickhouse::old_rows::{OldRowFilter, old_rows};
use crate::clickhouse::shard_readers::ShardReaders;
use crate::config::Servers;
use crate::replay::orphaned_rows::{OldRows, OrphanedRows};
use crate::replay::range_records::{HeldRanges, RangeSource, read_ranges};
use crate::replay::replay_group::from_leaders;
use crate::replay::replay_verdict::ReplayVerdict;

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
    let Some(ranges) = read(servers, space, plan, stop).await? else { return Ok(None) };
    let readers = ShardReaders::open(&servers.clickhouse.cluster()?).await?;
    let (ranges, orphaned) = orphaned(&readers, space, plan, started_us, ranges).await?;
    let RangeRecords { records, undecodable, held } = ranges;
    let topic = plan.topic.as_str();
    let rewritten = RewrittenRows { since_us: started_us, rules: &plan.rules };
    let (mut other_rules, mut misplaced) = (0, MisplacedClicks::default());
    let mut found = compare(
        records,
        space,
        PendingOffsets::default(),
        async |times_us, ids| {
            let events = LookedUp { topic, times_us, ids };
            let answer = rewritten_rows(&readers, rewritten, events, &mut misplaced).await;
            let (rows, others) = answer?;
            other_rules += others;
            Ok(rows)
        },
        async || dead_letters(servers, space, None, stop).await,
    )
    .await?;
    // Each is shown beside the new row of its click.
    found.duplicates += misplaced.rows();
    found.misplaced = misplaced;
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
        expired: held.expired,
        orphaned_expired: orphaned.expired,
        orphaned_undecodable: orphaned.undecodable,
        orphaned_other_topic: orphaned.other_topic,
        orphaned_not_in_log: orphaned.not_in_log,
    };
    let mut examples = orphaned.examples();
    examples.extend(Some(found.examples()).filter(|found| !found.is_empty()));
    let examples = examples.join(", ");
    Ok((!stop.is_cancelled()).then_some(Verification { verdict, examples }))
}

/// What the ranges hold.
struct RangeRecords {
    records: WindowRecords,
    undecodable: u64,
    held: HeldRanges,
}

/// Reads the ranges; `None` when `stop` was cancelled.
async fn read(
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
    let occurred = plan.window.occurred();
    let (mut found, mut bad, ranges) = (WindowReport::default(), 0, plan.ranges.clone());
    blocking(move || {
        let source = RangeSource { brokers: &brokers, topic: &topic, ranges: &ranges, occurred };
        let held = read_ranges(source, &mut decoder, &stop, |position, click| {
            found.records += 1;
            match click {
                Ok(click) => {
                    let entry = AuditEntry { id: click.event_id.into_bytes(), position };
                    let occurred_at_us = click.occurred_at;
                    events.push(TimedEntry { occurred_at_us, entry }.to_bytes())
                }
                Err(_) => {
                    bad += 1;
                    undecodable.push(position.to_bytes())
                }
            }
        })?;
        let (events, undecodable) = (events.sorted()?, undecodable.sorted()?);
        let records = WindowRecords { found, events, undecodable };
        Ok(held.map(|held| RangeRecords { records, undecodable: bad, held }))
    })
    .await
}

/// Finds the rows of the window that no record of the ranges has replaced.
async fn orphaned(
    readers: &ShardReaders,
    space: &SortSpace,
    plan: &ReplayPlan,
    started_us: i64,
    ranges: RangeRecords,
) -> Result<(RangeRecords, OrphanedRows), ServerError> {
    let filter = old_row_filter(plan, started_us);
    let sorters = [space.sorter(1), space.sorter(1)];
    let mut rows = OldRows::new(plan.ranges.clone(), ranges.held.lows.clone(), sorters);
    let mut compared = 0_u64;
    let take = |row| {
        compared += 1;
        rows.push(row)
    };
    old_rows(readers, &filter, take).await?;
    tracing::info!(compared, "rows that are older than the replay were compared with the log");
    // It may read all events: the caller must be able to report its job meanwhile.
    blocking(move || {
        let WindowRecords { events, undecodable, .. } = &ranges.records;
        let found = rows.orphaned(events, undecodable)?;
        Ok((ranges, found))
    })
    .await
}

/// The rows of the window: those that name its offsets, also such that retention had deleted when the replay
/// was planned; of a window of log time that has an end, those of its log times, too; of a window of occurrence,
/// those that occurred in it.
fn old_row_filter(plan: &ReplayPlan, since_us: i64) -> OldRowFilter<'_> {
    let (offsets, times_ms) = match &plan.window {
        LogWindow::Offsets(named) => {
            (named.iter().map(|(own, range)| (*own, vec![*range])).collect(), None)
        }
        LogWindow::LogTime { from_ms, to_ms } => {
            (plan.ranges.clone(), to_ms.map(|to_ms| *from_ms..to_ms))
        }
        LogWindow::Rows(_) => (plan.ranges.clone(), None),
        LogWindow::Occurred(_) => {
            let to_end = |(own, ranges): (&i32, &Vec<LogRange>)| {
                Some((*own, vec![LogRange { first: 0, end: ranges.last()?.end }]))
            };
            (plan.ranges.iter().filter_map(to_end).collect(), None)
        }
    };
    let occurred = plan.window.occurred();
    OldRowFilter { topic: &plan.topic, since_us, offsets, times_ms, occurred }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_rows_of_a_window_are_those_of_its_offsets_and_of_its_log_times() {
        let plan = |window: &str| -> ReplayPlan {
            let text = format!(
                r#"{{"topic":"t","window":{window},"ranges":{{"0":[{{"first":4,"end":9}}]}},
                "rules":{{"program":1,"geo":"","user_agents":"","crawlers":"","referrers":""}}}}"#
            );
            serde_json::from_str(&text).unwrap()
        };
        let filter = |window: &str| {
            let plan = plan(window);
            let OldRowFilter { offsets, times_ms, .. } = old_row_filter(&plan, 1);
            let [range] = offsets[&0][..] else { panic!("{offsets:?}") };
            (range.first..range.end, times_ms)
        };
        // Retention had deleted the offsets below 4 when the replay was planned.
        assert_eq!(filter(r#"{"offsets":{"0":{"first":1,"end":9}}}"#), (1..9, None));
        assert_eq!(filter(r#"{"log_time":{"from_ms":2,"to_ms":null}}"#), (4..9, None));
        assert_eq!(filter(r#"{"log_time":{"from_ms":2,"to_ms":6}}"#), (4..9, Some(2..6)));
        assert_eq!(filter(r#"{"rows":{"where":"1"}}"#), (4..9, None));
        assert_eq!(filter(r#"{"occurred":{"from_us":2,"to_us":6}}"#), (0..9, None));
        let plan = plan(r#"{"occurred":{"from_us":2,"to_us":6}}"#);
        assert_eq!(old_row_filter(&plan, 1).occurred, plan.window.occurred());
    }
}
