//! Limits and policies of an outbox.

use std::time::Duration;

const SEGMENT_BYTES_MIN: u64 = 64 * 1024;
const SEGMENT_BYTES_MAX: u64 = 64 << 20;
/// Fewest segments of a full outbox: delivered clicks are removed a segment at a time.
const SEGMENTS: u64 = 16;
/// Fewest bytes that an outbox may have.
pub const BYTES_MIN: u64 = SEGMENTS * SEGMENT_BYTES_MIN;

/// When written clicks are made to survive a power loss.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum SyncPolicy {
    /// Each group, before the next is written.
    Always,
    /// Periodically, while the writing goes on.
    Group,
    /// When the operating system does.
    Os,
}

/// Which clicks are lost when the disk holds as many bytes as it may.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum DropPolicy {
    /// The clicks that are offered; those in the outbox stay.
    Newest,
    /// The clicks that wait longest and are not in flight, a segment at a time.
    Oldest,
}

/// Limits of the clicks that wait in memory to be written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct QueueLimits {
    /// Most clicks.
    pub clicks: u64,
    /// Most bytes.
    pub bytes: u64,
}

/// Limits and policies of one outbox.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct OutboxSettings {
    /// Most bytes on the disk, at least [`BYTES_MIN`].
    pub bytes: u64,
    /// Limits of what waits in memory.
    pub queue: QueueLimits,
    /// Which clicks are lost when it is full.
    pub drop_policy: DropPolicy,
    /// When written clicks are synced.
    pub sync: SyncPolicy,
    /// Time between two syncs, for [`SyncPolicy::Group`].
    pub sync_every: Duration,
    /// A segment with so many bytes or more gets no further click.
    pub segment_bytes: u64,
}

impl OutboxSettings {
    /// An outbox of at most `bytes` on the disk, at least [`BYTES_MIN`].
    pub fn new(bytes: u64, queue: QueueLimits) -> Self {
        debug_assert!(bytes >= BYTES_MIN, "an outbox has {BYTES_MIN} bytes or more");
        Self {
            bytes,
            queue,
            drop_policy: DropPolicy::Newest,
            sync: SyncPolicy::Group,
            sync_every: Duration::from_millis(100),
            segment_bytes: (bytes / SEGMENTS).clamp(SEGMENT_BYTES_MIN, SEGMENT_BYTES_MAX),
        }
    }

    /// Most bytes that damaged files count for: the other half is for clicks.
    pub fn damaged_bytes_max(&self) -> u64 {
        self.bytes / 2
    }
}
