//! What an outbox's folder holds at the start, after the last process ended or crashed.
//!
//! Clicks that are damaged keep their sequence numbers: the reader finds them missing, and they are
//! counted as lost when delivery passes them. No file that may hold a click is removed before.

use std::collections::VecDeque;
use std::fs::File;
use std::io;
use std::path::Path;

use crate::outbox::dropped_segments::DroppedSegments;
use crate::outbox::frame_scanner::{self, Content, FrameScanner};
use crate::outbox::outbox_settings::SyncPolicy;
use crate::outbox::outbox_state::{DiskState, Segment};
use crate::outbox::salvage;
use crate::outbox::segment::{self, CLICKS_MAX, HEADER};
use crate::outbox::segment_file::SegmentFile;

/// What an outbox held when it was opened.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Recovered {
    /// Clicks that are still to be delivered, or to be counted as lost.
    pub clicks: u64,
    /// Bytes of a partial write at the end; its click was never counted as stored.
    pub torn_bytes: u64,
    /// Damaged segments that are kept for the operator.
    pub damaged_segments: u64,
}

/// Removes delivered and dropped segments, keeps damaged ones, and returns what is left, with the
/// bytes of the partial write at the end.
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
    let mut torn_bytes = remove_foreign(folder, &mut firsts)?;
    // A mark that is lost must not let numbers be used again that are listed as dropped.
    let (mut segments, mut written) = (VecDeque::new(), delivered.max(dropped.end()));
    for (index, first) in firsts.iter().copied().enumerate() {
        let path = segment::path(folder, first);
        let content = match firsts.get(index + 1) {
            Some(next) => {
                let bytes = std::fs::metadata(&path)?.len();
                Content { clicks: next - first, bytes, ..Content::default() }
            }
            None => frame_scanner::scan(folder, first)?.unwrap_or_default(),
        };
        let end = first + content.clicks;
        written = written.max(end);
        torn_bytes += content.torn_bytes;
        if content.is_damaged {
            segment::keep_damaged(folder, first)?;
        }
        if end <= delivered.max(first) {
            std::fs::remove_file(&path)?;
            continue;
        }
        // A process that was killed may not have synced them.
        if sync != SyncPolicy::Os {
            File::open(&path)?.sync_data()?;
        }
        segments.push_back(Segment { first, bytes: content.bytes });
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

/// Removes the names of files in which not one click of a segment is found, and keeps those files that
/// are not blank. One in whose place a segment must have been stays: its clicks are lost and counted.
/// Returns the bytes of those that were blank.
fn remove_foreign(folder: &Path, firsts: &mut Vec<u64>) -> io::Result<u64> {
    let mut blank_bytes = 0;
    // From the end: behind each, all are segments.
    for index in (0..firsts.len()).rev() {
        let first = firsts[index];
        if FrameScanner::open(folder, first)?.is_some() {
            continue;
        }
        let had_clicks = firsts.get(index + 1).is_some_and(|next| next - first <= CLICKS_MAX);
        if had_clicks && !is_within_another(folder, &firsts[..index], first)? {
            continue;
        }
        let path = segment::path(folder, first);
        let file = SegmentFile::open(&path)?;
        let bytes = file.bytes()?;
        if bytes <= HEADER || salvage::is_blank(&file, 0)? {
            blank_bytes += bytes;
        } else {
            segment::keep_damaged(folder, first)?;
        }
        std::fs::remove_file(&path)?;
        firsts.remove(index);
    }
    Ok(blank_bytes)
}

/// Whether the last of the segments `before` holds the click `number`.
fn is_within_another(folder: &Path, before: &[u64], number: u64) -> io::Result<bool> {
    let Some(first) = before.last().copied() else { return Ok(false) };
    let content = frame_scanner::scan(folder, first)?.unwrap_or_default();
    Ok(first + content.clicks > number)
}
