//! Log times of the records of one partition by their offsets: a bounded number of samples. Pure.

/// Samples that are kept at most.
const SAMPLES_MAX: usize = 1_001;

/// A part of the log by its times, milliseconds since 1970; both ends belong to it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LogTimeRange {
    /// Begin.
    pub from_ms: i64,
    /// End.
    pub until_ms: i64,
}

impl LogTimeRange {
    /// The smallest range that holds both.
    #[must_use]
    pub fn joined(self, other: Self) -> Self {
        Self {
            from_ms: self.from_ms.min(other.from_ms),
            until_ms: self.until_ms.max(other.until_ms),
        }
    }
}

/// Samples by ascending offset and time. The first record is one of them.
#[derive(Debug)]
pub struct LogTimes {
    /// Time between two samples, at least.
    step_ms: i64,
    samples: Vec<(i64, i64)>,
}

impl LogTimes {
    /// Without a sample yet. The step grows where there would be too many.
    pub fn new(step_ms: i64) -> Self {
        Self { step_ms, samples: Vec::new() }
    }

    /// A record was logged at this time. Records come in the order of their offsets.
    pub fn add(&mut self, offset: i64, logged_at_ms: i64) {
        let is_due = |(_, last_ms): &(i64, i64)| logged_at_ms > *last_ms + self.step_ms;
        if self.samples.last().is_none_or(is_due) {
            self.samples.push((offset, logged_at_ms));
        }
        while self.samples.len() > SAMPLES_MAX {
            self.widen();
        }
    }

    /// Doubles the step.
    fn widen(&mut self) {
        self.step_ms = (self.step_ms * 2).max(1);
        let (step_ms, mut kept_ms) = (self.step_ms, None);
        self.samples.retain(|(_, logged_at_ms)| {
            let is_kept = kept_ms.is_none_or(|kept_ms| *logged_at_ms > kept_ms + step_ms);
            if is_kept {
                kept_ms = Some(*logged_at_ms);
            }
            is_kept
        });
    }

    /// The log time of the record at `offset`, or of one before it.
    pub fn before(&self, offset: i64) -> Option<i64> {
        let after = self.samples.partition_point(|(first, _)| *first <= offset);
        self.samples[..after].last().map(|(_, logged_at_ms)| *logged_at_ms)
    }

    /// The log time of the record at `offset`, or of one after it.
    pub fn after(&self, offset: i64) -> Option<i64> {
        let first = self.samples.partition_point(|(first, _)| *first < offset);
        self.samples.get(first).map(|(_, logged_at_ms)| *logged_at_ms)
    }

    /// How many samples are kept.
    #[cfg(test)]
    pub(super) fn kept(&self) -> usize {
        self.samples.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_is_between_the_times_before_and_after_it() {
        let mut times = LogTimes::new(50);
        (0..20).for_each(|n| times.add(5 + n, 1_000 + 20 * n));
        // Samples are at the offsets 5, 8, 11, ...
        assert_eq!((times.before(4), times.after(4)), (None, Some(1_000)));
        assert_eq!((times.before(5), times.after(5)), (Some(1_000), Some(1_000)));
        assert_eq!((times.before(7), times.after(7)), (Some(1_000), Some(1_060)));
        assert_eq!((times.before(24), times.after(24)), (Some(1_360), None));
    }

    #[test]
    fn a_log_of_any_length_has_a_bounded_number_of_samples() {
        for step_ms in [0, 1, 1_000] {
            let mut times = LogTimes::new(step_ms);
            let time = |n: i64| n * n / 7;
            (0..100_000).for_each(|n| times.add(n, time(n)));
            assert!((300..=SAMPLES_MAX).contains(&times.kept()), "{step_ms}: {}", times.kept());
            for n in [0, 1, 999, 77_777, 99_999] {
                let before = times.before(n).unwrap();
                assert!(before <= time(n) && before + time(99_999) / 250 >= time(n), "{n}");
                assert!(times.after(n).is_none_or(|after| after >= time(n)), "{n}");
            }
        }
        // All records of one millisecond are one sample.
        let mut times = LogTimes::new(0);
        (0..5_000).for_each(|n| times.add(n, 7));
        assert_eq!(times.kept(), 1);
    }

    #[test]
    fn joined_ranges_hold_both() {
        let range = |from_ms, until_ms| LogTimeRange { from_ms, until_ms };
        assert_eq!(range(3, 9).joined(range(5, 12)), range(3, 12));
        assert_eq!(range(3, 9).joined(range(1, 2)), range(1, 9));
    }
}
