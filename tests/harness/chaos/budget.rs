//! The bounds of a run, and its reporter.

use super::fault_kind::FaultKind;

/// Partitions of the log.
pub(super) const PARTITIONS: i32 = 3;

/// Receives the progress of a run, line by line.
pub type LineReporter<'r> = &'r (dyn Fn(&str) + Sync);

/// The bounds of a run.
#[derive(Debug, Clone, Copy)]
pub struct Budget {
    /// Decides the records and the faults.
    pub seed: u64,
    /// Faults to observe.
    pub faults: u32,
    /// Clicks to write.
    pub clicks: u64,
    /// Seconds after which no fault starts.
    pub seconds: u64,
    /// The only fault, if any.
    pub only: Option<FaultKind>,
    /// The longest time after the faults until the processors reach the end of the log.
    pub settle_seconds: u64,
}

/// The time of day, to find the lines in the logs.
pub(super) fn clock() -> String {
    jiff::Timestamp::now().strftime("%H:%M:%S").to_string()
}
