//! The parts of a batch: the rows that each shard owns.
//!
//! Pure, `std` only: the model compiles this file, too. A batch is durable when every shard has
//! acknowledged its part.

/// The parts of one batch that are not acknowledged yet.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash)]
pub struct BatchParts {
    /// The shard of each.
    unacknowledged: Vec<usize>,
}

impl BatchParts {
    /// The parts of a batch, by the shards that own a row of it.
    pub fn new(shards: impl IntoIterator<Item = usize>) -> Self {
        let unacknowledged: Vec<_> = shards.into_iter().collect();
        Self { unacknowledged }
    }

    /// The shards to which a part is still to be sent.
    pub fn shards(&self) -> impl Iterator<Item = usize> + '_ {
        self.unacknowledged.iter().copied()
    }

    /// A shard has made its part durable.
    pub fn acknowledge(&mut self, shard: usize) {
        self.unacknowledged.retain(|own| *own != shard);
    }

    /// Whether every row of the batch is durable.
    pub fn is_durable(&self) -> bool {
        self.unacknowledged.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_batch_is_durable_when_each_shard_has_acknowledged_its_part() {
        let mut parts = BatchParts::new([0, 2]);
        parts.acknowledge(2);
        parts.acknowledge(2);
        assert!(!parts.is_durable() && parts.shards().eq([0]));
        parts.acknowledge(0);
        assert!(parts.is_durable());
        assert!(BatchParts::default().is_durable(), "a batch without rows has no part");
    }
}
