//! Where a reset moves the positions of a group. Pure.

use std::collections::BTreeMap;
use std::str::FromStr;

use records::flow::start_policy::start_position;
use records::replay::log_range::LogRange;

/// What an operator asks for. Times are resolved once.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum ResetTarget {
    /// The first offset that the log holds.
    Earliest,
    /// The end of the log.
    Latest,
    /// The first record that was appended at this time or later, milliseconds since 1970; the end of the log
    /// where there is none.
    Time(i64),
    /// These positions of these partitions.
    Offsets(BTreeMap<i32, i64>),
    /// The committed positions plus this number.
    Shift(i64),
}

/// What the brokers hold of a partition.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct PartitionFacts {
    /// The position that the group has committed.
    pub(crate) committed: Option<i64>,
    /// The first offset.
    pub(crate) low: i64,
    /// The position after the last offset.
    pub(crate) high: i64,
    /// The position of the time of [`ResetTarget::Time`].
    pub(crate) at_time: Option<i64>,
}

impl PartitionFacts {
    /// The position from which the group reads now.
    fn reads_from(&self) -> i64 {
        start_position(self.committed, self.low, self.high).position
    }
}

/// What the brokers hold, by partition.
pub(crate) type Facts = BTreeMap<i32, PartitionFacts>;

impl ResetTarget {
    /// The time whose positions are to be queried.
    pub(crate) fn time_ms(&self) -> Option<i64> {
        match self {
            Self::Time(time_ms) => Some(*time_ms),
            Self::Earliest | Self::Latest | Self::Offsets(_) | Self::Shift(_) => None,
        }
    }

    /// The position to commit of each partition that is reset.
    ///
    /// # Errors
    /// A position is outside the log, the topic has no such partition, or a position that is to be shifted was
    /// never committed.
    pub(crate) fn positions(&self, facts: &Facts) -> Result<BTreeMap<i32, i64>, String> {
        match self {
            Self::Offsets(named) => {
                named.iter().map(|(own, at)| checked(*own, *at, facts)).collect()
            }
            Self::Shift(by) => {
                let shifted = |(own, facts_of): (&i32, &PartitionFacts)| match facts_of.committed {
                    Some(at) => checked(*own, at.saturating_add(*by), facts),
                    None => Err(format!(
                        "the group has committed no position of partition {own} to shift"
                    )),
                };
                facts.iter().map(shifted).collect()
            }
            Self::Earliest => Ok(facts.iter().map(|(own, facts)| (*own, facts.low)).collect()),
            Self::Latest => Ok(facts.iter().map(|(own, facts)| (*own, facts.high)).collect()),
            Self::Time(_) => {
                let at = |(own, facts): (&i32, &PartitionFacts)| {
                    (*own, facts.at_time.unwrap_or(facts.high))
                };
                Ok(facts.iter().map(at).collect())
            }
        }
    }
}

fn checked(partition: i32, position: i64, facts: &Facts) -> Result<(i32, i64), String> {
    let Some(PartitionFacts { low, high, .. }) = facts.get(&partition) else {
        return Err(format!("the topic has no partition {partition}"));
    };
    if position < *low {
        return Err(format!(
            "position {position} of partition {partition} is before the log, whose first offset is {low}: \
             retention has deleted the records before it"
        ));
    }
    if position > *high {
        return Err(format!(
            "position {position} of partition {partition} is beyond the log, which ends at position {high}"
        ));
    }
    Ok((partition, position))
}

/// The offsets that the group would not read after a move to `targets`, by partition. A partition that would
/// move backwards, or not at all, has none.
pub(crate) fn skipped(facts: &Facts, targets: &BTreeMap<i32, i64>) -> BTreeMap<i32, LogRange> {
    let range = |(own, end): (&i32, &i64)| {
        let first = facts.get(own)?.reads_from();
        (first < *end).then_some((*own, LogRange { first, end: *end }))
    };
    targets.iter().filter_map(range).collect()
}

