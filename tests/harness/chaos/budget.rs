//! What a run may use, and how it reports.

use super::fault_kind::FaultKind;

/// Partitions of the log.
pub(super) const PARTITIONS: i32 = 3;

/// Takes reports of the run, a line at a time.
pub type LineReporter<'r> = &'r (dyn Fn(&str) + Sync);

/// What a run may use.
#[derive(Debug, Clone, Copy)]
pub struct Budget {
    /// Decides what is written and what breaks.
    pub seed: u64,
    /// Faults to be observed.
    pub faults: u32,
    /// Clicks to be written.
    pub clicks: u64,
    /// Seconds after which no fault begins.
    pub seconds: u64,
    /// This fault alone, where one is named.
    pub only: Option<FaultKind>,
    /// How long the processors may take to reach the log's end when nothing fails any more.
    pub settle_seconds: u64,
}

/// The time of day, by which a line of the logs is found.
pub(super) fn clock() -> String {
    jiff::Timestamp::now().strftime("%H:%M:%S").to_string()
}
