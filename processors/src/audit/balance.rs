//! The comparison itself: four sorted streams, walked side by side. Whatever their length, it
//! remembers counts by partition and a few examples.

use std::collections::BTreeMap;
use std::iter::Peekable;

use crate::audit::entry::{Entry, Id, Partition, Place, Report, hex};
use crate::audit::examples::Examples;

/// What is compared, each in its own order.
#[derive(Debug)]
pub struct Books<L, S, U, D> {
    /// Records of the log that can be rows.
    pub log: L,
    /// Rows that the view shows, with the place that each names.
    pub shown: S,
    /// Records of the log that can never be rows.
    pub undecodable: U,
    /// Places that the dead-letter topic holds.
    pub dead: D,
}

/// Holds the log against the view and the dead letters. `partitions` knows the log's bounds,
/// `records` and `undecodable`; the rest is counted here.
///
/// # Errors
/// Whatever the streams fail with.
pub fn balance<E>(
    partitions: BTreeMap<i32, Partition>,
    books: Books<
        impl Iterator<Item = Result<Entry, E>>,
        impl Iterator<Item = Result<Entry, E>>,
        impl Iterator<Item = Result<Place, E>>,
        impl Iterator<Item = Result<Place, E>>,
    >,
) -> Result<Report, E> {
    let mut report = Report { partitions, ..Report::default() };
    events(&mut report, books.log, books.shown)?;
    let mut examples = Examples::default();
    unburied(books.undecodable, books.dead, |place| {
        examples.offer(place);
        report.partition(place).undecodable_without_dead_letter += 1;
    })?;
    report.undecodable_examples = examples.texts(Place::to_string);
    for partition in report.partitions.values() {
        report.log_records += partition.records;
        report.log_events += partition.events;
        report.resends += partition.resends;
        report.undecodable += partition.undecodable;
        report.undecodable_without_dead_letter += partition.undecodable_without_dead_letter;
        report.missing += partition.missing;
        report.log_expired |= partition.low > 0;
    }
    Ok(report)
}

/// Hands each place of `undecodable` that is not in `dead` to `take`.
///
/// # Errors
/// Whatever the streams fail with.
pub fn unburied<E>(
    undecodable: impl Iterator<Item = Result<Place, E>>,
    dead: impl Iterator<Item = Result<Place, E>>,
    mut take: impl FnMut(Place),
) -> Result<(), E> {
    let mut dead = dead.peekable();
    for place in undecodable {
        let place = place?;
        let mut buried = false;
        while let Some(letter) = next_if(&mut dead, |letter| *letter <= place)? {
            buried = letter == place;
        }
        if !buried {
            take(place);
        }
    }
    Ok(())
}

fn events<E>(
    report: &mut Report,
    log: impl Iterator<Item = Result<Entry, E>>,
    shown: impl Iterator<Item = Result<Entry, E>>,
) -> Result<(), E> {
    let (mut log, mut shown) = (log.peekable(), shown.peekable());
    let (mut missing, mut twice, mut surplus) =
        (Examples::default(), Examples::default(), Examples::default());
    while let Some(id) = least([head(&mut log)?, head(&mut shown)?]) {
        let mut first = None;
        while let Some(record) = next_if(&mut log, |entry| entry.id == id)? {
            match first {
                None => report.partition(record.place).events += 1,
                Some(_) => report.partition(record.place).resends += 1,
            }
            first.get_or_insert(record.place);
        }
        let mut rows = 0;
        // What a row without a record is explained by; the worst of an event's rows counts.
        let mut why = Why::Newer;
        while let Some(row) = next_if(&mut shown, |entry| entry.id == id)? {
            rows += 1;
            why = why.max(report.why(row.place));
        }
        match (first, rows) {
            (Some(place), 0) => {
                report.partition(place).missing += 1;
                missing.offer((place, id));
                continue;
            }
            (None, rows) if why == Why::Newer => {
                report.newer += rows;
                continue;
            }
            (Some(_), _) => {}
            (None, _) if why == Why::Expired => {
                report.surplus += 1;
                report.surplus_expired += 1;
            }
            (None, _) => {
                report.surplus += 1;
                surplus.offer(id);
            }
        }
        report.clicks += rows;
        report.duplicates += rows - 1;
        if rows > 1 {
            twice.offer(id);
        }
    }
    report.missing_examples = missing.texts(|(place, id)| format!("{} {place}", hex(id)));
    report.duplicate_examples = twice.texts(hex);
    report.surplus_examples = surplus.texts(hex);
    Ok(())
}

