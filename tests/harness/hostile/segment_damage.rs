//! Damage to a segment of an outbox: flipped bits and a truncated end. Pure.

use crate::seeded_random::SeededRandom;

/// The damage.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct SegmentDamage {
    /// The number of flipped bits.
    pub flips: u64,
    /// Whether the end was truncated.
    pub is_cut: bool,
}

impl SegmentDamage {
    /// Damages a segment that is not empty.
    pub(super) fn inflict(random: &mut SeededRandom, content: &mut Vec<u8>) -> Self {
        let is_cut = random.once_in(3);
        if is_cut {
            let length = content.len();
            content.truncate(length - random.index(length / 2 + 1));
        }
        let flips = if is_cut { random.between(0, 2) } else { random.between(1, 8) };
        for _ in 0..flips {
            let at = random.index(content.len());
            content[at] ^= 1 << random.index(8);
        }
        Self { flips, is_cut }
    }
}
