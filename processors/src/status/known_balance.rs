//! What the verdicts of audits state of log and table: the line and the findings of the balance. Pure.

use records::dead_letters::shown_text::json_time;
use serde_json::{Value, json};

use crate::status::alert_condition::AlertCondition;
use crate::status::finding_level::FindingLevel;
use crate::status::shown_values::{duration, since};
use crate::status::status_finding::StatusFinding;

/// What is known of one log, as the view `audit_balance` has it.
#[derive(Debug, Clone, Default)]
pub struct KnownBalance {
    /// `balanced`, `out_of_balance` or `unknown`.
    pub state: String,
    /// The same, of the newest run alone.
    pub newest_state: String,
    /// Why the newest run is unknown or out of balance.
    pub newest_code: String,
    /// Time since the newest run, by the clock of ClickHouse.
    pub age_seconds: i64,
    /// Log time up to which the newest balanced run compared the log, milliseconds since 1970.
    pub balanced_until_ms: Option<i64>,
    /// Log time of the first difference that no later run has compared again.
    pub differences_from_ms: Option<i64>,
}

impl KnownBalance {
    /// As a line.
    pub(super) fn line(&self, now_ms: i64) -> String {
        let balanced = self.balanced_until_ms.map_or_else(
            || "no run found log and table to balance".to_owned(),
            |until| format!("balanced until {} ago", since(until, now_ms)),
        );
        let known = match self.state.as_str() {
            "balanced" => balanced,
            "out_of_balance" => self.differences(now_ms),
            _ => format!("unknown ({}); {balanced}", self.newest_code),
        };
        format!("{known}; newest run {} ago", duration(self.age_seconds as f64))
    }

    /// As JSON.
    pub(super) fn object(&self) -> Value {
        let time = |ms: Option<i64>| ms.map(json_time);
        json!({
            "state": self.state,
            "newest_state": self.newest_state,
            "newest_code": self.newest_code,
            "age_seconds": self.age_seconds,
            "balanced_until": time(self.balanced_until_ms),
            "differences_from": time(self.differences_from_ms),
        })
    }

    fn differences(&self, now_ms: i64) -> String {
        let from =
            self.differences_from_ms.map(|from| format!(" since {} ago", since(from, now_ms)));
        format!("log and table differ{}", from.unwrap_or_default())
    }

    /// What is wrong, or not known. The newest differences page, as their alerts; earlier ones, which have paged, are a
    /// ticket until an audit has compared them again.
    fn finding(&self, now_ms: i64) -> Option<StatusFinding> {
        let audit = || "processors audit --wait-seconds 60".to_owned();
        if self.newest_state == "out_of_balance" {
            let text = format!("{}, by the newest audit", self.differences(now_ms));
            return Some(StatusFinding::of_heading("out_of_balance", text, audit()));
        }
        if self.state == "out_of_balance" {
            let text = format!(
                "{}; no later audit has compared that part of the log again",
                self.differences(now_ms)
            );
            return Some(StatusFinding::alert(AlertCondition::DifferencesOpen, text, audit()));
        }
        if self.state == "balanced" {
            return None;
        }
        if self.newest_code == "no_verdict" {
            let text = format!(
                "the newest verdict of an audit is {} old",
                duration(self.age_seconds as f64)
            );
            return Some(silent(text));
        }
        let text = format!("the verdict of the newest audit is unknown: {}", self.newest_code);
        let next = "ch \"SELECT * FROM audit_balance FORMAT Vertical\"".to_owned();
        let finding = StatusFinding::of_heading(&self.newest_code, text, next);
        Some(StatusFinding { level: FindingLevel::Ticket, ..finding })
    }
}

fn silent(text: String) -> StatusFinding {
    let next = "systemctl status clicktrail-audit, or docker compose ps -a".to_owned();
    StatusFinding::alert(AlertCondition::AuditSilent, text, next)
}

/// The finding on a balance; `None` in it: no verdict is stored.
pub(super) fn of_balance(balance: Option<&KnownBalance>, now_ms: i64) -> Option<StatusFinding> {
    match balance {
        Some(known) => known.finding(now_ms),
        None => Some(silent("no audit has stored a verdict".to_owned())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW_MS: i64 = 1_764_000_000_000;

    fn known(state: &str, newest: (&str, &str)) -> KnownBalance {
        KnownBalance {
            state: state.to_owned(),
            newest_state: newest.0.to_owned(),
            newest_code: newest.1.to_owned(),
            age_seconds: 12,
            balanced_until_ms: Some(NOW_MS - 45_000),
            differences_from_ms: (state == "out_of_balance").then_some(NOW_MS - 7_200_000),
        }
    }

    #[test]
    fn each_state_has_its_line_and_all_but_balanced_a_finding() {
        let (wrong, unknown) = ("out_of_balance", "unknown");
        for (known, line, finding) in [
            (known("balanced", ("balanced", "")), "balanced until 45 s ago", None),
            (
                known(wrong, (wrong, wrong)),
                "log and table differ since 2 h ago",
                Some((wrong, FindingLevel::Wrong)),
            ),
            (
                known(wrong, ("balanced", "")),
                "log and table differ since 2 h ago",
                Some((wrong, FindingLevel::Ticket)),
            ),
            (
                known(wrong, (unknown, "no_verdict")),
                "log and table differ since 2 h ago",
                Some((wrong, FindingLevel::Ticket)),
            ),
            (
                known(unknown, (unknown, "no_verdict")),
                "unknown (no_verdict); balanced until 45 s ago",
                Some(("audit", FindingLevel::Ticket)),
            ),
            (
                known(unknown, (unknown, "kafka_unreachable")),
                "unknown (kafka_unreachable); balanced until 45 s ago",
                Some(("kafka_unreachable", FindingLevel::Ticket)),
            ),
        ] {
            assert_eq!(known.line(NOW_MS), format!("{line}; newest run 12 s ago"));
            let found = of_balance(Some(&known), NOW_MS);
            let found = found.as_ref().map(|it| (it.heading.as_str(), it.level));
            assert_eq!(found, finding, "{known:?}");
            assert!(known.object()["balanced_until"].is_string(), "{known:?}");
        }
        assert_eq!(of_balance(None, NOW_MS).unwrap().name, "AuditSilent");
    }
}