/// Why the log may lack the record of a row, from good to bad.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Why {
    Newer,
    Expired,
    Unexplained,
}

impl Report {
    fn partition(&mut self, place: Place) -> &mut Partition {
        self.partitions.entry(place.partition).or_default()
    }

    fn why(&self, place: Place) -> Why {
        match self.partitions.get(&place.partition) {
            Some(known) if place.offset < known.low => Why::Expired,
            Some(known) if (known.high..known.end).contains(&place.offset) => Why::Newer,
            Some(_) | None => Why::Unexplained,
        }
    }
}

fn least(ids: [Option<Id>; 2]) -> Option<Id> {
    ids.into_iter().flatten().min()
}

fn head<E>(
    entries: &mut Peekable<impl Iterator<Item = Result<Entry, E>>>,
) -> Result<Option<Id>, E> {
    match entries.peek() {
        Some(Ok(entry)) => Ok(Some(entry.id)),
        // Takes the error out; there is nothing to go on with.
        Some(Err(_)) | None => entries.next().transpose().map(|entry| entry.map(|entry| entry.id)),
    }
}

/// The next item, if `wanted`; an error always is.
fn next_if<T, E>(
    items: &mut Peekable<impl Iterator<Item = Result<T, E>>>,
    wanted: impl Fn(&T) -> bool,
) -> Result<Option<T>, E> {
    items.next_if(|item| item.as_ref().map_or(true, &wanted)).transpose()
}

#[cfg(test)]
mod tests {
    use std::collections::{BTreeSet, HashMap};
    use std::convert::Infallible;

    use super::*;
    use proptest::prelude::*;

    type Places = Vec<(i32, i64)>;

    fn place((partition, offset): (i32, i64)) -> Place {
        Place { partition, offset }
    }

    fn entry(event: u8, at: (i32, i64)) -> Entry {
        Entry { id: [event; 16], place: place(at) }
    }

    fn sorted<T: Ord>(
        items: impl IntoIterator<Item = T>,
    ) -> impl Iterator<Item = Result<T, Infallible>> {
        let mut items: Vec<T> = items.into_iter().collect();
        items.sort_unstable();
        items.into_iter().map(Ok)
    }

    /// A log of partition 0, one event a record, against rows that name these offsets.
    fn compare(bounds: [i64; 3], log: &[(u8, i64)], rows: &[(u8, i64)]) -> Report {
        let [low, high, end] = bounds;
        let records = log.len() as u64;
        let partition = Partition { low, high, end, records, ..Partition::default() };
        let entries = |all: &[(u8, i64)]| {
            sorted(
                all.iter().map(|(event, offset)| entry(*event, (0, *offset))).collect::<Vec<_>>(),
            )
        };
        let none = || sorted(Vec::new());
        let books =
            Books { log: entries(log), shown: entries(rows), undecodable: none(), dead: none() };
        let Ok(report) = balance(BTreeMap::from([(0, partition)]), books);
        report
    }

