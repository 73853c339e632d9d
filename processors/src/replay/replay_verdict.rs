//! What a replay did, as an audit of its ranges finds it. Pure.

use std::collections::BTreeMap;
use std::fmt;

use serde::Serialize;

/// The verdict. The records of the ranges are explained completely: each is an event that was rewritten,
/// another record of such an event, or a dead letter; or it is named as missing.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub(crate) struct ReplayVerdict {
    /// Records of the ranges.
    pub(crate) records: u64,
    /// Distinct events of these records.
    pub(crate) events: u64,
    /// Events whose visible row was inserted since the start of the job, by the server's clock.
    pub(crate) rewritten: u64,
    /// Those of them whose row has other rules than the plan.
    pub(crate) other_rules: u64,
    /// Further records of an event.
    pub(crate) resends: u64,
    /// Events without such a row, whose records all have dead letters.
    pub(crate) dead_lettered: u64,
    /// Events without such a row and without a dead letter.
    pub(crate) missing: u64,
    /// Records that cannot become rows.
    pub(crate) undecodable: u64,
    /// Those of them that have no dead letter.
    pub(crate) undecodable_without_dead_letter: u64,
    /// Rows beyond the first of an event, and rows on another shard than their own.
    pub(crate) duplicates: u64,
    /// Offsets of the ranges that retention has deleted since the plan.
    pub(crate) expired: u64,
    /// Rows of the window that no record of the ranges has replaced: their records have expired.
    pub(crate) orphaned_expired: u64,
    /// Likewise: their records cannot become rows now.
    pub(crate) orphaned_undecodable: u64,
    /// Likewise: they name records of another topic.
    pub(crate) orphaned_other_topic: u64,
    /// Likewise: the log holds other clicks, or none, where they name their records.
    pub(crate) orphaned_not_in_log: u64,
}

/// The count of a job that holds whether its verdict is balanced: 1, or 0.
const BALANCED: &str = "balanced";

impl ReplayVerdict {
    /// Each count with its name in the table of jobs.
    pub(crate) fn counts(&self) -> [(&'static str, u64); 16] {
        [
            ("records", self.records),
            ("events", self.events),
            ("rewritten", self.rewritten),
            ("other_rules", self.other_rules),
            ("resends", self.resends),
            ("dead_lettered", self.dead_lettered),
            ("missing", self.missing),
            ("undecodable", self.undecodable),
            ("undecodable_without_dead_letter", self.undecodable_without_dead_letter),
            ("duplicates", self.duplicates),
            ("expired", self.expired),
            ("orphaned_expired", self.orphaned_expired),
            ("orphaned_undecodable", self.orphaned_undecodable),
            ("orphaned_other_topic", self.orphaned_other_topic),
            ("orphaned_not_in_log", self.orphaned_not_in_log),
            (BALANCED, u64::from(self.is_balanced())),
        ]
    }

    /// The verdict that the counts of a job hold; `None` before there is one.
    pub(crate) fn of_counts(counts: &BTreeMap<String, u64>) -> Option<Self> {
        let count = |name: &str| counts.get(name).copied();
        Some(Self {
            records: count("records")?,
            events: count("events")?,
            rewritten: count("rewritten")?,
            other_rules: count("other_rules")?,
            resends: count("resends")?,
            dead_lettered: count("dead_lettered")?,
            missing: count("missing")?,
            undecodable: count("undecodable")?,
            undecodable_without_dead_letter: count("undecodable_without_dead_letter")?,
            duplicates: count("duplicates")?,
            expired: count("expired")?,
            orphaned_expired: count("orphaned_expired")?,
            orphaned_undecodable: count("orphaned_undecodable")?,
            orphaned_other_topic: count("orphaned_other_topic")?,
            orphaned_not_in_log: count("orphaned_not_in_log")?,
        })
    }

    /// Whether each record is explained, and each click has the rules of the plan.
    pub(crate) fn is_balanced(&self) -> bool {
        self.missing == 0
            && self.other_rules == 0
            && self.undecodable_without_dead_letter == 0
            && self.duplicates == 0
            && self.expired == 0
            && self.orphaned_not_in_log == 0
    }

    /// Rows of the window that no record of the ranges has replaced.
    fn orphaned(&self) -> u64 {
        self.orphaned_expired
            + self.orphaned_undecodable
            + self.orphaned_other_topic
            + self.orphaned_not_in_log
    }
}

impl fmt::Display for ReplayVerdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { records, events, rewritten, resends, dead_lettered, .. } = self;
        let verdict = if self.is_balanced() { "balanced" } else { "NOT balanced" };
        write!(
            f,
            "{verdict}: {records} records, {events} clicks: {rewritten} rewritten ({} by other rules), {dead_lettered} \
             dead-lettered, {} missing; {resends} duplicate sends, {} undecodable ({} without a dead \
             letter), {} shown twice, {} offsets expired, {} rows orphaned",
            self.other_rules,
            self.missing,
            self.undecodable,
            self.undecodable_without_dead_letter,
            self.duplicates,
            self.expired,
            self.orphaned()
        )?;
        let causes = [
            ("record expired", self.orphaned_expired),
            ("record undecodable now", self.orphaned_undecodable),
            ("record of another topic", self.orphaned_other_topic),
            ("not in the log", self.orphaned_not_in_log),
        ];
        let causes = causes.iter().filter(|(_, count)| *count > 0);
        let causes: Vec<_> = causes.map(|(cause, count)| format!("{count} {cause}")).collect();
        if causes.is_empty() { Ok(()) } else { write!(f, " ({})", causes.join(", ")) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_verdict_is_balanced_only_if_nothing_is_unexplained() {
        let good = ReplayVerdict {
            records: 9,
            events: 7,
            rewritten: 6,
            resends: 1,
            dead_lettered: 1,
            undecodable: 1,
            orphaned_expired: 3,
            orphaned_other_topic: 2,
            ..ReplayVerdict::default()
        };
        let orphaned = "5 rows orphaned (3 record expired, 2 record of another topic)";
        assert!(good.to_string().ends_with(orphaned), "{good}");
        assert!(
            good.is_balanced() && good.to_string().starts_with("balanced: 9 records, 7 clicks")
        );
        for bad in [
            ReplayVerdict { missing: 1, ..good },
            ReplayVerdict { other_rules: 1, ..good },
            ReplayVerdict { undecodable_without_dead_letter: 1, ..good },
            ReplayVerdict { duplicates: 1, ..good },
            ReplayVerdict { expired: 1, ..good },
            ReplayVerdict { orphaned_not_in_log: 1, ..good },
        ] {
            assert!(!bad.is_balanced() && bad.to_string().starts_with("NOT balanced"), "{bad}");
        }
    }

    #[test]
    fn a_verdict_is_read_from_the_counts_of_its_job() {
        let verdict = ReplayVerdict { records: 3, missing: 2, ..ReplayVerdict::default() };
        let mut counts: BTreeMap<String, u64> =
            verdict.counts().into_iter().map(|(name, count)| (name.to_owned(), count)).collect();
        counts.insert("offsets".to_owned(), 9);
        assert_eq!(ReplayVerdict::of_counts(&counts), Some(verdict));
        counts.remove("missing");
        assert_eq!(ReplayVerdict::of_counts(&counts), None);
    }
}
