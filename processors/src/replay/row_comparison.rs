//! The dry run of a replay: reads its ranges, decodes and enriches their records by the rules of the plan, and
//! compares the rows that it would insert with those that the view shows. Inserts and commits nothing.

use broker::ServerError;
use indicatif::ProgressBar;
use records::encode::columns::ClickRow;
use records::encode::record_location::RecordLocation;
use records::enrich::Enricher;
use schemas::RawClick;
use tokio::runtime::Handle;
use tokio_util::sync::CancellationToken;

use crate::audit::decoded_events::{ClickDecoder, blocking};
use crate::audit::external_sort::Sorter;
use crate::audit::full_audit::SortSpace;
use crate::clickhouse::current_rows::{LOOKUP_CLICKS, current_rows};
use crate::clickhouse::job_table;
use crate::clickhouse::shard_readers::ShardReaders;
use crate::config::{RulesArgs, Servers};
use crate::replay::compared_columns::compared_texts;
use crate::replay::dry_run_report::{DryRunCounts, DryRunReport};
use crate::replay::loaded_rules;
use crate::replay::planned_row::{BYTES, ClickKey, ComparedRow, PlannedRow};
use crate::replay::range_records::{RangeSource, read_ranges};
use crate::replay::replay_bar::replay_bar;
use crate::replay::replay_group::from_leaders;
use crate::replay::stored_plan::plan_of;

/// Bytes of texts of one look-up; a click may have some MiB.
const LOOKUP_BYTES: usize = 8 << 20;
/// The comparison does not depend on where a record is.
const NOWHERE: RecordLocation<'static> =
    RecordLocation { topic: "", partition: 0, offset: 0, logged_at_ms: 0, trace_id: [0; 16] };
/// Records between two log lines with the progress: a hundredth of the ranges, and at least so many.
const RECORDS_PER_LINE_MIN: u64 = 50_000;
/// What the bar shows beside itself, as that of a worker.
const BAR_TEXT: &str = "{pos}/{len} offsets, {per_sec}, time left {eta}";

/// Compares what the job `id` would insert with what the view shows.
///
/// # Errors
/// The job is no replay of this topic, the rules differ from those of its plan, or a server does not answer.
pub(crate) async fn dry_run(
    servers: &Servers,
    rules: &RulesArgs,
    space: &SortSpace,
    id: &str,
) -> Result<DryRunReport, ServerError> {
    let cluster = servers.clickhouse.cluster()?;
    let plan = plan_of(&job_table::job(cluster.any(), id).await?.job, &servers.kafka.topic)?;
    let readers = ShardReaders::open(&cluster).await?;
    let rules = loaded_rules::load(rules).await?;
    loaded_rules::check(&plan.rules, &rules)?;
    let (ranges, occurred) = (plan.ranges.clone(), plan.window.occurred());
    let (brokers, topic) = (from_leaders(servers.kafka.brokers()), plan.topic.clone());
    let (registry, subject) = (servers.registry.registry()?, servers.kafka.topic.subject());
    let runtime = Handle::current();
    let mut decoder = ClickDecoder::new(registry, subject, runtime.clone());
    let mut comparison = RowComparison {
        runtime,
        readers,
        enricher: Enricher::new(rules.load_full()),
        counts: DryRunCounts::default(),
        rows: Vec::with_capacity(LOOKUP_CLICKS),
        bytes: 0,
        compared: space.sorter(15),
        progress: Progress::new(plan.offsets()),
    };
    blocking(move || {
        // Clicks outside the window are of no count but the progress.
        let is_outside = |click: &RawClick<'_>| {
            occurred.is_some_and(|window| !window.contains(click.occurred_at))
        };
        let (brokers, topic, ranges) = (&brokers, topic.as_str(), &ranges);
        let source = RangeSource { brokers, topic, ranges, occurred: None };
        let stop = CancellationToken::new();
        let held = read_ranges(source, &mut decoder, &stop, |_, click| {
            comparison.progress.add_record();
            match click {
                Ok(click) if is_outside(&click) => Ok(()),
                click => {
                    comparison.counts.add_record(click.as_ref().err());
                    click.map_or(Ok(()), |click| comparison.add(&click))
                }
            }
        })?;
        comparison.look_up()?;
        let RowComparison { counts, compared, .. } = comparison;
        let compared = compared.sorted()?;
        let rows = compared.iter().map(|bytes| bytes.map(ComparedRow::from_bytes));
        counts.report(rows, held.unwrap_or_default().expired)
    })
    .await
}

/// The comparison while the ranges are read.
struct RowComparison {
    runtime: Handle,
    readers: ShardReaders,
    enricher: Enricher,
    counts: DryRunCounts,
    /// Rows of the next look-up.
    rows: Vec<PlannedRow>,
    /// Bytes of their texts.
    bytes: usize,
    compared: Sorter<BYTES>,
    progress: Progress,
}

impl RowComparison {
    fn add(&mut self, click: &RawClick<'_>) -> Result<(), ServerError> {
        let (occurred_at_us, event_id) = (click.occurred_at, click.event_id.into_bytes());
        let texts = compared_texts(&ClickRow::new(click, &self.enricher.enrich(click), NOWHERE));
        self.bytes += texts.iter().map(String::len).sum::<usize>();
        self.rows.push(PlannedRow { key: ClickKey { occurred_at_us, event_id }, texts });
        if self.rows.len() == LOOKUP_CLICKS || self.bytes >= LOOKUP_BYTES {
            self.look_up()?;
        }
        Ok(())
    }

    /// Compares the rows that were added since the last look-up.
    fn look_up(&mut self) -> Result<(), ServerError> {
        let keys: Vec<_> = self.rows.iter().map(|row| row.key).collect();
        let current = self.runtime.block_on(current_rows(&self.readers, &keys))?;
        for planned in self.rows.drain(..) {
            let row = self.counts.compare(&planned, current.get(&planned.key).map(Vec::as_slice));
            self.compared.push(row.to_bytes())?;
        }
        self.bytes = 0;
        Ok(())
    }
}

/// Shows how many records were read: by a bar on a terminal, and otherwise by log messages.
struct Progress {
    offsets: u64,
    records: u64,
    /// Records of the next line.
    next: u64,
    bar: Option<ProgressBar>,
}

impl Progress {
    fn new(offsets: u64) -> Self {
        let bar = replay_bar(offsets, BAR_TEXT);
        let mut progress = Self { offsets, records: 0, next: 0, bar };
        progress.next = progress.step();
        progress
    }

    fn step(&self) -> u64 {
        (self.offsets / 100).max(RECORDS_PER_LINE_MIN)
    }

    fn add_record(&mut self) {
        self.records += 1;
        let Self { records, offsets, .. } = *self;
        if let Some(bar) = &self.bar {
            bar.set_position(records);
        } else if records >= self.next {
            self.next = records + self.step();
            tracing::info!(records, offsets, "progress of the dry run");
        }
    }
}

impl Drop for Progress {
    /// Removes the bar.
    fn drop(&mut self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }
}
