#![expect(clippy::disallowed_methods, reason = "the clock is read here")]
//! The current time, as clicks and links record it.

use std::time::{Duration, SystemTime};

use service::number::{gauge, millis};

/// Microseconds since 1970, UTC; 0 if the clock of the system is before 1970.
pub fn now() -> i64 {
    gauge(since_1970().as_micros())
}

/// Milliseconds since 1970, UTC, by the same clock.
pub fn now_ms() -> u64 {
    millis(since_1970())
}

fn since_1970() -> Duration {
    // A host without a battery-backed clock may start before 1970.
    SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default()
}
