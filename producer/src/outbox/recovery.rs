//! The recovery of an outbox at the start, after the last process ended or crashed.
//!
//! Damaged clicks keep their sequence numbers: the reader finds them missing, and the relay counts them as
//! lost when delivery passes them. The same holds for clicks of missing segments between the delivered
//! mark and the last segment. [`SyncPolicy::Os`] does not sync the mark: there it holds only after the
//! first segment that is left. No file that may hold a click is removed before.

use std::collections::{BTreeMap, VecDeque};
use std::fs::File;
use std::io;
use std::path::Path;

use crate::outbox::damaged_segment::{self, DamagedFile, FileId, SecondName};
use crate::outbox::dropped_segments::DroppedSegments;
use crate::outbox::frame_scanner::{self, Content, FrameScanner};
use crate::outbox::outbox_settings::SyncPolicy;
use crate::outbox::outbox_state::{DiskState, Segment};
use crate::outbox::salvage;
use crate::outbox::segment::{self, CLICKS_MAX, Fingerprint, HEADER};
use crate::outbox::segment_file::SegmentFile;

/// The content of an outbox when it was opened.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Recovered {
    /// Clicks that are still to be delivered, or to be counted as lost.
    pub clicks: u64,
    /// Bytes of a partial write at the end, whose click was never counted as stored.
    pub torn_bytes: u64,
    /// Damaged segments that are kept for the operator.
    pub damaged_segments: u64,
}

/// A recovered folder.
#[derive(Debug)]
pub(super) struct RecoveredFolder {
    /// The state of the disk.
    pub(super) disk: DiskState,
    /// Bytes of a partial write at the end.
    pub(super) torn_bytes: u64,
    /// Damaged segments that are kept.
    pub(super) damaged_segments: u64,
    /// Bytes of damaged files that are no longer segments.
    pub(super) damaged_bytes: u64,
}

