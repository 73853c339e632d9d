//! Tells a storm of bad records from a trickle, before the first of them is given up.
//!
//! When most of a hundred records in a row cannot be processed, the schema or the registry is
//! wrong, not the records. A bad record waits until a hundred have followed it or ten seconds have
//! passed, so that it is decided in time. Pure: time is an argument.

use std::collections::VecDeque;

/// Records that are looked at together.
const WINDOW: usize = 100;
/// A record older than this says nothing about the present, milliseconds.
const FORGET_MS: u64 = 5 * 60 * 1000;
/// How long a bad record waits for others to follow, milliseconds.
const WAIT_MS: u64 = 10_000;

/// The last records of the process, and the storms among them. Records are numbered as they are
/// judged, from 1.
#[derive(Debug, Default)]
pub struct Breaker {
    recent: VecDeque<(u64, bool)>,
    bad: usize,
    seen: u64,
    /// Ranges of records of which most were bad, closed, in order, apart.
    storms: VecDeque<(u64, u64)>,
}

/// Bad records that wait for a decision.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Held {
    first: u64,
    last: u64,
    since_ms: u64,
}

/// What becomes of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// To the dead letters.
    Pass,
    /// Too early to say.
    Wait,
    /// Most of the records around them are bad too.
    Storm,
}

impl Breaker {
    /// Takes in records in their order, `true` for a bad one; returns the bad ones, if any.
    pub fn judged(&mut self, bad: impl Iterator<Item = bool>, now_ms: u64) -> Option<Held> {
        let mut held: Option<Held> = None;
        for bad in bad {
            self.seen += 1;
            let number = self.seen;
            self.take(bad, now_ms);
            if bad {
                let first = held.map_or(number, |held| held.first);
                held = Some(Held { first, last: number, since_ms: now_ms });
            }
        }
        held
    }

    fn take(&mut self, bad: bool, now_ms: u64) {
        self.recent.push_back((now_ms, bad));
        self.bad += usize::from(bad);
        while let Some(&(when, was_bad)) = self.recent.front() {
            let old = when + FORGET_MS < now_ms;
            if self.recent.len() <= WINDOW && !old {
                break;
            }
            self.recent.pop_front();
            self.bad -= usize::from(was_bad);
        }
        if self.recent.len() == WINDOW && self.bad * 2 > WINDOW {
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

    /// Decides, as far as it can be decided by now.
    pub fn decide(&self, held: Held, now_ms: u64) -> Verdict {
        let hit = |&(begin, end): &(u64, u64)| begin <= held.last && held.first <= end;
        if self.storms.iter().any(hit) {
            return Verdict::Storm;
        }
        let followed = self.seen >= held.last + WINDOW as u64;
        match followed || now_ms >= held.since_ms + WAIT_MS {
            true => Verdict::Pass,
            false => Verdict::Wait,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn judged(breaker: &mut Breaker, bad: &[bool], now_ms: u64) -> Option<Held> {
        breaker.judged(bad.iter().copied(), now_ms)
    }

    #[test]
    fn a_storm_is_told_before_the_first_bad_record_is_given_up() {
        let mut breaker = Breaker::default();
        let held = judged(&mut breaker, &[true; 60], 0).unwrap();
        assert_eq!(breaker.decide(held, 9_999), Verdict::Wait);
        judged(&mut breaker, &[true; 40], 9_999);
        assert_eq!(breaker.decide(held, 9_999), Verdict::Storm);
        assert_eq!(breaker.decide(held, 1_000_000), Verdict::Storm, "and stays one");
    }

    #[test]
    fn single_bad_records_pass_after_a_hundred_others_or_ten_seconds() {
        let mut breaker = Breaker::default();
        assert_eq!(judged(&mut breaker, &[false; 1000], 0), None);
        let held = judged(&mut breaker, &[true], 0).unwrap();
        assert_eq!(breaker.decide(held, 0), Verdict::Wait);
        judged(&mut breaker, &[false; 99], 1);
        assert_eq!(breaker.decide(held, 1), Verdict::Wait);
        judged(&mut breaker, &[false], 1);
        assert_eq!(breaker.decide(held, 1), Verdict::Pass);
        let held = judged(&mut breaker, &[true], 2).unwrap();
        assert_eq!(breaker.decide(held, 10_001), Verdict::Wait);
        assert_eq!(breaker.decide(held, 10_002), Verdict::Pass);
    }

    #[test]
    fn one_bad_record_a_minute_never_makes_a_storm_though_nothing_else_comes() {
        let mut breaker = Breaker::default();
        for minute in 0..1000 {
            let now = minute * 60_000;
            let held = judged(&mut breaker, &[true], now).unwrap();
            assert_eq!(breaker.decide(held, now + WAIT_MS), Verdict::Pass, "minute {minute}");
        }
    }

    #[test]
    fn half_is_not_most() {
        let mut breaker = Breaker::default();
        let half: Vec<bool> = (0..1000).map(|n| n % 2 == 0).collect();
        let held = judged(&mut breaker, &half, 0).unwrap();
        assert_eq!(breaker.decide(held, WAIT_MS), Verdict::Pass);
    }

    #[test]
    fn a_storm_that_has_passed_does_not_touch_what_comes_long_after() {
        let mut breaker = Breaker::default();
        judged(&mut breaker, &[true; 150], 0);
        judged(&mut breaker, &[false; 500], 0);
        let held = judged(&mut breaker, &[true], 0).unwrap();
        judged(&mut breaker, &[false; 100], 0);
        assert_eq!(breaker.decide(held, 0), Verdict::Pass);
    }

    proptest! {
        #[test]
        fn it_agrees_with_counting_every_window(bad in prop::collection::vec(any::<bool>(), 1..400),
            pieces in prop::collection::vec(1usize..60, 1..20)) {
            let mut breaker = Breaker::default();
            let mut helds = Vec::new();
            let mut at = 0;
            for piece in pieces.iter().cycle() {
                let end = (at + piece).min(bad.len());
                helds.extend(judged(&mut breaker, &bad[at..end], 0));
                at = end;
                if at == bad.len() { break; }
            }
            let stormy = |first: u64, last: u64| (0..bad.len().saturating_sub(WINDOW - 1)).any(|begin| {
                let window = begin..begin + WINDOW;
                let most = window.clone().filter(|&i| bad[i]).count() * 2 > WINDOW;
                most && (begin as u64) < last && first <= (begin + WINDOW) as u64
            });
            for held in helds {
                let storm = breaker.decide(held, WAIT_MS) == Verdict::Storm;
                prop_assert_eq!(storm, stormy(held.first, held.last));
            }
        }
    }
}
