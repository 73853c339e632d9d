//! Splits the ranges of a replay into passes by the day of log time, the newest day first. Pure: the caller
//! states where a day begins.
//!
//! The days of a range are not known in advance. So all days are halved, and each half that has an offset is
//! halved again: a day costs about two requests, and any number of days without a record costs at most
//! sixteen.

use std::collections::BTreeMap;

use crate::replay::log_day::LogDay;
use crate::replay::log_range::LogRange;
use crate::replay::replay_pass::{PartitionRanges, ReplayPass, joined};

/// Most passes of a plan. Each has a consumer group, which the workers join and leave.
pub const PASSES_MAX: usize = 400;
/// Most ranges of all passes of a plan. Its job holds them.
pub const PASS_RANGES_MAX: usize = 4_000;
/// Days from 1970 on, a power of two: until 2149.
const DAYS: i32 = 1 << 16;

/// Ranges of some days.
#[derive(Debug)]
struct DaySpan {
    first: i32,
    end: i32,
    ranges: PartitionRanges,
}

impl DaySpan {
    /// The parts before and since a day that begins at these offsets.
    fn split(self, day: i32, starts: &BTreeMap<i32, i64>) -> [Self; 2] {
        let mut parts = [(self.first, day), (day, self.end)].map(|(first, end)| Self {
            first,
            end,
            ranges: PartitionRanges::new(),
        });
        for (partition, ranges) in self.ranges {
            let start = starts.get(&partition).copied().unwrap_or_default();
            for range in ranges {
                let middle = start.clamp(range.first, range.end);
                let halves =
                    [LogRange { end: middle, ..range }, LogRange { first: middle, ..range }];
                for (part, half) in parts.iter_mut().zip(halves) {
                    if half.offsets() > 0 {
                        part.ranges.entry(partition).or_default().push(half);
                    }
                }
            }
        }
        parts
    }
}

/// The passes of these ranges. `starts` returns the first offset of each partition whose record was appended at
/// the start of a day or later, and the end of the log where there is none. `None`: there would be more than
/// [`PASSES_MAX`] passes or [`PASS_RANGES_MAX`] ranges.
///
/// # Errors
/// The first error of `starts`.
pub fn day_passes<E>(
    ranges: PartitionRanges,
    mut starts: impl FnMut(LogDay) -> Result<BTreeMap<i32, i64>, E>,
) -> Result<Option<Vec<ReplayPass>>, E> {
    let (mut passes, mut range_count) = (Vec::new(), 0);
    let mut open = vec![DaySpan { first: 0, end: DAYS, ranges }];
    while let Some(span) = open.pop() {
        if span.ranges.is_empty() {
            continue;
        }
        if span.end - span.first == 1 {
            let pass = ReplayPass { day: Some(LogDay(span.first)), ranges: span.ranges };
            range_count += pass.range_count();
            passes.push(pass);
            if passes.len() > PASSES_MAX || range_count > PASS_RANGES_MAX {
                return Ok(None);
            }
            continue;
        }
        let middle = span.first.midpoint(span.end);
        // The newer part is the next one.
        open.extend(span.split(middle, &starts(LogDay(middle))?));
    }
    join_deleted(&mut passes);
    Ok(Some(passes))
}

