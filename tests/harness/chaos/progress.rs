//! How far the run has come: what the faults have done sets how much the generator may write.

use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::time::{Duration, Instant};

use super::budget::Budget;

/// Written at once when the faults are over and clicks are left.
const BURST: u64 = 20_000;
/// So long before the clicks that a fault has been given run out.
const SPREAD_MS: u64 = 4_000;

/// Ends the run for everyone when it is dropped, also by a panic.
#[derive(Debug)]
pub(super) struct Over<'p>(&'p Progress);

impl Drop for Over<'_> {
    fn drop(&mut self) {
        self.0.end();
    }
}

/// Shared by everyone in the run.
#[derive(Debug)]
pub(super) struct Progress {
    budget: Budget,
    ends: Instant,
    observed: AtomicU32,
    /// Faults that came, observed or not. What may be written goes by these: a fault that found
    /// nothing under way must not keep the next from finding something.
    tried: AtomicU32,
    /// No more faults come; the clicks that are left may all go out.
    calm: AtomicBool,
    /// Everyone is to stop at once.
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

    /// From now on there are no more faults.
    pub(super) fn calm(&self) {
        self.calm.store(true, Ordering::SeqCst);
    }

    /// Whether everyone is to stop.
    pub(super) fn is_over(&self) -> bool {
        self.over.load(Ordering::SeqCst)
    }

    /// Everyone stops when the returned value is dropped.
    pub(super) fn over_at_the_end(&self) -> Over<'_> {
        Over(self)
    }

    /// Everyone stops.
    pub(super) fn end(&self) {
        self.over.store(true, Ordering::SeqCst);
    }

    /// Clicks to be written in this twentieth of a second when `minted` are out; none when all
    /// are, or when the time is over: what was not minted is no part of the expected set. While
    /// faults come there may be more than were wanted, so that each finds something to hit.
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
