//! Reads the ranges of a replay outside its group, as its workers process them.

use std::collections::BTreeMap;

use broker::{Brokers, ServerError, UnreadableBatch};
use records::error::RecordError;
use records::replay::log_range::LogRange;
use records::replay::occurred_window::OccurredWindow;
use schemas::RawClick;
use tokio_util::sync::CancellationToken;

use crate::audit::decoded_events::{ClickDecoder, position, read};
use crate::audit::entry::LogPosition;
use crate::kafka::log_reader::{LogItem, LogReader};

/// Where the ranges are.
#[derive(Debug, Clone, Copy)]
pub(crate) struct RangeSource<'a> {
    pub(crate) brokers: &'a Brokers,
    pub(crate) topic: &'a str,
    pub(crate) ranges: &'a BTreeMap<i32, Vec<LogRange>>,
    /// The clicks that are of the replay; `None`: all.
    pub(crate) occurred: Option<OccurredWindow>,
}

/// What the log still holds of the ranges.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct HeldRanges {
    /// By partition: the first offset of its ranges that the log holds.
    pub(crate) lows: BTreeMap<i32, i64>,
    /// Offsets of the ranges that retention has deleted.
    pub(crate) expired: u64,
}

/// Calls `take` with each record of the replay: its position, and its click or why it cannot become a row. A
/// batch that cannot be read counts as one record, because it has one dead letter. Returns `None` if `stop`
/// was cancelled before the end. Blocks.
///
/// # Errors
/// A server does not answer, retention deletes records before they are read, or the error of `take`.
pub(crate) fn read_ranges(
    source: RangeSource<'_>,
    decoder: &mut ClickDecoder,
    stop: &CancellationToken,
    mut take: impl FnMut(LogPosition, Result<RawClick<'_>, RecordError>) -> Result<(), ServerError>,
) -> Result<Option<HeldRanges>, ServerError> {
    let RangeSource { brokers, topic, ranges, occurred } = source;
    let log = LogReader::open_within(brokers, topic, ranges)?;
    // Reading fails where retention deletes records before they are read; it is then repeated.
    let held = log.offsets();
    let planned: u64 = ranges.values().flatten().map(|range| range.offsets()).sum();
    let is_outside =
        |click: &RawClick<'_>| occurred.is_some_and(|window| !window.contains(click.occurred_at));
    let lows = log.bounds().iter().map(|(partition, own)| (*partition, own.low)).collect();
    let complete = read(log, stop, |item| match item {
        LogItem::Record(record) => match decoder.decoded(record)? {
            Ok(click) if is_outside(&click) => Ok(()),
            decoded => take(position(record), decoded),
        },
        LogItem::Unreadable(UnreadableBatch { partition, first, last, .. }) => take(
            LogPosition { partition, offset: first },
            Err(RecordError::BatchUnreadable { last_offset: last }),
        ),
    })?;
    Ok(complete.then(|| HeldRanges { lows, expired: planned.saturating_sub(held) }))
}