/// A position of a partition, written `PARTITION:OFFSET`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct PartitionPosition {
    /// Partition.
    pub(crate) partition: i32,
    /// The next offset to read.
    pub(crate) position: i64,
}

impl FromStr for PartitionPosition {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, &'static str> {
        const FORM: &str = "not of the form PARTITION:OFFSET, such as 3:41000";
        let (partition, position) = text.split_once(':').ok_or(FORM)?;
        let partition = partition.parse::<i32>().ok().filter(|own| *own >= 0).ok_or(FORM)?;
        let position = position.parse::<i64>().ok().filter(|at| *at >= 0).ok_or(FORM)?;
        Ok(Self { partition, position })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn facts() -> Facts {
        let of = |committed, at_time| PartitionFacts { committed, low: 10, high: 100, at_time };
        // Partition 2 was never committed; the position of partition 3 was deleted by retention.
        [
            (0, of(Some(40), Some(70))),
            (1, of(Some(100), None)),
            (2, of(None, Some(10))),
            (3, of(Some(4), Some(20))),
        ]
        .into()
    }

    #[test]
    fn each_target_is_resolved_to_positions_within_the_log() {
        let shift = Facts::from([(0, facts()[&0]), (1, facts()[&1])]);
        for (target, facts, expected) in [
            (ResetTarget::Earliest, facts(), vec![(0, 10), (1, 10), (2, 10), (3, 10)]),
            (ResetTarget::Latest, facts(), vec![(0, 100), (1, 100), (2, 100), (3, 100)]),
            (ResetTarget::Time(5), facts(), vec![(0, 70), (1, 100), (2, 10), (3, 20)]),
            (ResetTarget::Offsets([(1, 10), (2, 100)].into()), facts(), vec![(1, 10), (2, 100)]),
            (ResetTarget::Shift(-30), shift, vec![(0, 10), (1, 70)]),
        ] {
            let found = target.positions(&facts).unwrap();
            assert_eq!(found.into_iter().collect::<Vec<_>>(), expected, "{target:?}");
        }
    }

    #[test]
    fn a_position_outside_the_log_is_refused_with_the_bounds() {
        let two = Facts::from([(0, facts()[&0])]);
        for (target, facts, why) in [
            (
                ResetTarget::Offsets([(0, 9)].into()),
                facts(),
                "before the log, whose first offset is 10",
            ),
            (
                ResetTarget::Offsets([(0, 101)].into()),
                facts(),
                "beyond the log, which ends at position 100",
            ),
            (ResetTarget::Offsets([(7, 10)].into()), facts(), "no partition 7"),
            (ResetTarget::Shift(-31), two.clone(), "position 9 of partition 0 is before"),
            (ResetTarget::Shift(61), two.clone(), "position 101 of partition 0 is beyond"),
            (ResetTarget::Shift(i64::MAX), two, "is beyond the log"),
            (
                ResetTarget::Shift(1),
                [(2, facts()[&2])].into(),
                "no position of partition 2 to shift",
            ),
        ] {
            let refused = target.positions(&facts).unwrap_err();
            assert!(refused.contains(why), "{refused}");
        }
    }

    #[test]
    fn what_is_skipped_lies_between_the_position_that_is_read_and_the_target() {
        let range = |first| LogRange { first, end: 100 };
        let latest = ResetTarget::Latest.positions(&facts()).unwrap();
        let expected = [(0, range(40)), (2, range(10)), (3, range(10))];
        assert_eq!(skipped(&facts(), &latest), expected.into(), "partition 1 is at the end");
        assert_eq!(skipped(&facts(), &[(0, 40), (1, 50)].into()), BTreeMap::new(), "backwards");
    }

    #[test]
    fn a_position_of_a_partition_is_read_or_refused() {
        assert_eq!("3:41000".parse(), Ok(PartitionPosition { partition: 3, position: 41_000 }));
        for bad in ["", "3", "3:", ":5", "-1:5", "1:-5", "a:b", "1:2:3", "1:2-3"] {
            assert!(bad.parse::<PartitionPosition>().is_err(), "{bad}");
        }
    }
}
