//! `cityHash64` of ClickHouse (CityHash 1.0.2) for the 16 bytes of an event id. Pure.

const MULTIPLIER: u64 = 0x9ddf_ea08_eb38_2d69;

/// The same number as `cityHash64` of a `FixedString(16)`.
pub(super) fn city_hash_64(bytes: [u8; 16]) -> u64 {
    let [low, high] = halves(bytes);
    let rotated = high.wrapping_add(16).rotate_right(16);
    mixed(low, rotated) ^ high
}

/// The halves, each as a little-endian number.
fn halves(bytes: [u8; 16]) -> [u64; 2] {
    let all = u128::from_le_bytes(bytes);
    #[expect(clippy::cast_possible_truncation, reason = "each half has 64 bits")]
    [all as u64, (all >> 64) as u64]
}

/// `Hash128to64` of CityHash.
fn mixed(low: u64, high: u64) -> u64 {
    let folded = |number: u64| number ^ (number >> 47);
    let first = folded((low ^ high).wrapping_mul(MULTIPLIER));
    folded((high ^ first).wrapping_mul(MULTIPLIER)).wrapping_mul(MULTIPLIER)
}
