//! From the facts to what is wrong, and to the verdict. Pure.

use crate::status::facts::{GroupState, ServiceFacts, ServiceFailure, ServiceKind, StatusFacts};
use crate::status::finding_level::FindingLevel;
use crate::status::known_balance::of_balance;
use crate::status::server_findings::of_servers;
use crate::status::service_findings::of_services;
use crate::status::status_finding::StatusFinding;

/// How long a record waits before a group without partitions is reported, milliseconds: longer than a rebalance
/// that waits for no session.
const UNASSIGNED_MS: i64 = 15_000;

/// The verdict on the whole pipeline.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StatusVerdict {
    /// Every part answered, and nothing is wrong.
    Healthy,
    /// Every part answered, and what is wrong can wait.
    Ticket,
    /// Something is wrong.
    Wrong,
    /// Nothing is known to be wrong, and a part did not answer.
    Unknown,
}

impl StatusVerdict {
    /// The verdict of findings.
    pub fn of(findings: &[StatusFinding]) -> Self {
        let has = |level| findings.iter().any(|finding| finding.level == level);
        if has(FindingLevel::Wrong) {
            Self::Wrong
        } else if has(FindingLevel::Unknown) {
            Self::Unknown
        } else if has(FindingLevel::Ticket) {
            Self::Ticket
        } else {
            Self::Healthy
        }
    }

    /// Its name.
    pub fn name(self) -> &'static str {
        match self {
            Self::Healthy => "healthy",
            Self::Ticket => "ticket",
            Self::Wrong => "wrong",
            Self::Unknown => "unknown",
        }
    }
}

/// What is wrong, then what is not known, and then what can wait.
pub fn findings(facts: &StatusFacts) -> Vec<StatusFinding> {
    let lag = facts.kafka.as_ref().ok().and_then(|kafka| kafka.group.as_ref().ok());
    // The lag of a part of the partitions is not the lag.
    let lag = lag.filter(|group| group.unknown_partitions == 0).map(|group| group.lag_records);
    let mut findings = of_servers(facts);
    findings.extend(of_services(&facts.services, facts.at_ms as f64 / 1000.0, lag));
    findings.extend(unassigned(facts));
    if let Ok(balance) = &facts.clickhouse.balance {
        // The admin port of the audit, or the server for which it waits, may have shown the same.
        let is_new = |own: &StatusFinding| findings.iter().all(|it| it.heading != own.heading);
        let own = of_balance(balance.as_ref(), facts.at_ms).filter(is_new);
        findings.extend(own);
    }
    findings.sort_by_key(|finding| finding.level);
    findings
}

