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
/// The topic does not exist, or the brokers do not answer.
pub fn group_backlog(
    brokers: &Brokers,
    group: &str,
    topic: &str,
) -> Result<BTreeMap<i32, LogRange>, ServerError> {
    let bounds = bounds(brokers, topic)?;
    let positions = GroupPositions::open(brokers, group, topic)?;
    Ok(backlog(&bounds, &positions.committed(bounds.keys().copied())?))
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
}
