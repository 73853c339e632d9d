//! Which shards have which batches: counts the batches that were durable on some shards only when their member ended.

use std::collections::BTreeMap;

use super::broker_state::MemberId;

/// A batch: its member, and the text of its offsets.
pub(super) type BatchKey = (MemberId, String);

/// The shards of each batch to which a part was sent, and whether the part is stored.
#[derive(Debug, Default)]
pub(super) struct BatchShards(BTreeMap<BatchKey, BTreeMap<usize, bool>>);

impl BatchShards {
    /// A part is sent to a shard, perhaps once more.
    pub(super) fn sent(&mut self, batch: &BatchKey, shard: usize) {
        self.0.entry(batch.clone()).or_default().entry(shard).or_default();
    }

    /// A shard has stored a part.
    pub(super) fn stored(&mut self, batch: &BatchKey, shard: usize) {
        // A member that has ended has no batches.
        if let Some(shards) = self.0.get_mut(batch) {
            shards.insert(shard, true);
        }
    }

    /// A member ends; returns how many of its batches are stored on some shards only.
    pub(super) fn ended(&mut self, id: MemberId) -> u64 {
        let own = self.0.extract_if(.., |(member, _), _| *member == id);
        let is_partial = |shards: &BTreeMap<usize, bool>| {
            shards.values().any(|stored| *stored) && !shards.values().all(|stored| *stored)
        };
        own.filter(|(_, shards)| is_partial(shards)).count() as u64
    }
}
