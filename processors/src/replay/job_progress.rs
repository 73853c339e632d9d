//! How far a replay is, as its workers measure it and the table of jobs holds it. Pure.

use std::collections::BTreeMap;
use std::fmt;

use records::replay::progress_rate::seconds_left;
use records::replay::replay_throttle::PauseCause;
use records::replay::throttle_limits::ThrottleLimits;
use serde_json::{Value, json};

use crate::replay::stored_plan::pass_number;

/// The count of a replay that holds the number of its passes.
pub(crate) const PASSES: &str = "passes";
const OFFSETS: &str = "offsets";
const OFFSETS_DONE: &str = "offsets_done";
const PER_SECOND: &str = "offsets_per_second";
const LIVE_LAG: &str = "live_lag_records";
const PARTS: &str = "active_parts";
const PAUSED: &str = "paused_";

/// The progress of a replay.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct JobProgress {
    /// The number of the pass that is read.
    pub(crate) pass: usize,
    pub(crate) passes: usize,
    pub(crate) offsets: u64,
    pub(crate) done: u64,
    /// Offsets a second.
    pub(crate) per_second: u64,
    /// Offsets that live processing has not committed; `None` while they are not known.
    pub(crate) live_lag: Option<u64>,
    /// The most active parts of a partition of the table; `None` while they are not known.
    pub(crate) parts: Option<u64>,
    /// Why the replay pauses.
    pub(crate) cause: Option<PauseCause>,
}

impl JobProgress {
    /// The progress that a job has stored.
    pub(crate) fn of_counts(counts: &BTreeMap<String, u64>) -> Self {
        let count = |name: &str| counts.get(name).copied();
        let is_paused = |cause: &PauseCause| count(&paused(*cause)) == Some(1);
        let passes = count(PASSES).and_then(|passes| usize::try_from(passes).ok());
        Self {
            pass: pass_number(counts),
            passes: passes.unwrap_or(1),
            offsets: count(OFFSETS).unwrap_or_default(),
            done: count(OFFSETS_DONE).unwrap_or_default(),
            per_second: count(PER_SECOND).unwrap_or_default(),
            live_lag: count(LIVE_LAG),
            parts: count(PARTS),
            cause: PauseCause::ALL.into_iter().find(is_paused),
        }
    }

    /// The counts that a job stores, and those that it no longer has. The leader stores the pass when it begins.
    pub(crate) fn counts(&self) -> Vec<(String, Option<u64>)> {
        let own = [
            (OFFSETS, Some(self.offsets)),
            (OFFSETS_DONE, Some(self.done)),
            (PER_SECOND, Some(self.per_second)),
            (LIVE_LAG, self.live_lag),
            (PARTS, self.parts),
        ];
        let causes = PauseCause::ALL.into_iter();
        let causes = causes.map(|own| (paused(own), (self.cause == Some(own)).then_some(1)));
        own.into_iter().map(|(name, count)| (name.to_owned(), count)).chain(causes).collect()
    }

    /// Seconds to the end at the present rate; `None` while nothing is processed.
    pub(crate) fn seconds_left(&self) -> Option<u64> {
        seconds_left(self.offsets.saturating_sub(self.done), self.per_second)
    }

    /// What the replay does: `reading`, or why it pauses.
    pub(crate) fn reading(&self) -> String {
        self.cause.map_or_else(|| "reading".to_owned(), |cause| format!("paused: {}", cause.name()))
    }

    /// As JSON.
    pub(crate) fn json(&self) -> Value {
        json!({
            "pass": self.pass,
            "passes": self.passes,
            "offsets": self.offsets,
            "offsets_done": self.done,
            "offsets_per_second": self.per_second,
            "seconds_left": self.seconds_left(),
            "live_lag_records": self.live_lag,
            "active_parts": self.parts,
            "paused": self.cause.map(PauseCause::name),
        })
    }
}

impl fmt::Display for JobProgress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let known =
            |count: Option<u64>| count.map_or_else(|| "unknown".to_owned(), |it| it.to_string());
        let left = self.seconds_left().map_or_else(|| "unknown".to_owned(), shown_time);
        if self.passes > 1 {
            write!(f, "pass {}/{}, ", self.pass, self.passes)?;
        }
        write!(
            f,
            "{}/{} offsets, {}/s, time left {left}, live lag {}, active parts {}, {}",
            self.done,
            self.offsets,
            self.per_second,
            known(self.live_lag),
            known(self.parts),
            self.reading()
        )
    }
}

/// The count that is 1 while a replay pauses for a cause.
fn paused(cause: PauseCause) -> String {
    format!("{PAUSED}{}", cause.name())
}

/// Hours, minutes and seconds.
fn shown_time(seconds: u64) -> String {
    format!("{}:{:02}:{:02}", seconds / 3600, seconds / 60 % 60, seconds % 60)
}

/// Limits as JSON; null is no limit.
pub(crate) fn limits_json(limits: &ThrottleLimits) -> Value {
    json!({
        "rate": limits.rate.0,
        "max_lag_seconds": limits.max_lag_seconds.0,
        "max_parts": limits.max_parts.0,
        "paused": limits.is_paused,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::replay::stored_plan::PASS;

    #[test]
    fn a_progress_is_read_as_it_was_stored_and_an_unknown_value_is_not_stored() {
        let mut counts = BTreeMap::from([(PASS.to_owned(), 2), (PASSES.to_owned(), 5)]);
        let mut store = |progress: JobProgress| {
            for (name, count) in progress.counts() {
                match count {
                    Some(count) => counts.insert(name, count),
                    None => counts.remove(&name),
                };
            }
            (JobProgress::of_counts(&counts), counts.len())
        };
        let paused = JobProgress {
            pass: 2,
            passes: 5,
            offsets: 9_000,
            done: 1_000,
            per_second: 2,
            live_lag: Some(50),
            parts: Some(7),
            cause: Some(PauseCause::LiveLag),
        };
        assert_eq!(store(paused), (paused, 8));
        let expected = "pass 2/5, 1000/9000 offsets, 2/s, time left 1:06:40, live lag 50, active parts 7, \
                        paused: live_lag";
        assert_eq!(paused.to_string(), expected);
        assert_eq!(paused.json()["paused"], "live_lag");
        let reading =
            JobProgress { per_second: 0, live_lag: None, parts: None, cause: None, ..paused };
        assert_eq!(store(reading), (reading, 5));
        let single = JobProgress { pass: 1, passes: 1, ..reading };
        let expected = "1000/9000 offsets, 0/s, time left unknown, live lag unknown, \
                        active parts unknown, reading";
        assert_eq!(single.to_string(), expected);
        assert_eq!(reading.json()["seconds_left"], Value::Null);
    }
}
