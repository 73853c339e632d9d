//! Limits and policies of an outbox.

use std::time::Duration;

const SEGMENT_BYTES_MIN: u64 = 64 * 1024;
const SEGMENT_BYTES_MAX: u64 = 64 << 20;
/// Fewest segments of a full outbox: delivered clicks are removed a segment at a time.
const SEGMENTS: u64 = 16;
/// Fewest bytes that an outbox may have.
pub const BYTES_MIN: u64 = SEGMENTS * SEGMENT_BYTES_MIN;

/// When the outbox syncs written clicks, so that they survive a power loss.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum SyncPolicy {
    /// Each group, before the outbox writes the next one
    Always,
    /// Periodically, while the outbox goes on writing
    Group,
    /// Never: the operating system writes clicks to the disk when it decides to
    Os,
}

/// Which clicks are lost when the outbox is full.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum DropPolicy {
    /// New clicks; the clicks in the outbox stay
    Newest,
    /// The oldest clicks that are not in flight, one segment (at most 64 MiB) at a time
    Oldest,
}

/// Limits of the clicks in memory that wait to be written.
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
    /// Limits of the clicks in memory.
    pub queue: QueueLimits,
    /// Which clicks are lost when the outbox is full.
    pub drop_policy: DropPolicy,
    /// When written clicks are synced.
    pub sync: SyncPolicy,
    /// Time between two syncs with [`SyncPolicy::Group`].
    pub sync_every: Duration,
    /// Size from which on a segment receives no further click.
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

    /// Most bytes that damaged files count as: the other half of the outbox is for clicks.
    pub fn damaged_bytes_max(&self) -> u64 {
        self.bytes / 2
    }
}
