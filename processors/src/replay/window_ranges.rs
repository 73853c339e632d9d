//! Resolves the window of a replay to the offsets that are read of each partition.

use std::collections::BTreeMap;

use broker::{Brokers, ServerError};
use records::replay::log_range::LogRange;
use records::replay::log_window::LogWindow;
use records::replay::planned_partition::{PartitionFacts, PlannedPartition};
use records::replay::replay_plan::ReplayPlan;
use records::replay::selected_offsets::joined;

use crate::audit::decoded_events::blocking;
use crate::clickhouse::selected_rows::SelectedRows;
use crate::config::Servers;
use crate::kafka::log_reader::{self, Bounds};
use crate::kafka::log_times::LogTimes;

/// What the log holds of each partition.
pub(crate) fn held(bounds: &BTreeMap<i32, Bounds>) -> BTreeMap<i32, LogRange> {
    let range = |own: &Bounds| LogRange { first: own.low, end: own.high };
    bounds.iter().map(|(partition, own)| (*partition, range(own))).collect()
}

/// The partitions that a window of the log names, those without a record included. `bounds` are those of the
/// topic. Blocks.
///
/// # Errors
/// The topic has no such partition, or the broker does not answer.
pub(crate) fn of_window(
    brokers: &Brokers,
    topic: &str,
    bounds: &BTreeMap<i32, Bounds>,
    window: &LogWindow,
) -> Result<Vec<PlannedPartition>, ServerError> {
    let logged = |from_ms: i64, to_ms: Option<i64>| {
        let times = LogTimes::open(brokers, topic, bounds)?;
        let firsts = times.offsets_at(from_ms)?;
        let ends = match to_ms {
            Some(to_ms) => times.offsets_at(to_ms)?,
            None => bounds.iter().map(|(own, bounds)| (*own, bounds.high)).collect(),
        };
        let range =
            |(own, first): (i32, i64)| Some((own, LogRange { first, end: *ends.get(&own)? }));
        Ok::<BTreeMap<_, _>, ServerError>(firsts.into_iter().filter_map(range).collect())
    };
    let named = match window {
        LogWindow::Offsets(ranges) => ranges.clone(),
        LogWindow::LogTime { from_ms, to_ms } => logged(*from_ms, *to_ms)?,
        LogWindow::Occurred(window) => logged(window.first_log_ms(), None)?,
        // Rows name their offsets: see `of_rows`.
        LogWindow::Rows(_) => BTreeMap::new(),
    };
    let names_offsets = matches!(window, LogWindow::Offsets(_));
    let held = held(bounds);
    let planned = |(partition, named): (i32, LogRange)| match held.get(&partition) {
        Some(&held) => {
            Ok(PlannedPartition::of(partition, PartitionFacts { held, named, names_offsets }))
        }
        None => Err(window_error(format!("the topic {topic} has no partition {partition}"))),
    };
    named.into_iter().map(planned).collect()
}

/// The error of a window that cannot be replayed.
pub(crate) fn window_error(text: String) -> ServerError {
    ServerError::fatal("replay_window", text)
}

/// The partitions of selected rows.
pub(crate) fn of_rows(selected: &SelectedRows) -> Vec<PlannedPartition> {
    let ranges = joined(selected.offsets.clone()).into_iter();
    ranges.map(|(partition, ranges)| PlannedPartition::held(partition, ranges)).collect()
}

/// Checks that the log reaches to the end of the last range of each partition: it does not if the topic was recreated.
///
/// # Errors
/// It does not, or the brokers do not answer.
pub(crate) async fn check_log(servers: &Servers, plan: &ReplayPlan) -> Result<(), ServerError> {
    let (brokers, topic) = (servers.kafka.brokers(), plan.topic.clone());
    let bounds = blocking(move || log_reader::bounds(&brokers, &topic)).await?;
    for (partition, ranges) in &plan.ranges {
        let high = bounds.get(partition).map_or(0, |bounds| bounds.high);
        if let Some(range) = ranges.last().filter(|range| high < range.end) {
            return Err(window_error(format!(
                "partition {partition} of {} ends at offset {high}, before the end of the planned range \
                 {range}: the topic was recreated; plan a new replay",
                plan.topic
            )));
        }
    }
    Ok(())
}
