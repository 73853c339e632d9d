//! The driver's settings: how much it may hold, and how long it waits.

use std::time::Duration;

use crate::flow::linger::Linger;

/// Bounds of memory and time.
#[derive(Debug, Clone, Copy)]
pub struct DriverSettings {
    /// What a batch may hold, and how long it waits to be filled.
    pub linger: Linger,
    /// Blocks that are encoded at once.
    pub blocks_max: usize,
    /// Batches that are stored at once; one more is filled meanwhile.
    pub batches_max: usize,
    /// How long a stop may take to finish what was read.
    pub drain_timeout: Duration,
    /// How long the group may have to wait for a partition that it revokes.
    pub release_timeout: Duration,
}
