//! Conversions of numbers that fit by construction, with the assertion that they do.

use std::time::Duration;

/// A count for a gauge, which has a sign.
///
/// # Panics
/// The count is 2^63 or more, which no memory and no disk holds.
#[expect(clippy::expect_used, reason = "an internal invariant")]
pub fn gauge<N>(count: N) -> i64
where
    N: TryInto<i64>,
    N::Error: std::fmt::Debug,
{
    count.try_into().expect("a count is below 2^63")
}

/// Whole milliseconds.
///
/// # Panics
/// The duration is longer than 500 million years.
#[expect(clippy::expect_used, reason = "an internal invariant")]
pub fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).expect("a duration of this process fits 64 bits")
}
