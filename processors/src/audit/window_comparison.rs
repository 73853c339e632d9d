//! Compares what was read of a window of the log with what the view shows and with the dead letters.

use std::ops::RangeInclusive;

use broker::ServerError;

use crate::audit::dead_letter_merge::without_dead_letter;
use crate::audit::decoded_events::blocking;
use crate::audit::entry::{AuditEntry, DeadLetterRange, Id, LogPosition};
use crate::audit::external_sort::Sorted;
use crate::audit::full_audit::SortSpace;
use crate::audit::pending_offsets::PendingOffsets;
use crate::audit::window::{TimedEntry, WindowReport};

/// Events in one look-up: as many as ClickHouse's default `max_query_size` allows.
const LOOKUP_EVENTS: usize = 5_000;

/// The records of a window.
#[derive(Debug)]
pub(crate) struct WindowRecords {
    /// With the counts of the reading.
    pub(crate) found: WindowReport,
    /// Records that can become rows.
    pub(crate) events: Sorted<36>,
    /// Records that cannot.
    pub(crate) undecodable: Sorted<12>,
}

/// Compares the records with the view and the dead letters. `look_up` returns how often the view shows each
/// of some events, which occurred within the given times (microseconds since 1970); `dead_letters` reads the
/// dead letters, and is called only where a record has no row. A record of `pending` is not missing.
///
/// # Errors
/// A server does not answer, or the disk is full.
pub(crate) async fn compare(
    records: WindowRecords,
    space: &SortSpace,
    pending: PendingOffsets,
    mut look_up: impl AsyncFnMut(RangeInclusive<i64>, &[Id]) -> Result<Vec<(Id, u64)>, ServerError>,
    dead_letters: impl AsyncFnOnce() -> Result<Sorted<20>, ServerError>,
) -> Result<WindowReport, ServerError> {
    let WindowRecords { mut found, events, undecodable } = records;
    let mut all = events.iter().map(|bytes| bytes.map(TimedEntry::from_bytes)).peekable();
    let mut unshown = space.sorter(2);
    let mut batch: Vec<TimedEntry> = Vec::with_capacity(LOOKUP_EVENTS);
    while let Some(event) = all.next().transpose()? {
        if !batch.last().is_some_and(|last| last.is_same_event(&event)) {
            batch.push(event);
        }
        // Skips resends of the last event of a batch.
        if batch.len() == LOOKUP_EVENTS || all.peek().is_none() {
            while all.next_if(|next| next.as_ref().is_ok_and(|n| n.is_same_event(&event))).is_some()
            {
            }
            let ids: Vec<_> = batch.iter().map(|event| event.entry.id).collect();
            debug_assert!(batch[0].occurred_at_us <= event.occurred_at_us, "events are sorted");
            let bounds = batch[0].occurred_at_us..=event.occurred_at_us;
            let shown = look_up(bounds, &ids).await?;
            found.compare(&batch, &shown, |event| unshown.push(event.to_bytes()))?;
            batch.clear();
        }
    }
    drop(all);
    let unshown = unshown.sorted()?;
    if undecodable.is_empty() && unshown.is_empty() {
        return Ok(found);
    }
    let dead = dead_letters().await?;
    let mut records = space.unshown_records();
    // It reads all events again: the caller must be able to report its job meanwhile.
    blocking(move || {
        records_of(&unshown, &events, |record| records.push(record))?;
        let lacking = records.without_dead_letter(&dead)?;
        let lacking = lacking.iter().map(|bytes| bytes.map(AuditEntry::from_bytes));
        found.add_missing(&pending, lacking)?;
        let position = LogPosition::from_bytes;
        let undecodable = undecodable.iter().map(|bytes| bytes.map(position));
        let dead = dead.iter().map(|bytes| bytes.map(DeadLetterRange::from_bytes));
        without_dead_letter(
            undecodable,
            |position| *position,
            dead,
            |position| {
                found.add_undecodable(&pending, position);
                Ok(())
            },
        )?;
        Ok(found)
    })
    .await
}

/// Calls `take` with each record among `events` of an event of `unshown`, which holds the first record of
/// each.
fn records_of(
    unshown: &Sorted<36>,
    events: &Sorted<36>,
    mut take: impl FnMut(AuditEntry) -> Result<(), ServerError>,
) -> Result<(), ServerError> {
    let mut unshown = unshown.iter();
    let Some(mut next) = unshown.next().transpose()?.map(TimedEntry::from_bytes) else {
        return Ok(());
    };
    let mut current = None;
    for event in events.iter() {
        let event = TimedEntry::from_bytes(event?);
        if event == next {
            current = Some(event);
            if let Some(bytes) = unshown.next().transpose()? {
                next = TimedEntry::from_bytes(bytes);
            }
        }
        if current.is_some_and(|current| current.is_same_event(&event)) {
            take(event.entry)?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::audit::external_sort::Sorter;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn all_records_of_the_unshown_events_are_found(
            records in prop::collection::vec((0_i64..4, 0_u8..4, 0_i64..6), 0..40),
            is_shown in prop::collection::vec(any::<bool>(), 16),
        ) {
            let sorted = |items: &[TimedEntry]| {
                let mut sorter = Sorter::<36>::new(&std::env::temp_dir(), 200);
                items.iter().for_each(|item| sorter.push(item.to_bytes()).unwrap());
                sorter.sorted().unwrap()
            };
            let entry = |(occurred_at_us, id, offset): (i64, u8, i64)| {
                let position = LogPosition { partition: 0, offset };
                TimedEntry { occurred_at_us, entry: AuditEntry { id: [id; 16], position } }
            };
            let mut all: Vec<_> = records.into_iter().map(entry).collect();
            all.sort_unstable();
            let is_unshown = |event: &&TimedEntry| {
                let index = event.occurred_at_us * 4 + i64::from(event.entry.id[0]);
                !is_shown[usize::try_from(index).unwrap()]
            };
            let mut firsts = all.clone();
            firsts.dedup_by(|later, first| later.is_same_event(first));
            let firsts: Vec<_> = firsts.iter().filter(is_unshown).copied().collect();
            let expected: Vec<_> = all.iter().filter(is_unshown).map(|event| event.entry).collect();
            let mut found = Vec::new();
            records_of(&sorted(&firsts), &sorted(&all), |record| {
                found.push(record);
                Ok(())
            }).unwrap();
            prop_assert_eq!(found, expected);
        }
    }
}
