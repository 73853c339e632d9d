//! Faults on command at the front itself: answers to inserts that are lost after they were
//! applied, requests that are refused or delayed. Each is so many times and then over.

use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::time::Duration;

/// The path under which the front is told.
pub const PATH: &str = "/stack/fault";

/// What is still to go wrong, and what has.
#[derive(Debug, Default)]
pub(crate) struct Faults {
    lose: AtomicU32,
    refuse: AtomicU32,
    delay: AtomicU32,
    delay_ms: AtomicU64,
    met: AtomicU32,
}

/// The connection is cut, on command.
#[derive(Debug, thiserror::Error)]
#[error("a fault that was asked for")]
pub(crate) struct Cut;

/// Marks the answer to an insert that was applied.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Applied;

impl Faults {
    /// Takes `lose=2&refuse=0` and the like; what is not named stays as it is. Returns how
    /// many requests have met a fault so far.
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
        self.met.load(Ordering::SeqCst)
    }

    fn take(&self, left: &AtomicU32) -> bool {
        let one = |left: u32| left.checked_sub(1);
        let took = left.fetch_update(Ordering::SeqCst, Ordering::SeqCst, one).is_ok();
        if took {
            self.met.fetch_add(1, Ordering::SeqCst);
        }
        took
    }

    /// What a request meets before it is looked at.
    ///
    /// # Errors
    /// [`Cut`] for one that is refused.
    pub(crate) async fn meet(&self) -> Result<(), Cut> {
        if self.take(&self.refuse) {
            return Err(Cut);
        }
        if self.take(&self.delay) {
            tokio::time::sleep(Duration::from_millis(self.delay_ms.load(Ordering::SeqCst))).await;
        }
        Ok(())
    }

    /// What the answer to an insert that was applied meets.
    ///
    /// # Errors
    /// [`Cut`] for one that is lost.
    pub(crate) fn answer(&self) -> Result<(), Cut> {
        if self.take(&self.lose) { Err(Cut) } else { Ok(()) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fault_is_met_as_often_as_it_was_asked_for() {
        let faults = Faults::default();
        assert!(faults.answer().is_ok());
        assert_eq!(faults.set("lose=2&x=1&refuse=a"), 0);
        assert!(faults.answer().is_err() && faults.answer().is_err() && faults.answer().is_ok());
        assert_eq!(faults.set(""), 2);
        faults.set("lose=5");
        faults.set("lose=0");
        assert!(faults.answer().is_ok());
    }
}
