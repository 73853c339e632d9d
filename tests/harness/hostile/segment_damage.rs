//! Damage of a segment of an outbox: bits turned, and an end that is cut off. Pure.

use crate::seeded_random::SeededRandom;

/// What was done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct SegmentDamage {
    /// Bits that were turned.
    pub flips: u64,
    /// Whether the end was cut off.
    pub is_cut: bool,
}

impl SegmentDamage {
    /// Does some to a segment that is not empty.
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