    #[test]
    fn each_way_to_be_wrong_is_found() {
        let bounds = [0, 4, 4];
        let report = compare(bounds, &[(1, 0), (2, 1), (2, 2), (3, 3)], &[(1, 0), (2, 2), (3, 3)]);
        assert!(report.balanced());
        assert_eq!((report.log_records, report.log_events, report.resends), (4, 3, 1));

        let report = compare(bounds, &[(1, 0), (2, 1), (3, 2)], &[(1, 0), (3, 2)]);
        assert!(!report.balanced() && report.may_still_come());
        assert_eq!((report.missing, report.partitions[&0].missing), (1, 1));
        assert_eq!(report.missing_examples, ["02020202-0202-0202-0202-020202020202 0:1"]);

        let report = compare(bounds, &[(1, 0), (2, 1)], &[(1, 0), (2, 1), (2, 1)]);
        assert!(!report.balanced() && !report.may_still_come());
        assert_eq!((report.duplicates, report.duplicate_examples.len()), (1, 1));

        let report = compare(bounds, &[(1, 0)], &[(1, 0), (9, 2)]);
        assert!(!report.balanced());
        assert_eq!((report.surplus, report.surplus_examples.len()), (1, 1));
    }

    #[test]
    fn a_row_that_the_log_lacks_is_explained_only_by_an_expired_offset_or_a_newer_one() {
        let report = compare([5, 8, 10], &[(2, 5)], &[(1, 4), (2, 5), (3, 8), (4, 9)]);
        assert!(report.balanced() && report.log_expired);
        assert_eq!((report.surplus, report.surplus_expired, report.newer), (1, 1, 2));
        assert_eq!(report.clicks, 2);
        for offset in [5, 7, 10] {
            let report = compare([5, 8, 10], &[(2, 5)], &[(1, offset), (2, 5)]);
            assert!(!report.balanced(), "{offset}");
        }
        // A duplicate is one, wherever its rows came from.
        let report = compare([5, 8, 10], &[], &[(1, 4), (1, 4)]);
        assert_eq!((report.surplus_expired, report.duplicates), (1, 1));
        let report = compare([0, 8, 10], &[(1, 0)], &[(1, 0), (1, 9)]);
        assert_eq!(report.duplicates, 1);
    }

    #[test]
    fn what_cannot_be_decoded_has_to_be_buried() {
        let find = |undecodable: Places, dead: Places| {
            let mut found = Vec::new();
            let (undecodable, dead) = (undecodable.into_iter(), dead.into_iter());
            let Ok(()) = unburied(sorted(undecodable.map(place)), sorted(dead.map(place)), |at| {
                found.push((at.partition, at.offset));
            });
            found
        };
        assert_eq!(find(vec![(0, 7), (1, 2)], vec![]), [(0, 7), (1, 2)]);
        assert_eq!(find(vec![(0, 7), (1, 2)], vec![(0, 6), (0, 8), (1, 2), (1, 2)]), [(0, 7)]);
        assert_eq!(find(vec![], vec![(0, 7)]), []);
    }

    #[test]
    fn bytes_are_in_the_order_of_what_they_say() {
        let mut entries = Vec::new();
        for (event, partition) in [(0, 0), (0, 1), (1, 0), (1, 300), (255, 0)] {
            entries.extend([0, 1, 255, 256, i64::MAX].map(|at| entry(event, (partition, at))));
        }
        let bytes: Vec<_> = entries.iter().map(|entry| entry.to_bytes()).collect();
        assert!(bytes.is_sorted());
        let back: Vec<_> = bytes.into_iter().map(Entry::from_bytes).collect();
        assert_eq!(back, entries);
    }

