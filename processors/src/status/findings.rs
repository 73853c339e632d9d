//! From the facts to what is wrong, and to the verdict. Pure.

use crate::status::facts::StatusFacts;
use crate::status::finding_level::FindingLevel;
use crate::status::server_findings::of_servers;
use crate::status::service_findings::of_services;
use crate::status::status_finding::StatusFinding;

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
    findings.sort_by_key(|finding| finding.level);
    findings
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::status::facts::ServiceFailure;
    use crate::status::healthy_facts::healthy;
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
