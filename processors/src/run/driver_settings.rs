//! The driver's settings: bounds of memory and time.

use std::time::Duration;

use records::flow::linger::Linger;

/// The settings.
#[derive(Debug, Clone, Copy)]
pub struct DriverSettings {
    /// What a batch may hold, and how long it waits to be filled.
    pub linger: Linger,
    /// Maximum of blocks that are encoded concurrently.
    pub blocks_max: usize,
    /// Maximum of batches that are stored concurrently; one more is filled meanwhile.
    pub batches_max: usize,
    /// How long a stop may take to finish what was read.
    pub drain_timeout: Duration,
    /// How long the release of a revoked partition may take.
    pub release_timeout: Duration,
}
