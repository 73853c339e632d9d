//! The layout of the shards: which shard owns a click, as the key of a `Distributed` table decides it. Pure.

use crate::shards::city_hash::city_hash_64;

/// The weights of the shards, in their order. A shard owns as many slots as its weight, in the same order; the
/// slot of a click is `cityHash64(event_id)` modulo the number of slots.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ShardLayout {
    weights: Vec<u32>,
    /// The sum of the weights.
    slots: u64,
}

impl ShardLayout {
    /// A layout of shards with these weights.
    ///
    /// # Panics
    /// Without a shard, or with a weight of 0.
    pub fn new(weights: Vec<u32>) -> Self {
        assert!(!weights.is_empty(), "a layout has a shard");
        assert!(!weights.contains(&0), "each shard owns a slot");
        let slots = weights.iter().copied().map(u64::from).sum();
        Self { weights, slots }
    }

    /// The layout of one shard.
    pub fn single() -> Self {
        Self::new(vec![1])
    }

    /// Whether one shard owns every click.
    pub fn is_single(&self) -> bool {
        self.weights.len() == 1
    }

    /// The weights, in the order of the shards.
    pub fn weights(&self) -> &[u32] {
        &self.weights
    }

    /// The index of the shard that owns a click, from 0. With one shard it computes no hash.
    #[expect(clippy::expect_used, reason = "a slot is below the sum of the weights")]
    pub fn owner(&self, event_id: &[u8; 16]) -> usize {
        if self.is_single() {
            return 0;
        }
        let mut slot = city_hash_64(*event_id) % self.slots;
        let owns = |weight: &u32| match slot.checked_sub(u64::from(*weight)) {
            None => true,
            Some(rest) => {
                slot = rest;
                false
            }
        };
        self.weights.iter().position(owns).expect("a slot belongs to a shard")
    }

    /// The weights as `cluster_layout` stores them, such as `1,1,2`.
    pub fn text(&self) -> String {
        let weights: Vec<_> = self.weights.iter().map(u32::to_string).collect();
        weights.join(",")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use uuid::Uuid;

    #[test]
    fn one_shard_owns_every_click() {
        let layout = ShardLayout::new(vec![7]);
        assert!(layout.is_single());
        for id in 0..1_000 {
            assert_eq!(layout.owner(Uuid::from_u128(id).as_bytes()), 0);
        }
    }

    #[test]
    fn a_shard_owns_as_many_clicks_as_its_weight_asks_for() {
        let layout = ShardLayout::new(vec![1, 3, 2]);
        assert_eq!(layout.text(), "1,3,2");
        let mut owned = [0_u32; 3];
        let ids: u32 = 60_000;
        for id in 0..ids {
            owned[layout.owner(Uuid::from_u128(u128::from(id) << 40).as_bytes())] += 1;
        }
        for (owned, weight) in owned.iter().zip(layout.weights()) {
            let expected = ids / 6 * weight;
            assert!(owned.abs_diff(expected) < expected / 20, "{owned} of {expected}");
        }
    }
}
