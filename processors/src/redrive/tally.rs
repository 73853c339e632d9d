//! What a redrive did with the dead letters that it selected, and what became of them. Pure.

use std::collections::BTreeMap;
use std::fmt;

use records::dead_letters::redrive_decision::{CHANGED, LOST, NotSent, PARKED, REFUSED};
use records::dead_letters::state::DeadLetterState;
use serde::Serialize;

use crate::clickhouse::redrive_counts::{JobCount, OutcomeCount};

/// Reasons for which a repair does not apply that are counted apart.
const REASONS_MAX: usize = 10;
const OTHER_REASONS: &str = "other reasons";

/// Counts of dead letters.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub(crate) struct Tally {
    /// Sent; in a dry run, those that would be.
    pub(crate) sent: u64,
    /// Of a dry run: those of them that would fail again, by error code.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub(crate) forced: BTreeMap<String, u64>,
    /// Not sent, because they would fail again; by error code.
    pub(crate) would_fail_again: BTreeMap<String, u64>,
    /// Of a dry run: those that would fail again and to which the repair does not apply, by the reason.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub(crate) unrepaired: BTreeMap<String, u64>,
    /// Not sent, because too many copies have failed.
    pub(crate) parked: u64,
    /// Not sent, because their bytes exist no longer.
    pub(crate) lost: u64,
    /// Refused by the brokers.
    pub(crate) refused: u64,
    /// Not sent, because another command changed their state.
    pub(crate) changed: u64,
}

impl Tally {
    /// Counts a dead letter that is not sent.
    pub(crate) fn add(&mut self, not_sent: &NotSent) {
        *self.of_cause(not_sent.cause()) += 1;
        if let NotSent::WouldFail { unrepaired, .. } = not_sent {
            self.add_unrepaired(unrepaired.as_deref());
        }
    }

    /// Counts a dead letter to which the repair does not apply for this reason, if there is one.
    pub(crate) fn add_unrepaired(&mut self, reason: Option<&str>) {
        let Some(reason) = reason else { return };
        let is_new = !self.unrepaired.contains_key(reason);
        let is_full = self.unrepaired.len() >= REASONS_MAX;
        let reason = if is_new && is_full { OTHER_REASONS } else { reason };
        *self.unrepaired.entry(reason.to_owned()).or_default() += 1;
    }

    fn of_cause(&mut self, cause: &str) -> &mut u64 {
        match cause {
            PARKED => &mut self.parked,
            LOST => &mut self.lost,
            REFUSED => &mut self.refused,
            CHANGED => &mut self.changed,
            code => self.would_fail_again.entry(code.to_owned()).or_default(),
        }
    }

    /// The counts of a job, from its events.
    pub(crate) fn of_job(counts: &[JobCount]) -> Self {
        let mut tally = Self::default();
        for JobCount { event, cause, letters } in counts {
            match event.as_str() {
                "sent" => tally.sent += letters,
                "parked" => tally.parked += letters,
                "skipped" => *tally.of_cause(cause) += letters,
                _ => {}
            }
        }
        tally
    }

    /// How many were not sent.
    pub(crate) fn not_sent(&self) -> u64 {
        let would_fail = self.would_fail_again.values().sum::<u64>();
        would_fail + self.parked + self.lost + self.refused + self.changed
    }

    /// Names and values for the table of jobs.
    pub(crate) fn counts(&self) -> [(&'static str, u64); 6] {
        [
            ("sent", self.sent),
            ("would_fail_again", self.would_fail_again.values().sum()),
            ("parked", self.parked),
            ("lost", self.lost),
            ("refused", self.refused),
            ("changed", self.changed),
        ]
    }

    /// The text about those that were not sent; empty if there are none.
    fn not_sent_text(&self) -> String {
        let count = |count: u64, text: &str| (count > 0).then(|| format!("{count} {text}"));
        let would_fail = self.would_fail_again.values().sum();
        let parts = [
            count(would_fail, &format!("would fail again ({})", by_name(&self.would_fail_again))),
            count(self.parked, "parked"),
            count(self.lost, "lost"),
            count(self.refused, "refused by the brokers"),
            count(self.changed, "changed by another command"),
        ];
        let parts: Vec<_> = parts.into_iter().flatten().collect();
        if parts.is_empty() { String::new() } else { format!("; not sent: {}", parts.join(", ")) }
    }

    /// The result of a dry run.
    pub(crate) fn planned(&self) -> String {
        let forced = match self.forced.is_empty() {
            true => String::new(),
            false => format!(", of which would fail again: {}", by_name(&self.forced)),
        };
        format!("{} would be sent{forced}{}", self.sent, self.not_sent_text())
    }

    /// Of a dry run: to how many `repair` does not apply, a line for each reason.
    pub(crate) fn unrepaired_lines(&self, repair: &str) -> Vec<String> {
        let line = |(reason, count): (&String, &u64)| {
            format!("repair {repair} does not apply to {count}: {reason}")
        };
        self.unrepaired.iter().map(line).collect()
    }
}

impl fmt::Display for Tally {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} sent{}", self.sent, self.not_sent_text())
    }
}

fn by_name(counts: &BTreeMap<String, u64>) -> String {
    let texts: Vec<_> = counts.iter().map(|(name, count)| format!("{name} {count}")).collect();
    texts.join(", ")
}

/// What became of the copies that a job sent.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub(crate) struct Outcome {
    /// The table has their clicks.
    pub(crate) in_table: u64,
    /// Became dead letters again, by group.
    pub(crate) failed_again: BTreeMap<String, u64>,
    /// Neither is known yet.
    pub(crate) pending: u64,
    /// Another command changed their state since.
    pub(crate) changed: u64,
}