/// Joins the pass of 1970 with the oldest one after it: no record has that log time, so its offsets are those that
/// retention has deleted since the ranges were planned.
fn join_deleted(passes: &mut Vec<ReplayPass>) {
    if passes.len() < 2 {
        return;
    }
    if let Some(deleted) = passes.pop_if(|pass| pass.day == Some(LogDay(0)))
        && let Some(oldest) = passes.last_mut()
    {
        oldest.ranges = joined(&[oldest.clone(), deleted]);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The days of the records of a partition, in the order of their offsets, from the first one that is held.
    type Log<'a> = &'a [(i32, i64, &'a [i32])];
    /// Partition, first offset and end.
    type Range = (i32, i64, i64);

    fn starts(log: Log<'_>, day: LogDay) -> BTreeMap<i32, i64> {
        let start = |&(partition, low, days): &(i32, i64, &[i32])| {
            let before = days.iter().take_while(|own| **own < day.0).count();
            (partition, low + i64::try_from(before).unwrap())
        };
        log.iter().map(start).collect()
    }

    fn ranges(all: &[Range]) -> PartitionRanges {
        let mut ranges = PartitionRanges::new();
        for &(partition, first, end) in all {
            ranges.entry(partition).or_default().push(LogRange { first, end });
        }
        ranges
    }

    /// The day and the ranges of each pass. They are in all of the plan's ranges, and in no others.
    fn passes(log: Log<'_>, all: &[Range]) -> Vec<(i32, Vec<Range>)> {
        let found = day_passes(ranges(all), |day| Ok::<_, ()>(starts(log, day))).unwrap().unwrap();
        assert_eq!(joined(&found), ranges(all));
        let of = |pass: ReplayPass| {
            let ranges = pass.ranges.into_iter();
            let ranges = ranges.flat_map(|(own, all)| all.into_iter().map(move |it| (own, it)));
            let ranges = ranges.map(|(own, LogRange { first, end })| (own, first, end)).collect();
            (pass.day.unwrap().0, ranges)
        };
        found.into_iter().map(of).collect()
    }

    #[test]
    fn each_day_with_a_record_is_a_pass_and_the_newest_one_is_the_first() {
        let log: Log<'_> = &[(0, 0, &[7, 7, 8, 20_785]), (1, 0, &[8, 8, 8])];
        let expected =
            [(20_785, vec![(0, 3, 4)]), (8, vec![(0, 2, 3), (1, 0, 3)]), (7, vec![(0, 0, 2)])];
        assert_eq!(passes(log, &[(0, 0, 4), (1, 0, 3)]), expected);
        assert_eq!(passes(log, &[]), []);
    }

    #[test]
    fn ranges_are_cut_at_midnight_and_keep_their_order_within_a_day() {
        let log: Log<'_> = &[(0, 0, &[5, 5, 5, 5, 6, 6, 6, 6])];
        let expected = [(6, vec![(0, 4, 5), (0, 6, 7)]), (5, vec![(0, 0, 1), (0, 3, 4)])];
        assert_eq!(passes(log, &[(0, 0, 1), (0, 3, 5), (0, 6, 7)]), expected);
    }

    #[test]
    fn offsets_that_retention_has_deleted_since_the_plan_are_of_the_oldest_day() {
        // The plan was made when the partitions began at the offsets 2 and 30.
        let log: Log<'_> = &[(0, 10, &[5, 6]), (1, 40, &[6, 6])];
        let expected = [(6, vec![(0, 11, 12), (1, 40, 41)]), (5, vec![(0, 2, 11), (1, 30, 40)])];
        assert_eq!(passes(log, &[(0, 2, 12), (1, 30, 41)]), expected);
        assert_eq!(passes(log, &[(0, 2, 9)]), [(0, vec![(0, 2, 9)])], "nothing else is left");
    }

    #[test]
    fn the_number_of_passes_of_ranges_and_of_requests_is_bounded() {
        let count = |passes: usize, partitions: i32| {
            let days: Vec<i32> = (20_000..).take(passes).collect();
            let log: Vec<_> = (0..partitions).map(|own| (own, 0, days.as_slice())).collect();
            let end = i64::try_from(passes).unwrap();
            let all: Vec<_> = (0..partitions).map(|own| (own, 0, end)).collect();
            let mut asked = 0;
            let found = day_passes(ranges(&all), |day| {
                asked += 1;
                Ok::<_, ()>(starts(&log, day))
            });
            (found.unwrap().map(|passes| passes.len()), asked)
        };
        assert_eq!(count(1, 3), (Some(1), 16));
        let (found, asked) = count(PASSES_MAX, 1);
        assert_eq!(found, Some(PASSES_MAX));
        assert!(asked < 2 * PASSES_MAX + 32, "{asked}");
        assert_eq!(count(PASSES_MAX + 1, 1).0, None);
        assert_eq!(count(40, 100).0, Some(40));
        assert_eq!(count(41, 100).0, None, "more ranges than a job may hold");
        let refused = day_passes(ranges(&[(0, 0, 9)]), |_| Err::<BTreeMap<_, _>, _>("no answer"));
        assert_eq!(refused, Err("no answer"));
    }
}
