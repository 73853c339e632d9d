//! The times of one query on the view and on the table, in pairs, and when they decide whether the query is fast enough.

use crate::report::median;

/// A result is decided when one side leads by this many pairs: more runs hardly change it.
const LEAD: usize = 6;

/// How much longer than the same query on the table a query may take.
#[derive(Debug, Clone, Copy)]
pub struct Bar {
    /// The largest ratio.
    pub ratio: f64,
    /// As many milliseconds more are as good.
    pub more_ms: f64,
}

impl Bar {
    fn is_met(self, pair: &[f64; 2]) -> bool {
        let [baseline, ours] = *pair;
        ours <= baseline * self.ratio || ours - baseline <= self.more_ms
    }
}

/// Milliseconds of runs, in pairs: on the table, and on the view.
#[derive(Debug, Default)]
pub struct PairedTimes(Vec<[f64; 2]>);

impl PairedTimes {
    /// Adds the two runs of a pair.
    pub fn add(&mut self, baseline: f64, ours: f64) {
        self.0.push([baseline, ours]);
    }

    /// Pairs so far.
    pub fn pairs(&self) -> usize {
        self.0.len()
    }

    /// The median of the runs on the view.
    pub fn ours(&self) -> f64 {
        median(self.0.iter().map(|[_, ours]| *ours))
    }

    /// The median of the runs on the table.
    pub fn baseline(&self) -> f64 {
        median(self.0.iter().map(|[baseline, _]| *baseline))
    }

    /// The median of the ratios within a pair: what else the machine does slows both runs of a pair.
    pub fn ratio(&self) -> f64 {
        median(self.0.iter().map(|[baseline, ours]| ours / baseline))
    }

    /// Whether most pairs do not meet the bar.
    pub fn falls_short(&self, bar: Bar) -> bool {
        2 * self.met(bar) < self.pairs()
    }

    /// Whether more pairs, up to `most`, cannot change the result, or hardly.
    pub fn is_decided(&self, bar: Bar, most: usize) -> bool {
        let (met, pairs) = (self.met(bar), self.pairs());
        let missed = pairs - met;
        met.abs_diff(missed) >= LEAD || 2 * met.max(missed) > most || pairs >= most
    }

    fn met(&self, bar: Bar) -> usize {
        self.0.iter().filter(|pair| bar.is_met(pair)).count()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BAR: Bar = Bar { ratio: 1.1, more_ms: 3.0 };

    fn times(ours: &[f64]) -> PairedTimes {
        PairedTimes(ours.iter().map(|ours| [100.0, *ours]).collect())
    }

    #[test]
    fn a_query_falls_short_when_most_of_its_pairs_do() {
        assert!(times(&[111.0, 112.0, 109.0]).falls_short(BAR));
        assert!(!times(&[111.0, 110.0, 109.0]).falls_short(BAR));
        let few = PairedTimes(vec![[10.0, 12.9]]);
        assert!(!few.falls_short(BAR), "{}", few.ratio());
        assert!(few.falls_short(Bar { more_ms: 0.0, ..BAR }));
    }

    #[test]
    fn a_lead_of_six_pairs_decides_or_a_majority_of_all() {
        let [fast, slow] = [90.0, 120.0];
        assert!(!times(&[fast; 5]).is_decided(BAR, 21));
        assert!(times(&[fast; 6]).is_decided(BAR, 21));
        assert!(times(&[slow; 6]).is_decided(BAR, 21));
        let mixed: Vec<_> = [fast, slow].into_iter().cycle().take(20).collect();
        assert!(!times(&mixed).is_decided(BAR, 21));
        assert!(times(&[&mixed[..], &[slow]].concat()).is_decided(BAR, 21));
        assert!(times(&[fast; 2]).is_decided(BAR, 3));
    }
}
