//! A revocation: the partitions that the group revokes, and the deadline for the records that were read
//! of them.

use tokio::time::Instant;

/// Partitions to be released.
#[derive(Debug)]
pub(crate) struct Revocation {
    partitions: Vec<i32>,
    deadline: Instant,
}

impl Revocation {
    /// A revocation of no partition yet.
    pub(crate) fn new(deadline: Instant) -> Self {
        Self { partitions: Vec::new(), deadline }
    }

    /// Adds partitions; the deadline stays.
    pub(crate) fn add(&mut self, partitions: Vec<i32>) {
        self.partitions.extend(partitions);
    }

    /// The partitions.
    pub(crate) fn partitions(&self) -> &[i32] {
        &self.partitions
    }

    /// Whether the group has waited long enough.
    pub(crate) fn is_overdue(&self, now: Instant) -> bool {
        now >= self.deadline
    }
}
