//! Asks the brokers for the days of the ranges of a replay.

use broker::ServerError;
use records::replay::day_passes::{PASS_RANGES_MAX, PASSES_MAX, day_passes};
use records::replay::replay_pass::{PartitionRanges, ReplayPass};

use crate::audit::decoded_events::blocking;
use crate::config::Servers;
use crate::kafka::log_reader;
use crate::kafka::log_times::LogTimes;
use crate::replay::window_ranges::window_error;

/// A pass for each UTC day of log time of these ranges, the newest day first.
///
/// # Errors
/// The ranges have too many days (`replay_window`), or the brokers do not answer.
pub(crate) async fn of_days(
    servers: &Servers,
    ranges: &PartitionRanges,
) -> Result<Vec<ReplayPass>, ServerError> {
    let (brokers, topic) = (servers.kafka.brokers(), servers.kafka.topic.to_string());
    let ranges = ranges.clone();
    let passes = blocking(move || {
        let mut bounds = log_reader::bounds(&brokers, &topic)?;
        bounds.retain(|partition, _| ranges.contains_key(partition));
        let times = LogTimes::open(&brokers, &topic, &bounds)?;
        day_passes(ranges, |day| times.offsets_at(day.start_ms()))
    });
    passes.await?.ok_or_else(|| {
        window_error(format!(
            "the window has records of more than {PASSES_MAX} days of log time, or its days have more than \
             {PASS_RANGES_MAX} ranges: plan a part of it, or leave --newest-first out"
        ))
    })
}