/// Removes delivered and dropped segments, and keeps damaged ones. `known` are the schemas of the folder,
/// and `delivered` is the mark, if it is known.
pub(super) fn recover(
    folder: &Path,
    known: &[Fingerprint],
    delivered: Option<u64>,
    sync: SyncPolicy,
) -> io::Result<RecoveredFolder> {
    let dropped = DroppedSegments::read(folder)?;
    let mut firsts = segment::list(folder)?;
    let unreadable = Content { is_damaged: true, ..Content::default() };
    let read = |first| frame_scanner::scan(folder, first, known).map(|it| it.unwrap_or(unreadable));
    for dropped_segment in firsts.extract_if(.., |first| dropped.from(*first).is_some()) {
        // Its clicks are counted already: the start does not fail if it cannot be read.
        let content = read(dropped_segment).unwrap_or(unreadable);
        remove_or_keep(folder, dropped_segment, content)?;
    }
    let mut torn_bytes = remove_foreign(folder, known, &mut firsts)?;
    let mark = delivered.unwrap_or(0);
    // Without the mark, the numbers of the list of dropped clicks must not be used again.
    let (mut segments, mut written) = (VecDeque::new(), mark.max(dropped.end()));
    let mut damaged = BTreeMap::new();
    for (index, first) in firsts.iter().copied().enumerate() {
        let path = segment::path(folder, first);
        let content = match firsts.get(index + 1) {
            Some(next) if *next > mark => {
                let bytes = std::fs::metadata(&path)?.len();
                Content { clicks: next - first, bytes, ..Content::default() }
            }
            // A crash has left this segment: its damage may not be known yet.
            Some(next) => Content { clicks: next - first, torn_bytes: 0, ..read(first)? },
            None => read(first)?,
        };
        let end = first + content.clicks;
        written = written.max(end);
        torn_bytes += content.torn_bytes;
        if end <= mark.max(first) {
            remove_or_keep(folder, first, content)?;
            continue;
        }
        if content.is_damaged {
            damaged.extend(damaged_segment::keep(folder, first).map(|name| (first, name)));
        }
        // The last process may have been killed before it synced the segment.
        if sync != SyncPolicy::Os {
            File::open(&path)?.sync_data()?;
        }
        segments.push_back(Segment { first, bytes: content.bytes });
    }
    if sync != SyncPolicy::Os {
        File::open(folder)?.sync_all()?;
    }
    let files = damaged_segment::list(folder)?;
    let of_segments = own_files(folder, &segments, &files, &mut damaged)?;
    let due = damaged.values().filter(|name| **name == SecondName::Due).count();
    // Without a mark, or with one that was not synced, it is unknown whether earlier clicks are
    // delivered.
    let first = segments.front().map_or(written, |segment| segment.first);
    let is_known = delivered.filter(|_| sync != SyncPolicy::Os);
    let delivered = is_known.unwrap_or(first.max(mark));
    let disk = DiskState {
        segments,
        written,
        synced: written,
        delivered,
        unread: 0,
        wake_at: None,
        begun: None,
        dropped,
        damaged,
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
    let bytes = files.iter().filter(|file| !of_segments.contains(&file.id)).map(|file| file.bytes);
    let (damaged_segments, damaged_bytes) = ((files.len() + due) as u64, bytes.sum());
    Ok(RecoveredFolder { disk, torn_bytes, damaged_segments, damaged_bytes })
}

/// Removes a segment that is no longer needed; the file of a damaged one stays under a second name.
fn remove_or_keep(folder: &Path, first: u64, content: Content) -> io::Result<()> {
    if content.is_damaged {
        damaged_segment::set_aside(folder, first)
    } else {
        std::fs::remove_file(segment::path(folder, first))
    }
}

/// Notes the segments to which an earlier process gave a second name, and returns their files.
fn own_files(
    folder: &Path,
    segments: &VecDeque<Segment>,
    files: &[DamagedFile],
    damaged: &mut BTreeMap<u64, SecondName>,
) -> io::Result<Vec<FileId>> {
    let mut own = Vec::new();
    if files.is_empty() {
        return Ok(own);
    }
    for Segment { first, .. } in segments {
        let id = FileId::of(&std::fs::metadata(segment::path(folder, *first))?);
        if files.iter().any(|file| file.id == id) {
            damaged.insert(*first, SecondName::Given);
            own.push(id);
        }
    }
    Ok(own)
}

/// Removes files in which no click of a segment is found, and keeps those that are not blank under a
/// second name. A file stays where a segment must have been: its clicks are counted as lost. Returns the
/// bytes of the blank files.
fn remove_foreign(folder: &Path, known: &[Fingerprint], firsts: &mut Vec<u64>) -> io::Result<u64> {
    let mut blank_bytes = 0;
    // From the end: all files after each one are segments.
    for index in (0..firsts.len()).rev() {
        let first = firsts[index];
        if FrameScanner::open(folder, first, known)?.is_some() {
            continue;
        }
        let had_clicks = firsts.get(index + 1).is_some_and(|next| next - first <= CLICKS_MAX);
        if had_clicks && !is_within_another(folder, known, &firsts[..index], first)? {
            continue;
        }
        let path = segment::path(folder, first);
        let file = SegmentFile::open(&path)?;
        let bytes = file.bytes()?;
        if bytes <= HEADER || salvage::is_blank(&file, 0)? {
            blank_bytes += bytes;
            std::fs::remove_file(&path)?;
        } else {
            damaged_segment::set_aside(folder, first)?;
        }
        firsts.remove(index);
    }
    Ok(blank_bytes)
}

/// Whether the last of the segments `before` holds the click `number`.
fn is_within_another(
    folder: &Path,
    known: &[Fingerprint],
    before: &[u64],
    number: u64,
) -> io::Result<bool> {
    let Some(first) = before.last().copied() else { return Ok(false) };
    let content = frame_scanner::scan(folder, first, known)?.unwrap_or_default();
    Ok(first + content.clicks > number)
}
