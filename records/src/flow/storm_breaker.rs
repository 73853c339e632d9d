//! The storm breaker: distinguishes a storm of bad records from single ones, before the first of them
//! becomes a dead letter.
//!
//! When most of a hundred records in a row cannot be decoded, the schema or the registry is wrong, not
//! the records. When all of a hundred records are bad and most of them are ahead of their log time, the
//! clock of the broker or that of a source is wrong. The breaker takes the broker's clock for the wrong
//! one if these records are of several sources, or if they are not ahead of the clock of this process,
//! because then two clocks agree against one. The decision about such a record waits until a hundred
//! records have followed it or ten seconds have passed. A record that was decoded and has wrong content
//! is not a sign of a storm, in any number: one sender may write any number of them. Pure: time is an
//! argument.

use std::collections::VecDeque;

use crate::flow::record_sign::RecordSign;

/// Records that are judged together.
pub const WINDOW: usize = 100;
/// Records older than this are not counted, milliseconds.
const AGE_MAX_MS: u64 = 5 * 60 * 1000;
/// How long a bad record waits for others to follow, milliseconds.
const WAIT_MS: u64 = 10_000;
/// How far the clock of a source may be ahead of that of this process and still agree with it,
/// microseconds.
const AGREE_US: i64 = 5 * 60 * 1_000_000;

/// The time at which records are observed.
#[derive(Debug, Clone, Copy)]
pub struct BreakerTime {
    /// Milliseconds since the breaker began, by a monotonic clock.
    pub age_ms: u64,
    /// Microseconds since 1970, by the clock of this process.
    pub unix_us: i64,
}

/// The last records of the process, and the storms among them. Records are numbered as they are
/// observed, from 1.
#[derive(Debug, Default)]
pub struct StormBreaker {
    recent: VecDeque<ObservedRecord>,
    /// Those of [`RecordSign::Schema`] among them.
    schema: usize,
    /// Those of [`RecordSign::Good`] among them.
    good: usize,
    seen: u64,
    /// Ranges of records that are a storm: inclusive, sorted, disjoint.
    storms: VecDeque<(u64, u64)>,
}

#[derive(Debug, Clone, Copy)]
struct ObservedRecord {
    age_ms: u64,
    sign: RecordSign,
    /// It is ahead of its log time, and not ahead of the clock of this process.
    agrees: bool,
}

/// Bad records that wait for a decision: the numbers of the first and the last of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PendingRecords {
    first: u64,
    last: u64,
    since_ms: u64,
}

/// What happens to bad records.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StormDecision {
    /// They become dead letters.
    DeadLetter,
    /// It is too early to decide.
    Wait,
    /// Most of the records around them are bad too: processing stops.
    Storm,
}

impl StormBreaker {
    /// Counts records in their order; returns the suspect ones, if any.
    pub fn observe(
        &mut self,
        signs: impl Iterator<Item = RecordSign>,
        now: BreakerTime,
    ) -> Option<PendingRecords> {
        let mut pending: Option<PendingRecords> = None;
        for sign in signs {
            self.seen += 1;
            let number = self.seen;
            self.count(sign, now);
            if sign.is_suspect() {
                let first = pending.map_or(number, |pending| pending.first);
                pending = Some(PendingRecords { first, last: number, since_ms: now.age_ms });
            }
        }
        pending
    }

    fn count(&mut self, sign: RecordSign, now: BreakerTime) {
        let BreakerTime { age_ms, unix_us } = now;
        let agrees = matches!(sign, RecordSign::Clock { occurred_at_us, .. }
            if occurred_at_us <= unix_us.saturating_add(AGREE_US));
        self.recent.push_back(ObservedRecord { age_ms, sign, agrees });
        self.schema += usize::from(sign == RecordSign::Schema);
        self.good += usize::from(sign == RecordSign::Good);
        while let Some(&oldest) = self.recent.front() {
            let is_old = oldest.age_ms + AGE_MAX_MS < age_ms;
            if self.recent.len() <= WINDOW && !is_old {
                break;
            }
            self.recent.pop_front();
            self.schema -= usize::from(oldest.sign == RecordSign::Schema);
            self.good -= usize::from(oldest.sign == RecordSign::Good);
        }
        if self.is_storm() {
            let begin = self.seen - WINDOW as u64 + 1;
            match self.storms.back_mut() {
                Some((_, end)) if begin <= *end + 1 => *end = self.seen,
                _ => self.storms.push_back((begin, self.seen)),
            }
            if self.storms.len() > WINDOW {
                self.storms.pop_front();
            }
        }
    }

