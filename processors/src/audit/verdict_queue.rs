//! Verdicts that are not stored yet, a bounded number. Pure.

use std::collections::VecDeque;

use crate::audit::log_times::LogTimeRange;
use crate::audit::verdict::{AuditVerdict, DifferenceTimes, VerdictState};

/// Verdicts that are kept at most: those of more than half a day, with the default interval of the runs.
const KEPT_MAX: usize = 1_000;

/// A verdict with the times of its run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeptVerdict<T> {
    number: u64,
    /// When the run was.
    pub at: T,
    /// The verdict.
    pub verdict: AuditVerdict,
}

/// Verdicts in the order of their runs.
#[derive(Debug)]
pub struct VerdictQueue<T> {
    next: u64,
    kept: VecDeque<KeptVerdict<T>>,
}

impl<T: Clone> Default for VerdictQueue<T> {
    fn default() -> Self {
        Self { next: 0, kept: VecDeque::new() }
    }
}

impl<T: Clone> VerdictQueue<T> {
    /// Adds the newest one. Runs in a row that fail for one reason are one verdict.
    pub fn add(&mut self, at: T, verdict: AuditVerdict) {
        let is_same = |last: &mut KeptVerdict<T>| {
            verdict.state == VerdictState::Unknown && last.verdict.code == verdict.code
        };
        self.kept.pop_back_if(is_same);
        self.next += 1;
        self.kept.push_back(KeptVerdict { number: self.next, at, verdict });
        if self.kept.len() > KEPT_MAX {
            self.drop_one();
        }
    }

    /// Drops the oldest one that has no differences; else joins the two oldest ones.
    fn drop_one(&mut self) {
        let mut old = self.kept.iter().take(KEPT_MAX);
        if let Some(index) = old.position(|kept| kept.verdict.differences.is_none()) {
            self.kept.remove(index);
            return;
        }
        let Some(oldest) = self.kept.pop_front() else { return };
        if let Some(next) = self.kept.front_mut() {
            next.verdict.differences = joined(oldest.verdict.differences, next.verdict.differences);
        }
    }

    /// All of them, the oldest first.
    pub fn all(&self) -> Vec<KeptVerdict<T>> {
        self.kept.iter().cloned().collect()
    }

    /// Removes those that are stored.
    pub fn remove(&mut self, stored: &[KeptVerdict<T>]) {
        let Some(last) = stored.last() else { return };
        self.kept.retain(|kept| kept.number > last.number);
    }
}

fn joined(a: Option<DifferenceTimes>, b: Option<DifferenceTimes>) -> Option<DifferenceTimes> {
    use DifferenceTimes::{Anywhere, Within};
    let (Some(a), Some(b)) = (a, b) else { return a.or(b) };
    Some(match (a, b) {
        (Within(a), Within(b)) => Within(a.joined(b)),
        (
            Anywhere { from_ms: a },
            Anywhere { from_ms: b } | Within(LogTimeRange { from_ms: b, .. }),
        )
        | (Within(LogTimeRange { from_ms: a, .. }), Anywhere { from_ms: b }) => {
            Anywhere { from_ms: a.min(b) }
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::audit::verdict::AuditScope;

    fn judged(state: VerdictState, code: &'static str) -> AuditVerdict {
        AuditVerdict { state, ..AuditVerdict::failed(code) }
    }

    fn differing(from_ms: i64, until_ms: i64) -> AuditVerdict {
        let times = DifferenceTimes::Within(LogTimeRange { from_ms, until_ms });
        let state = VerdictState::OutOfBalance;
        AuditVerdict { differences: Some(times), ..judged(state, "out_of_balance") }
    }

    fn times<T: Clone>(queue: &VerdictQueue<T>) -> Vec<T> {
        queue.all().into_iter().map(|kept| kept.at).collect()
    }

    #[test]
    fn verdicts_are_kept_in_order_until_they_are_stored() {
        let mut queue = VerdictQueue::default();
        queue.add(1, judged(VerdictState::Balanced, ""));
        queue.add(2, differing(5, 7));
        let stored = queue.all();
        assert_eq!(stored[0].verdict.scope, AuditScope::Window);
        queue.add(3, judged(VerdictState::Balanced, ""));
        queue.remove(&stored);
        assert_eq!(times(&queue), [3]);
        queue.remove(&[]);
        assert_eq!(times(&queue), [3]);
    }

    #[test]
    fn an_outage_is_one_verdict_that_is_not_stored_with_an_older_one() {
        let mut queue = VerdictQueue::default();
        queue.add(1, judged(VerdictState::Balanced, ""));
        (2..5).for_each(|n| queue.add(n, AuditVerdict::failed("clickhouse_unreachable")));
        queue.add(5, AuditVerdict::failed("kafka_unreachable"));
        assert_eq!(times(&queue), [1, 4, 5]);
        let stored = queue.all();
        queue.add(6, AuditVerdict::failed("kafka_unreachable"));
        queue.remove(&stored);
        assert_eq!(times(&queue), [6]);
    }

    #[test]
    fn a_full_queue_loses_no_difference() {
        let mut queue = VerdictQueue::default();
        queue.add(0, differing(3, 4));
        (1..1_500).for_each(|n| queue.add(n, judged(VerdictState::Balanced, "")));
        assert_eq!((times(&queue).len(), times(&queue)[..2].to_vec()), (KEPT_MAX, vec![0, 501]));
        (1_500..2_500).for_each(|n| queue.add(n, differing(i64::from(n), 9_000)));
        assert_eq!((times(&queue).len(), times(&queue)[0]), (KEPT_MAX, 1_500));
        assert_eq!(queue.all()[0].verdict.differences, differing(3, 9_000).differences);
        let anywhere = |from_ms| Some(DifferenceTimes::Anywhere { from_ms });
        let within = differing(3, 4).differences;
        assert_eq!(joined(within, anywhere(5)), anywhere(3));
        assert_eq!(joined(anywhere(2), within), anywhere(2));
        assert_eq!(joined(None, within), within);
    }
}
