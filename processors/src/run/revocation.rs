//! A revocation: partitions that the group revokes, and the time until which what was read of them may
//! be finished.

use tokio::time::Instant;

/// Partitions to be released.
#[derive(Debug)]
pub(crate) struct Revocation {
    partitions: Vec<i32>,
    deadline: Instant,
}

impl Revocation {
    /// Of no partition yet.
    pub(crate) fn new(deadline: Instant) -> Self {
        Self { partitions: Vec::new(), deadline }
    }

    /// Adds partitions; the deadline stays.
    pub(crate) fn add(&mut self, partitions: Vec<i32>) {
        self.partitions.extend(partitions);
    }

    /// Which they are.
    pub(crate) fn partitions(&self) -> &[i32] {
        &self.partitions
    }

    /// Whether the group has waited long enough.
    pub(crate) fn is_overdue(&self, now: Instant) -> bool {
        now >= self.deadline
    }
}
