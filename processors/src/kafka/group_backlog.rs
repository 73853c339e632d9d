//! The offsets of a topic that a group has not committed.

use std::collections::BTreeMap;

use broker::{Brokers, ServerError};
use records::flow::start_policy::start_position;
use records::replay::log_range::LogRange;

use crate::kafka::group_positions::GroupPositions;
use crate::kafka::log_reader::{Bounds, bounds};

/// By partition: the offsets from the group's position to the present end of the log; none of a partition that
/// the group has read to its end. Blocks.
///
/// # Errors
/// The topic does not exist, the group has no committed position in it (`group_unknown`), or the brokers do not
/// answer.
pub fn group_backlog(
    brokers: &Brokers,
    group: &str,
    topic: &str,
) -> Result<BTreeMap<i32, LogRange>, ServerError> {
    let bounds = bounds(brokers, topic)?;
    let positions = GroupPositions::open(brokers, group, topic)?;
    let committed = positions.committed(bounds.keys().copied())?;
    let backlog = backlog(&bounds, &committed);
    if committed.is_empty() && !backlog.is_empty() {
        return Err(unknown(group, topic, &backlog));
    }
    Ok(backlog)
}

/// The backlog of such a group would be the whole log.
fn unknown(group: &str, topic: &str, log: &BTreeMap<i32, LogRange>) -> ServerError {
    let range = |(partition, LogRange { first, end }): (&i32, &LogRange)| {
        format!("--partition {partition} --offsets {first}-{}", end - 1)
    };
    let ranges: Vec<_> = log.iter().map(range).collect();
    let text = format!(
        "group {group} has no committed position in {topic}: name the group of `processors run` with --group. If that \
         group has committed nothing yet, give an override for each partition in place of --backlog: {}",
        ranges.join(", ")
    );
    ServerError::fatal("group_unknown", text)
}

fn backlog(
    bounds: &BTreeMap<i32, Bounds>,
    committed: &BTreeMap<i32, i64>,
) -> BTreeMap<i32, LogRange> {
    let range = |(partition, Bounds { low, high }): (&i32, &Bounds)| {
        let start = start_position(committed.get(partition).copied(), *low, *high);
        (*partition, LogRange { first: start.position, end: *high })
    };
    bounds.iter().map(range).filter(|(_, range)| range.first < range.end).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_backlog_begins_where_the_group_would_continue() {
        let bounds = (0..5).map(|partition| (partition, Bounds { low: 10, high: 20 })).collect();
        // Read to its end, in part, before retention, of a recreated topic, and never.
        let committed = BTreeMap::from([(0, 20), (1, 15), (2, 3), (3, 99)]);
        let range = |first| LogRange { first, end: 20 };
        let expected =
            BTreeMap::from([(1, range(15)), (2, range(10)), (3, range(10)), (4, range(10))]);
        assert_eq!(backlog(&bounds, &committed), expected);
    }

    #[test]
    fn a_group_without_positions_is_refused_with_the_offsets_of_the_log() {
        let error = unknown("typo", "log", &BTreeMap::from([(3, LogRange { first: 5, end: 9 })]));
        assert_eq!(error.code, "group_unknown");
        assert!(error.message.contains("group typo has no committed position in log"), "{error}");
        assert!(error.message.ends_with("of --backlog: --partition 3 --offsets 5-8"), "{error}");
    }
}
