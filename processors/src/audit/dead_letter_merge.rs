//! Merges sorted items with the sorted ranges of dead letters. Pure.

use std::iter::Peekable;

use crate::audit::entry::{AuditEntry, DeadLetterRange, Id, LogPosition};

/// Calls `take` with each of `items` whose position is in no range of `dead`. Both are sorted by position.
///
/// # Errors
/// The first error of a stream or of `take`.
pub fn without_dead_letter<T, E>(
    items: impl Iterator<Item = Result<T, E>>,
    position: impl Fn(&T) -> LogPosition,
    dead: impl Iterator<Item = Result<DeadLetterRange, E>>,
    mut take: impl FnMut(T) -> Result<(), E>,
) -> Result<(), E> {
    let mut dead = dead.peekable();
    // The last position that the ranges so far cover.
    let mut covered = None;
    for item in items {
        let item = item?;
        let position = position(&item);
        while let Some(range) = next_if(&mut dead, |range| range.first <= position)? {
            let last = LogPosition { offset: range.last_offset, ..range.first };
            covered = covered.max(Some(last));
        }
        let is_covered = |last: LogPosition| {
            last.partition == position.partition && last.offset >= position.offset
        };
        if !covered.is_some_and(is_covered) {
            take(item)?;
        }
    }
    Ok(())
}

/// The event of the next entry; takes an error.
pub(super) fn head<E>(
    entries: &mut Peekable<impl Iterator<Item = Result<AuditEntry, E>>>,
) -> Result<Option<Id>, E> {
    match entries.peek() {
        Some(Ok(entry)) => Ok(Some(entry.id)),
        // Returns the error, which ends the comparison.
        Some(Err(_)) | None => entries.next().transpose().map(|entry| entry.map(|entry| entry.id)),
    }
}

/// Takes the next item if `wanted` accepts it; takes an error in any case.
pub(super) fn next_if<T, E>(
    items: &mut Peekable<impl Iterator<Item = Result<T, E>>>,
    wanted: impl Fn(&T) -> bool,
) -> Result<Option<T>, E> {
    items.next_if(|item| item.as_ref().map_or(true, &wanted)).transpose()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_item_needs_a_dead_letter_of_its_position() {
        let find = |items: &[(i32, i64)], dead: &[(i32, i64, i64)]| {
            let at = |&(partition, offset): &(i32, i64)| LogPosition { partition, offset };
            let range = |&(partition, offset, last_offset): &(i32, i64, i64)| DeadLetterRange {
                first: at(&(partition, offset)),
                last_offset,
            };
            let (items, dead) =
                (items.iter().map(Ok::<_, ()>), dead.iter().map(|one| Ok(range(one))));
            let mut found = Vec::new();
            let take = |item: &(i32, i64)| {
                found.push(*item);
                Ok(())
            };
            without_dead_letter(items, |item| at(item), dead, take).unwrap();
            found
        };
        assert_eq!(find(&[(0, 7), (1, 2)], &[]), [(0, 7), (1, 2)]);
        let dead = [(0, 6, 6), (0, 8, 8), (1, 2, 2), (1, 2, 2)];
        assert_eq!(find(&[(0, 7), (1, 2)], &dead), [(0, 7)]);
        assert_eq!(find(&[(0, 7), (0, 7)], &[(0, 7, 7)]), []);
        assert_eq!(find(&[], &[(0, 7, 7)]), []);
        // The stub of a batch that could not be read stands for all of its records.
        let dead = [(0, 2, 5), (0, 3, 3), (0, 9, 9)];
        let items = [(0, 1), (0, 2), (0, 4), (0, 5), (0, 6), (0, 9), (1, 3)];
        assert_eq!(find(&items, &dead), [(0, 1), (0, 6), (1, 3)]);
    }

    #[test]
    fn an_error_of_a_stream_ends_the_merge() {
        let at = LogPosition { partition: 0, offset: 1 };
        let fails = |items: &[Result<LogPosition, ()>], dead: &[Result<LogPosition, ()>]| {
            let range = |first: LogPosition| DeadLetterRange { first, last_offset: first.offset };
            let (items, dead) = (items.iter().copied(), dead.iter().map(|one| one.map(range)));
            without_dead_letter(items, |item| *item, dead, |_| Ok(())).is_err()
        };
        assert!(!fails(&[Ok(at)], &[Ok(at)]));
        assert!(fails(&[Ok(at), Err(())], &[Ok(at)]));
        assert!(fails(&[Ok(at)], &[Err(()), Ok(at)]));
        let refused = without_dead_letter(
            std::iter::once(Ok(at)),
            |item| *item,
            std::iter::empty(),
            |_| Err("full"),
        );
        assert_eq!(refused, Err("full"));
    }
}
