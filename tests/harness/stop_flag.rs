//! A flag that ends the threads of a test, also when the test fails.

use std::sync::atomic::{AtomicBool, Ordering};

/// The flag. Without its guard, a failed assertion would wait without end for the threads of its scope.
#[derive(Debug, Default)]
pub struct StopFlag(AtomicBool);

/// Sets its flag when it is dropped.
#[derive(Debug)]
#[must_use]
pub struct StopGuard<'a>(&'a StopFlag);

impl StopFlag {
    /// Whether the threads have to end.
    pub fn is_set(&self) -> bool {
        self.0.load(Ordering::SeqCst)
    }

    /// What sets the flag at the end of its scope, or when it is dropped before. Take it inside the scope of the
    /// threads.
    pub fn guard(&self) -> StopGuard<'_> {
        StopGuard(self)
    }
}

impl Drop for StopGuard<'_> {
    fn drop(&mut self) {
        self.0.0.store(true, Ordering::SeqCst);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_panic_inside_the_scope_ends_its_threads() {
        let stop = StopFlag::default();
        let failed = std::panic::catch_unwind(|| {
            std::thread::scope(|scope| {
                scope.spawn(|| {
                    while !stop.is_set() {
                        std::thread::yield_now();
                    }
                });
                let _guard = stop.guard();
                assert!(stop.is_set(), "an assertion that fails");
            });
        });
        assert!(failed.is_err() && stop.is_set());
    }
}