    /// Whether the last hundred records are a storm.
    fn is_storm(&self) -> bool {
        self.recent.len() == WINDOW
            && (self.schema * 2 > WINDOW || (self.good == 0 && self.is_clock_storm()))
    }

    /// Whether most of them are ahead of their log time, and these are of several sources or agree with
    /// the clock of this process.
    fn is_clock_storm(&self) -> bool {
        let mut sources = self.recent.iter().filter_map(|record| match record.sign {
            RecordSign::Clock { source, .. } => Some(source),
            RecordSign::Good | RecordSign::Content | RecordSign::Schema => None,
        });
        let Some(first) = sources.next() else { return false };
        let (mut count, mut is_of_several) = (1, false);
        for source in sources {
            count += 1;
            is_of_several |= source != first;
        }
        let agreeing = self.recent.iter().filter(|record| record.agrees).count();
        count * 2 > WINDOW && (is_of_several || agreeing * 2 > WINDOW)
    }

    /// Returns the decision, or that it is too early for one.
    pub fn decide(&self, pending: PendingRecords, now_ms: u64) -> StormDecision {
        debug_assert!(pending.first <= pending.last && pending.last <= self.seen);
        let hit = |&(begin, end): &(u64, u64)| begin <= pending.last && pending.first <= end;
        if self.storms.iter().any(hit) {
            return StormDecision::Storm;
        }
        let followed = self.seen >= pending.last + WINDOW as u64;
        if followed || now_ms >= pending.since_ms + WAIT_MS {
            StormDecision::DeadLetter
        } else {
            StormDecision::Wait
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    use schemas::bounds::DAY_US;

    use crate::flow::record_sign::SourceHash;

    /// The clock of this process.
    const NOW_US: i64 = 1_764_000_000_000_000;

    fn at(age_ms: u64) -> BreakerTime {
        BreakerTime { age_ms, unix_us: NOW_US }
    }

    fn observe(breaker: &mut StormBreaker, bad: &[bool], now_ms: u64) -> Option<PendingRecords> {
        let sign = |bad: &bool| if *bad { RecordSign::Schema } else { RecordSign::Good };
        breaker.observe(bad.iter().map(sign), at(now_ms))
    }

    /// Whether any suspect record of this sequence is a storm, if the sequence is repeated in one
    /// moment.
    fn is_storm(signs: &[RecordSign]) -> bool {
        let mut breaker = StormBreaker::default();
        let records = signs.iter().copied().cycle().take(1_000);
        let pending = breaker.observe(records, at(0));
        pending.is_some_and(|pending| breaker.decide(pending, WAIT_MS) == StormDecision::Storm)
    }

    #[test]
    fn m7_wrong_content_of_records_is_never_a_storm() {
        let ahead = |source| RecordSign::Clock {
            source: SourceHash::of(source),
            occurred_at_us: NOW_US + DAY_US + 1,
        };
        let (good, content, schema) = (RecordSign::Good, RecordSign::Content, RecordSign::Schema);
        for (signs, storm, what) in [
            (vec![content], false, "one host at 1970, alone"),
            (vec![content, content, good], false, "one host at 1970 among others"),
            (vec![ahead("a")], false, "one host ahead, alone"),
            (vec![ahead("a"), ahead("a"), good], false, "one host ahead among others"),
            (vec![ahead("a"), ahead("b"), ahead("a"), good], false, "two hosts ahead among others"),
            (vec![ahead("a"), content], false, "one host ahead, others with wrong contents"),
            (vec![content, schema], false, "half is not most"),
            (vec![ahead("a"), ahead("b")], true, "all hosts ahead: the broker is behind"),
            (vec![ahead("a"), ahead("b"), content], true, "all ahead or wrong"),
            (vec![schema, schema, content], true, "most cannot be decoded"),
            (vec![schema, schema, good], true, "most cannot be decoded"),
        ] {
            assert_eq!(is_storm(&signs), storm, "{what}");
        }
        // Records with wrong content do not even wait.
        assert_eq!(StormBreaker::default().observe([content, good].into_iter(), at(0)), None);
    }

    #[test]
    fn m7_a_broker_clock_behind_is_a_storm_and_a_host_clock_ahead_is_not() {
        let ahead = |source, of_us| RecordSign::Clock {
            source: SourceHash::of(source),
            occurred_at_us: NOW_US + of_us,
        };
        let (good, content) = (RecordSign::Good, RecordSign::Content);
        let minute_us = 60_000_000;
        for (signs, storm, what) in [
            (vec![ahead("a", 0)], true, "one host that agrees with this process"),
            (vec![ahead("a", 2 * minute_us)], true, "the same, two minutes apart"),
            (vec![ahead("a", -3 * DAY_US)], true, "its clicks waited in an outbox"),
            (vec![ahead("a", 0), ahead("a", 0), content], true, "and clicks with wrong contents"),
            (vec![ahead("a", 0), ahead("a", 0), good], false, "a good one among them"),
            (vec![ahead("a", DAY_US)], false, "the host is a day ahead of broker and process"),
            (vec![ahead("a", 10 * minute_us)], false, "who is wrong is not certain"),
            (vec![ahead("a", 0), ahead("a", DAY_US)], false, "half is not most"),
        ] {
            assert_eq!(is_storm(&signs), storm, "{what}");
        }
    }

    #[test]
    fn a_storm_is_detected_before_the_first_bad_record_becomes_a_dead_letter() {
        let mut breaker = StormBreaker::default();
        let pending = observe(&mut breaker, &[true; 60], 0).unwrap();
        assert_eq!(breaker.decide(pending, 9_999), StormDecision::Wait);
        observe(&mut breaker, &[true; 40], 9_999);
        assert_eq!(breaker.decide(pending, 9_999), StormDecision::Storm);
        assert_eq!(breaker.decide(pending, 1_000_000), StormDecision::Storm, "and stays one");
    }

    #[test]
    fn single_bad_records_become_dead_letters_after_a_hundred_others_or_ten_seconds() {
        let mut breaker = StormBreaker::default();
        assert_eq!(observe(&mut breaker, &[false; 1000], 0), None);
        let pending = observe(&mut breaker, &[true], 0).unwrap();
        assert_eq!(breaker.decide(pending, 0), StormDecision::Wait);
        observe(&mut breaker, &[false; 99], 1);
        assert_eq!(breaker.decide(pending, 1), StormDecision::Wait);
        observe(&mut breaker, &[false], 1);
        assert_eq!(breaker.decide(pending, 1), StormDecision::DeadLetter);
        let pending = observe(&mut breaker, &[true], 2).unwrap();
        assert_eq!(breaker.decide(pending, 10_001), StormDecision::Wait);
        assert_eq!(breaker.decide(pending, 10_002), StormDecision::DeadLetter);
    }

    #[test]
    fn one_bad_record_a_minute_is_not_a_storm() {
        let mut breaker = StormBreaker::default();
        for minute in 0..1000 {
            let now = minute * 60_000;
            let pending = observe(&mut breaker, &[true], now).unwrap();
            assert_eq!(
                breaker.decide(pending, now + WAIT_MS),
                StormDecision::DeadLetter,
                "minute {minute}"
            );
        }
    }

    #[test]
    fn half_is_not_most() {
        let mut breaker = StormBreaker::default();
        let half: Vec<bool> = (0..1000).map(|n| n % 2 == 0).collect();
        let pending = observe(&mut breaker, &half, 0).unwrap();
        assert_eq!(breaker.decide(pending, WAIT_MS), StormDecision::DeadLetter);
    }

    #[test]
    fn a_past_storm_does_not_affect_later_records() {
        let mut breaker = StormBreaker::default();
        observe(&mut breaker, &[true; 150], 0);
        observe(&mut breaker, &[false; 500], 0);
        let pending = observe(&mut breaker, &[true], 0).unwrap();
        observe(&mut breaker, &[false; 100], 0);
        assert_eq!(breaker.decide(pending, 0), StormDecision::DeadLetter);
    }

    proptest! {
        #[test]
        fn the_decision_agrees_with_counting_every_window(bad in prop::collection::vec(any::<bool>(), 1..400),
            pieces in prop::collection::vec(1usize..60, 1..20)) {
            let mut breaker = StormBreaker::default();
            let mut all_pending = Vec::new();
            let mut at = 0;
            for piece in pieces.iter().cycle() {
                let end = (at + piece).min(bad.len());
                all_pending.extend(observe(&mut breaker, &bad[at..end], 0));
                at = end;
                if at == bad.len() { break; }
            }
            let stormy = |first: u64, last: u64| (0..bad.len().saturating_sub(WINDOW - 1)).any(|begin| {
                let window = begin..begin + WINDOW;
                let most = window.clone().filter(|&i| bad[i]).count() * 2 > WINDOW;
                most && (begin as u64) < last && first <= (begin + WINDOW) as u64
            });
            for pending in all_pending {
                let storm = breaker.decide(pending, WAIT_MS) == StormDecision::Storm;
                prop_assert_eq!(storm, stormy(pending.first, pending.last));
            }
        }
    }
}
