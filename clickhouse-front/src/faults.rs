//! Injected faults: answers to inserts that are lost after they were applied, requests that are
//! refused or delayed. Each is injected a given number of times.

use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::time::Duration;

/// The path of requests that set faults.
pub const PATH: &str = "/stack/fault";

/// The faults still to inject, and a count of those injected.
#[derive(Debug, Default)]
pub(crate) struct Faults {
    lose: AtomicU32,
    refuse: AtomicU32,
    delay: AtomicU32,
    delay_ms: AtomicU64,
    injected: AtomicU32,
}

/// The connection is closed by a fault.
#[derive(Debug, thiserror::Error)]
#[error("an injected fault")]
pub(crate) struct InjectedFault;

/// Marks the answer to an insert that was applied.
#[derive(Debug, Clone, Copy)]
pub(crate) struct AppliedInsert;

impl Faults {
    /// Sets faults from a query string such as `lose=2&refuse=0`; the others are unchanged. Returns
    /// the number of requests with an injected fault so far.
    pub(crate) fn set(&self, query: &str) -> u32 {
        for (name, value) in query.split('&').filter_map(|pair| pair.split_once('=')) {
            let Ok(value) = value.parse::<u32>() else { continue };
            match name {
                "lose" => self.lose.store(value, Ordering::SeqCst),
                "refuse" => self.refuse.store(value, Ordering::SeqCst),
                "delay" => self.delay.store(value, Ordering::SeqCst),
                "ms" => self.delay_ms.store(value.into(), Ordering::SeqCst),
                _ => {}
            }
        }
        self.injected.load(Ordering::SeqCst)
    }

    fn take(&self, left: &AtomicU32) -> bool {
        let one = |left: u32| left.checked_sub(1);
        let took = left.fetch_update(Ordering::SeqCst, Ordering::SeqCst, one).is_ok();
        if took {
            self.injected.fetch_add(1, Ordering::SeqCst);
        }
        took
    }

    /// Refuses or delays a request before it is read.
    ///
    /// # Errors
    /// [`InjectedFault`] for one that is refused.
    pub(crate) async fn before_request(&self) -> Result<(), InjectedFault> {
        if self.take(&self.refuse) {
            return Err(InjectedFault);
        }
        if self.take(&self.delay) {
            tokio::time::sleep(Duration::from_millis(self.delay_ms.load(Ordering::SeqCst))).await;
        }
        Ok(())
    }

    /// Loses the answer to an insert that was applied.
    ///
    /// # Errors
    /// [`InjectedFault`] for one that is lost.
    pub(crate) fn before_answer(&self) -> Result<(), InjectedFault> {
        if self.take(&self.lose) { Err(InjectedFault) } else { Ok(()) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fault_is_injected_as_often_as_it_was_set() {
        let faults = Faults::default();
        assert!(faults.before_answer().is_ok());
        assert_eq!(faults.set("lose=2&x=1&refuse=a"), 0);
        assert!(
            faults.before_answer().is_err()
                && faults.before_answer().is_err()
                && faults.before_answer().is_ok()
        );
        assert_eq!(faults.set(""), 2);
        faults.set("lose=5");
        faults.set("lose=0");
        assert!(faults.before_answer().is_ok());
    }
}