impl Outcome {
    /// The outcome by the states of the view.
    pub(crate) fn of(counts: &[OutcomeCount]) -> Self {
        let mut outcome = Self::default();
        for OutcomeCount { state, group, letters } in counts {
            match state {
                DeadLetterState::Resolved => outcome.in_table += letters,
                DeadLetterState::FailedAgain => {
                    *outcome.failed_again.entry(group.clone()).or_default() += letters;
                }
                DeadLetterState::Pending => outcome.pending += letters,
                DeadLetterState::Open | DeadLetterState::Discarded | DeadLetterState::Parked => {
                    outcome.changed += letters;
                }
            }
        }
        outcome
    }

    /// Whether all of `sent` copies are in the table.
    pub(crate) fn is_success(&self, sent: u64) -> bool {
        let is_known = self.failed_again.is_empty() && self.pending == 0 && self.changed == 0;
        is_known && self.in_table >= sent
    }

    /// The result of a redrive that waited for it.
    pub(crate) fn text(&self, tally: &Tally) -> String {
        let failed: u64 = self.failed_again.values().sum();
        let groups: Vec<_> = self.failed_again.keys().map(String::as_str).collect();
        let mut text = format!("{} sent: {} in the table", tally.sent, self.in_table);
        if failed > 0 {
            let name = if groups.len() == 1 { "group" } else { "groups" };
            text += &format!(", {failed} failed again ({name} {})", groups.join(", "));
        }
        if self.pending > 0 {
            text += &format!(", {} still pending", self.pending);
        }
        if self.changed > 0 {
            text += &format!(", {} changed by another command", self.changed);
        }
        // The server did not answer in time.
        let unknown =
            tally.sent.saturating_sub(self.in_table + failed + self.pending + self.changed);
        if unknown > 0 {
            text += &format!(", {unknown} unknown");
        }
        text + &tally.not_sent_text()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use records::error::RecordError;

    fn count(event: &str, cause: &str, letters: u64) -> JobCount {
        JobCount { event: event.to_owned(), cause: cause.to_owned(), letters }
    }

    #[test]
    fn a_result_names_what_was_sent_and_why_the_others_were_not() {
        let counts = [
            count("parked", "", 2),
            count("selected", "", 7),
            count("sent", "", 412),
            count("skipped", "bad_magic", 4),
            count("skipped", "lost", 1),
            count("skipped", "refused", 1),
            count("skipped", "trailing_bytes", 5),
        ];
        let mut tally = Tally::of_job(&counts);
        assert_eq!(
            tally.to_string(),
            "412 sent; not sent: 9 would fail again (bad_magic 4, trailing_bytes 5), 2 parked, 1 lost, \
             1 refused by the brokers"
        );
        assert_eq!(tally.not_sent(), 13);
        assert_eq!(tally.counts()[1], ("would_fail_again", 9));
        tally.add(&NotSent::Changed(DeadLetterState::Discarded));
        assert_eq!((tally.changed, tally.not_sent()), (1, 14));
        let forced =
            Tally { sent: 3, forced: [("bad_magic".to_owned(), 2)].into(), ..Tally::default() };
        assert_eq!(forced.planned(), "3 would be sent, of which would fail again: bad_magic 2");
        assert_eq!(Tally::default().to_string(), "0 sent");
    }

    #[test]
    fn a_repair_that_does_not_apply_is_named_with_a_bounded_number_of_reasons() {
        let mut tally = Tally::default();
        for _ in 0..40 {
            let reason = Some("schema 99 is not registered".to_owned());
            tally.add(&NotSent::would_fail(&RecordError::EmptyValue, reason));
        }
        tally.add(&NotSent::would_fail(&RecordError::EmptyValue, None));
        let expected = ["repair schema_id=99 does not apply to 40: schema 99 is not registered"];
        assert_eq!(tally.unrepaired_lines("schema_id=99"), expected);
        for reason in 0..100 {
            tally.add_unrepaired(Some(&format!("z {reason}")));
        }
        assert_eq!(tally.unrepaired.len(), REASONS_MAX + 1);
        assert_eq!(tally.unrepaired.get(OTHER_REASONS), Some(&91));
        assert_eq!(tally.unrepaired.values().sum::<u64>(), 140);
    }

    #[test]
    fn an_outcome_names_the_groups_that_failed_again_and_what_is_pending() {
        let tally = Tally { sent: 412, ..Tally::default() };
        let of =
            |state, group: &str, letters| OutcomeCount { state, group: group.to_owned(), letters };
        let resolved = of(DeadLetterState::Resolved, "3fa94c1b", 412);
        let outcome = Outcome::of(&[resolved]);
        assert!(outcome.is_success(412) && !Outcome::default().is_success(412));
        assert_eq!(outcome.text(&tally), "412 sent: 412 in the table");
        assert_eq!(Outcome::default().text(&tally), "412 sent: 0 in the table, 412 unknown");
        let outcome = Outcome::of(&[
            of(DeadLetterState::Resolved, "a", 409),
            of(DeadLetterState::FailedAgain, "3fa94c1b", 3),
        ]);
        assert!(!outcome.is_success(412));
        assert_eq!(
            outcome.text(&tally),
            "412 sent: 409 in the table, 3 failed again (group 3fa94c1b)"
        );
        let outcome = Outcome::of(&[
            of(DeadLetterState::FailedAgain, "b", 1),
            of(DeadLetterState::FailedAgain, "a", 2),
            of(DeadLetterState::Pending, "a", 4),
            of(DeadLetterState::Discarded, "a", 1),
        ]);
        let tally = Tally { sent: 8, lost: 1, ..Tally::default() };
        assert_eq!(
            outcome.text(&tally),
            "8 sent: 0 in the table, 3 failed again (groups a, b), 4 still pending, \
             1 changed by another command; not sent: 1 lost"
        );
    }
}
