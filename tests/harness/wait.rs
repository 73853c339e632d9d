//! Waiting for a condition, with an end.

use std::time::{Duration, Instant};

/// How long anything may take before its test fails. Far above what it takes on two busy cores.
pub const PATIENCE: Duration = Duration::from_secs(60);
const PAUSE: Duration = Duration::from_millis(20);

/// Checks until there is an answer.
///
/// # Panics
/// After [`PATIENCE`], with `what` was waited for.
pub fn until<T>(what: &str, check: impl FnMut() -> Option<T>) -> T {
    until_within(PATIENCE, what, check)
}

/// As [`until`], for what may take longer.
///
/// # Panics
/// After `patience`.
pub fn until_within<T>(patience: Duration, what: &str, mut check: impl FnMut() -> Option<T>) -> T {
    let began = Instant::now();
    loop {
        if let Some(answer) = check() {
            return answer;
        }
        assert!(began.elapsed() < patience, "waited {patience:?} in vain: {what}");
        std::thread::sleep(PAUSE);
    }
}
