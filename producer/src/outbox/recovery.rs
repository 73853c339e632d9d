//! What an outbox's folder holds at the start, after the last process ended or crashed.

use std::collections::VecDeque;
use std::fs::File;
use std::io;
use std::path::Path;

use crate::outbox::dropped_segments::DroppedSegments;
use crate::outbox::outbox_settings::SyncPolicy;
use crate::outbox::outbox_state::{DiskState, Segment};
use crate::outbox::segment;

/// What an outbox held when it was opened.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Recovered {
    /// Clicks that are still to be delivered.
    pub clicks: u64,
    /// Bytes of a partial write at the end; its click was never counted as stored.
    pub torn_bytes: u64,
}

/// Removes delivered and dropped segments and a partial write at the end, and returns what is left,
/// with the bytes of the partial write.
pub(super) fn recover(
    folder: &Path,
    delivered: u64,
    sync: SyncPolicy,
) -> io::Result<(DiskState, u64)> {
    let dropped = DroppedSegments::read(folder)?;
    let mut firsts = segment::list(folder)?;
    for dropped_segment in firsts.extract_if(.., |first| dropped.from(*first).is_some()) {
        std::fs::remove_file(segment::path(folder, dropped_segment))?;
    }
    let (mut segments, mut torn_bytes, mut written) = (VecDeque::new(), 0, delivered);
    for (index, first) in firsts.iter().copied().enumerate() {
        let path = segment::path(folder, first);
        let (end, bytes) = match firsts.get(index + 1) {
            Some(next) => (*next, std::fs::metadata(&path)?.len()),
            None => {
                let content = segment::scan(folder, first)?;
                torn_bytes = content.bytes - content.end;
                if torn_bytes > 0 && content.clicks > 0 {
                    File::options().write(true).open(&path)?.set_len(content.end)?;
                }
                (first + content.clicks, content.end)
            }
        };
        written = written.max(end);
        if end <= delivered.max(first) {
            std::fs::remove_file(&path)?;
            continue;
        }
        // A process that was killed may not have synced them.
        if sync != SyncPolicy::Os {
            File::open(&path)?.sync_data()?;
        }
        segments.push_back(Segment { first, bytes });
    }
    if sync != SyncPolicy::Os {
        File::open(folder)?.sync_all()?;
    }
    // Clicks of segments that an operator removed do not count as waiting.
    let first = segments.front().map_or(written, |segment| segment.first);
    let disk = DiskState {
        segments,
        written,
        synced: written,
        delivered: delivered.max(first),
        begun: None,
        dropped,
        settled: 0,
        lost: 0..0,
        lost_before: 0,
        sync_failures: 0,
        #[cfg(test)]
        synced_lengths: Vec::new(),
        dirty: Vec::new(),
        named: false,
        closed: false,
    };
    Ok((disk, torn_bytes))
}
