#![expect(clippy::disallowed_methods, reason = "the clock is read here")]
//! The current time, as clicks and links record it.

use std::time::{Duration, SystemTime};

use service::number::{gauge, millis};

/// Microseconds since 1970, UTC; 0 where the system's clock stands before that.
pub fn now() -> i64 {
    gauge(since_1970().as_micros())
}

/// Milliseconds since 1970, UTC, of the same clock.
pub fn now_ms() -> u64 {
    millis(since_1970())
}

fn since_1970() -> Duration {
    // The clock of a host that starts without the right time may be before 1970.
    SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default()
}