/// Processors run, and the group has assigned no partition to any of them although records wait. A group that has
/// just begun is not reported. A process that did not answer may have the partitions.
fn unassigned(facts: &StatusFacts) -> Option<StatusFinding> {
    let group = facts.kafka.as_ref().ok()?.group.as_ref().ok()?;
    let waited_ms = facts.at_ms.saturating_sub(group.oldest_unread_ms?);
    let commits = group.rates.is_some_and(|rates| rates.committed > 0);
    let answers = facts.services.iter().filter_map(|service| service.answer.as_ref().ok());
    let pages = answers.filter(|answer| answer.kind == ServiceKind::Processors);
    let assigned =
        pages.map(|answer| answer.last.value("clicktrail_processors_partitions_assigned"));
    let assigned = assigned.collect::<Option<Vec<_>>>()?;
    let has_none = !assigned.is_empty() && assigned.iter().all(|count| *count == 0.0);
    if !has_none || commits || waited_ms <= UNASSIGNED_MS {
        return None;
    }
    let GroupState { name, lag_records, .. } = group;
    let text = format!(
        "group {name}: none of {} processors has a partition, and {lag_records} records wait; the group may \
         wait for the session of a former member to end, which takes up to a minute",
        assigned.len()
    );
    let finding = StatusFinding {
        name: "PartitionsUnassigned".to_owned(),
        ..StatusFinding::of_heading("lag-grows", text, "processors status --watch".to_owned())
    };
    let is_silent = |service: &ServiceFacts| {
        matches!(service.answer, Err(ServiceFailure::Silent(_) | ServiceFailure::Failed(_)))
    };
    Some(if facts.services.iter().any(is_silent) { finding.unknown() } else { finding })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::status::facts::GroupRates;
    use crate::status::healthy_facts::{NOW_MS, healthy};
    use crate::status::known_balance::KnownBalance;
    use crate::status::metric_samples::MetricSamples;

    #[test]
    fn what_is_wrong_comes_before_what_is_unknown_and_decides_the_verdict() {
        let mut facts = healthy();
        assert_eq!(StatusVerdict::of(&findings(&facts)), StatusVerdict::Healthy);
        facts.services[0].answer = Err(ServiceFailure::Silent(2));
        assert_eq!(StatusVerdict::of(&findings(&facts)), StatusVerdict::Unknown);
        let mut refused = facts.services[0].clone();
        refused.answer = Err(ServiceFailure::Refused);
        facts.services.push(refused);
        let levels: Vec<_> = findings(&facts).into_iter().map(|it| it.level).collect();
        assert_eq!(levels, [FindingLevel::Wrong, FindingLevel::Unknown]);
        assert_eq!(StatusVerdict::of(&findings(&facts)), StatusVerdict::Wrong);
    }

    /// A record has waited, and processors have these numbers of partitions.
    fn assigned(partitions: &[u32], waited_s: i64, committed: i64) -> StatusFacts {
        let mut facts = healthy();
        let group = facts.kafka.as_mut().unwrap().group.as_mut().unwrap();
        group.oldest_unread_ms = Some(NOW_MS - waited_s * 1000);
        group.rates = Some(GroupRates { appended: 5, committed });
        let service = facts.services[0].clone();
        let processors = partitions.iter().map(|count| {
            let mut own = service.clone();
            let answer = own.answer.as_mut().unwrap();
            answer.kind = ServiceKind::Processors;
            answer.last = MetricSamples::read(&format!(
                "clicktrail_processors_partitions_assigned {count}\n"
            ));
            own
        });
        facts.services = processors.collect();
        facts
    }

    fn names(facts: &StatusFacts) -> Vec<(String, FindingLevel)> {
        findings(facts).into_iter().map(|finding| (finding.name, finding.level)).collect()
    }

    #[test]
    fn processors_without_partitions_are_wrong_once_a_record_has_waited() {
        let unassigned = |level| ("PartitionsUnassigned".to_owned(), level);
        assert_eq!(names(&assigned(&[0, 0], 16, 0)), [unassigned(FindingLevel::Wrong)]);
        for (partitions, waited_s, committed, what) in [
            (&[0, 0][..], 15, 0, "a rebalance"),
            (&[0, 6], 16, 0, "another one has them"),
            (&[0], 16, 1, "a member whose port was not asked has them"),
            (&[], 16, 0, "no processors were asked"),
        ] {
            assert_eq!(names(&assigned(partitions, waited_s, committed)), [], "{what}");
        }
        let mut silent = assigned(&[0, 0], 16, 0);
        silent.services[1].answer = Err(ServiceFailure::Silent(2));
        assert!(names(&silent).contains(&unassigned(FindingLevel::Unknown)), "it may have them");
        silent.services[1].answer = Err(ServiceFailure::Refused);
        assert!(names(&silent).contains(&unassigned(FindingLevel::Wrong)), "no process is there");
    }

    #[test]
    fn the_balance_is_a_finding_unless_another_one_has_its_heading() {
        let mut facts = healthy();
        facts.clickhouse.balance = Ok(None);
        let silent = ("AuditSilent".to_owned(), FindingLevel::Ticket);
        assert_eq!(names(&facts), [silent]);
        let balance = KnownBalance {
            state: "out_of_balance".to_owned(),
            newest_state: "out_of_balance".to_owned(),
            ..KnownBalance::default()
        };
        facts.clickhouse.balance = Ok(Some(balance));
        assert_eq!(names(&facts), [("out_of_balance".to_owned(), FindingLevel::Wrong)]);
        let answer = facts.services[0].answer.as_mut().unwrap();
        answer.last = MetricSamples::read("clicktrail_audit_duplicates 1\n");
        assert_eq!(names(&facts), [("AuditOutOfBalance".to_owned(), FindingLevel::Wrong)]);
    }

    #[test]
    fn a_ticket_is_neither_wrong_nor_hides_what_is_unknown() {
        let mut facts = healthy();
        let answer = facts.services[0].answer.as_mut().unwrap();
        answer.last = MetricSamples::read(
            "clicktrail_processors_rules_built_timestamp_seconds{table=\"geo\"} 1700000000\n",
        );
        let found = findings(&facts);
        assert_eq!(
            (found[0].level, found[0].name.as_str()),
            (FindingLevel::Ticket, "RuleTableOld")
        );
        assert_eq!(StatusVerdict::of(&found), StatusVerdict::Ticket);
        let mut silent = facts.services[0].clone();
        silent.answer = Err(ServiceFailure::Silent(2));
        facts.services.push(silent);
        assert_eq!(StatusVerdict::of(&findings(&facts)), StatusVerdict::Unknown);
    }
}
