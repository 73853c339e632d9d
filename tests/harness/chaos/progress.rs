//! The progress of the run: the number of faults decides how much the generator may write.

use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::time::{Duration, Instant};

use super::budget::Budget;

/// Clicks per step after the last fault.
const BURST: u64 = 20_000;
/// The time in which the generator writes the clicks of one fault.
const SPREAD_MS: u64 = 4_000;

/// Ends the run for all threads when it is dropped, also by a panic.
#[derive(Debug)]
pub(super) struct Over<'p>(&'p Progress);

impl Drop for Over<'_> {
    fn drop(&mut self) {
        self.0.end();
    }
}

/// Shared by all threads of the run.
#[derive(Debug)]
pub(super) struct Progress {
    budget: Budget,
    ends: Instant,
    observed: AtomicU32,
    /// Injected faults, observed or not. The amount to write depends on these: a fault without work in
    /// flight must not take the work from the next one.
    tried: AtomicU32,
    /// The faults are over; the generator may write all remaining clicks.
    calm: AtomicBool,
    /// All threads must stop at once.
    over: AtomicBool,
}

impl Progress {
    pub(super) fn new(budget: Budget) -> Self {
        Self {
            ends: Instant::now() + Duration::from_secs(budget.seconds),
            budget,
            observed: AtomicU32::new(0),
            tried: AtomicU32::new(0),
            calm: AtomicBool::new(false),
            over: AtomicBool::new(false),
        }
    }

    /// Whether the time for faults has run out.
    pub(super) fn late(&self) -> bool {
        Instant::now() >= self.ends
    }

    /// Counts a fault; returns how many were observed.
    pub(super) fn came(&self, observed: bool) -> u32 {
        self.tried.fetch_add(1, Ordering::SeqCst);
        self.observed.fetch_add(u32::from(observed), Ordering::SeqCst) + u32::from(observed)
    }

    /// Faults observed so far.
    pub(super) fn observed(&self) -> u32 {
        self.observed.load(Ordering::SeqCst)
    }

    /// Ends the faults.
    pub(super) fn calm(&self) {
        self.calm.store(true, Ordering::SeqCst);
    }

    /// Whether all threads must stop.
    pub(super) fn is_over(&self) -> bool {
        self.over.load(Ordering::SeqCst)
    }

    /// Stops all threads when the returned value is dropped.
    pub(super) fn over_at_the_end(&self) -> Over<'_> {
        Over(self)
    }

    /// Stops all threads.
    pub(super) fn end(&self) {
        self.over.store(true, Ordering::SeqCst);
    }

    /// Clicks to write in this twentieth of a second after `minted` of them; none after all of them, or
    /// when the time is over: events that were not created are not expected. During the faults there may
    /// be more clicks than CLICKS, so that each fault finds work in flight.
    pub(super) fn due(&self, minted: u64) -> Option<u64> {
        let clicks = self.budget.clicks;
        let calm = self.calm.load(Ordering::SeqCst);
        if self.is_over() || (calm && (minted >= clicks || self.late())) {
            return None;
        }
        let faults = u64::from(self.budget.faults.max(1));
        let allowed = match calm {
            true => clicks,
            false => clicks * (u64::from(self.tried.load(Ordering::SeqCst)) + 3) / faults,
        };
        let pace = if calm { BURST } else { (clicks / faults * 50 / SPREAD_MS).max(10) };
        Some(pace.min(allowed.saturating_sub(minted)))
    }
}
