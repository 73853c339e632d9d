#![expect(clippy::disallowed_methods, reason = "what time it is, is read here")]
//! What time it is, as clicks and links note it.

use service::number::gauge;
use std::time::SystemTime;

/// Microseconds since 1970, UTC; 0 where the system's clock stands before that.
pub fn now() -> i64 {
    let elapsed = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    gauge(elapsed.as_micros())
}

/// Milliseconds since 1970, UTC, of the same clock.
pub fn now_ms() -> u64 {
    u64::try_from(now() / 1000).unwrap_or(0)
}
