//! Waits for a condition, with a deadline.

use std::time::{Duration, Instant};

/// The deadline of a wait. Much longer than any wait takes on two busy cores.
pub const PATIENCE: Duration = Duration::from_secs(60);
const PAUSE: Duration = Duration::from_millis(20);

/// Calls `check` until it returns a value.
///
/// # Panics
/// After [`PATIENCE`], with `what` as the awaited condition.
pub fn until<T>(what: &str, check: impl FnMut() -> Option<T>) -> T {
    until_within(PATIENCE, what, check)
}

/// Like [`until`], with a longer deadline.
///
/// # Panics
/// After `patience`.
pub fn until_within<T>(patience: Duration, what: &str, mut check: impl FnMut() -> Option<T>) -> T {
    let began = Instant::now();
    loop {
        if let Some(answer) = check() {
            return answer;
        }
        assert!(
            began.elapsed() < patience,
            "the condition did not hold within {patience:?}: {what}"
        );
        std::thread::sleep(PAUSE);
    }
}