    #[test]
    fn a_stream_that_fails_fails_the_audit() {
        type Stream<'a, T> = &'a [Result<T, ()>];
        let fails = |log: Stream<'_, Entry>,
                     shown: Stream<'_, Entry>,
                     undecodable: Stream<'_, Place>,
                     dead: Stream<'_, Place>| {
            let books = Books {
                log: log.iter().copied(),
                shown: shown.iter().copied(),
                undecodable: undecodable.iter().copied(),
                dead: dead.iter().copied(),
            };
            balance(BTreeMap::new(), books).is_err()
        };
        let (event, at) = (Ok(entry(1, (0, 1))), Ok(place((0, 1))));
        assert!(!fails(&[event], &[event], &[at], &[at]));
        assert!(fails(&[event, Err(())], &[event], &[at], &[at]));
        assert!(fails(&[event], &[event, Err(())], &[at], &[at]));
        assert!(fails(&[event], &[event], &[at, Err(())], &[at]));
        assert!(fails(&[event], &[event], &[at], &[Err(()), at]));
    }

    proptest! {
        /// The plain way to count, with everything in memory.
        #[test]
        fn it_agrees_with_counting_in_memory(
            log in prop::collection::vec((0_u8..20, 0_i32..3), 0..60),
            rows in prop::collection::vec((0_u8..25, 0_i32..3, 0_i64..8), 0..60),
            bad in prop::collection::btree_set((0_i32..3, 0_i64..20), 0..20),
            dead in prop::collection::vec((0_i32..3, 0_i64..20), 0..20),
        ) {
            let (low, high, end) = (2, 5, 7);
            let bounds = Partition { low, high, end, ..Partition::default() };
            let mut partitions: BTreeMap<_, _> = (0..3).map(|p| (p, bounds)).collect();
            let mut records = Vec::new();
            for (offset, (event, partition)) in (0..).zip(&log) {
                partitions.get_mut(partition).unwrap().records += 1;
                records.push(entry(*event, (*partition, offset)));
            }
            for (partition, _) in &bad {
                partitions.get_mut(partition).unwrap().records += 1;
                partitions.get_mut(partition).unwrap().undecodable += 1;
            }
            let shown: Vec<_> =
                rows.iter().map(|(event, p, offset)| entry(*event, (*p, *offset))).collect();
            let Ok(report) = balance(partitions, Books {
                log: sorted(records.clone()),
                shown: sorted(shown.clone()),
                undecodable: sorted(bad.iter().copied().map(place)),
                dead: sorted(dead.iter().copied().map(place)),
            });

            let events: BTreeSet<Id> = records.iter().map(|record| record.id).collect();
            let mut by_id: HashMap<Id, Vec<i64>> = HashMap::new();
            for row in &shown {
                by_id.entry(row.id).or_default().push(row.place.offset);
            }
            by_id.retain(|id, offsets| {
                events.contains(id) || offsets.iter().any(|at| !(high..end).contains(at))
            });
            let surplus: Vec<_> = by_id.iter().filter(|(id, _)| !events.contains(*id)).collect();
            let expired = |offsets: &[i64]| offsets.iter().all(|at| *at < low || (high..end).contains(at));
            let clicks: usize = by_id.values().map(Vec::len).sum();
            prop_assert_eq!(report.log_records, (log.len() + bad.len()) as u64);
            prop_assert_eq!(report.log_events, events.len() as u64);
            prop_assert_eq!(report.resends, (log.len() - events.len()) as u64);
            prop_assert_eq!(report.clicks, clicks as u64);
            prop_assert_eq!(report.newer, (rows.len() - clicks) as u64);
            prop_assert_eq!(report.duplicates, (clicks - by_id.len()) as u64);
            let missing = events.iter().filter(|id| !by_id.contains_key(*id)).count();
            prop_assert_eq!(report.missing, missing as u64);
            prop_assert_eq!(report.surplus, surplus.len() as u64);
            let expired = surplus.iter().filter(|(_, offsets)| expired(offsets)).count();
            prop_assert_eq!(report.surplus_expired, expired as u64);
            let unburied = bad.iter().filter(|at| !dead.contains(at)).count();
            prop_assert_eq!(report.undecodable_without_dead_letter, unburied as u64);
            for (number, partition) in &report.partitions {
                let events = partition.events + partition.resends + partition.undecodable;
                prop_assert_eq!(events, partition.records, "partition {}", number);
            }
        }
    }
}
