//! Wakes one thread that waits for several events.

use std::sync::{Condvar, Mutex, PoisonError};
use std::time::Duration;

use crate::lock::lock;

/// Notified by many threads, waited on by one.
#[derive(Debug, Default)]
pub struct Wakeup {
    notified: Mutex<bool>,
    changed: Condvar,
}

impl Wakeup {
    /// Wakes the thread that waits, now or when it next does.
    pub fn notify(&self) {
        let mut notified = lock(&self.notified);
        if !std::mem::replace(&mut *notified, true) {
            self.changed.notify_one();
        }
    }

    /// Waits until it is notified, for at most `wait`.
    pub fn wait(&self, wait: Duration) {
        let waited =
            self.changed.wait_timeout_while(lock(&self.notified), wait, |notified| !*notified);
        let (mut notified, _) = waited.unwrap_or_else(PoisonError::into_inner);
        *notified = false;
    }
}
