//! The epoch for consecutive records of one partition. It is looked up for the first of them, and again when the
//! assignment has changed.

use crate::kafka::assignment::Assignment;

/// The epoch that was looked up last.
#[derive(Debug, Default)]
pub(super) struct ReadEpoch {
    /// The partition, and the number of changes before the look-up; `None` before the first one.
    found_for: Option<(i32, u64)>,
    epoch: Option<u64>,
}

impl ReadEpoch {
    /// As [`Assignment::epoch_to_read`], which takes a lock.
    pub(super) fn of(&mut self, partition: i32, assignment: &Assignment) -> Option<u64> {
        // Counted before the look-up, so that a change during it causes another one.
        let asked_for = Some((partition, assignment.changes()));
        if self.found_for != asked_for {
            *self = Self { found_for: asked_for, epoch: assignment.epoch_to_read(partition) };
        }
        self.epoch
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use records::flow::start_policy::{StartPosition, StartReason};

    use super::*;
    use crate::kafka::starting_partition::StartingPartition;

    fn begin(assignment: &Assignment, partitions: &[i32]) {
        let start = StartPosition { position: 5, reason: StartReason::FirstRead };
        assignment.begin(partitions.iter().map(|&partition| StartingPartition {
            partition,
            start,
            committed: None,
            end: None,
        }));
    }

    #[test]
    fn the_epoch_follows_each_change_of_the_assignment() {
        let (assignment, mut epoch) = (Assignment::default(), ReadEpoch::default());
        let mut both = |assignment: &Assignment| {
            let found = [1, 1, 2, 1].map(|partition| epoch.of(partition, assignment));
            assert_eq!(found, [1, 1, 2, 1].map(|partition| assignment.epoch_to_read(partition)));
            found[1..3].to_vec()
        };
        assert_eq!(both(&assignment), [Some(0), Some(0)], "nothing is assigned");
        begin(&assignment, &[1, 2]);
        assert_eq!(both(&assignment), [Some(1), Some(1)]);
        begin(&assignment, &[2]);
        assert_eq!(both(&assignment), [Some(1), Some(2)], "read again from another position");
        assert!(assignment.request_revocation(BTreeSet::from([1])));
        assert_eq!(both(&assignment), [None, Some(2)]);
        assignment.end(&BTreeSet::from([1]));
        assert_eq!(both(&assignment), [Some(0), Some(2)]);
        begin(&assignment, &[1]);
        assert_eq!(both(&assignment), [Some(3), Some(2)]);
    }
}
