//! What is wrong with the processes, by what their admin ports answer. Pure.

use std::collections::{BTreeMap, BTreeSet};

use crate::run::readiness::WAITING;
use crate::status::alert_condition::AlertCondition;
use crate::status::facts::{Readiness, ServiceAnswer, ServiceFacts, ServiceFailure};
use crate::status::finding_level::FindingLevel;
use crate::status::gauge_checks::GAUGE_CHECKS;
use crate::status::metric_samples::MetricSamples;
use crate::status::status_finding::StatusFinding;

/// The heading of what has no code.
const SYMPTOMS: &str = "page-2-symptoms";

/// Findings on all processes. `lag` is that of the live group, where it is known.
pub(super) fn of_services(
    services: &[ServiceFacts],
    now_s: f64,
    lag: Option<i64>,
) -> Vec<StatusFinding> {
    let mut findings = Vec::new();
    for ServiceFacts { address, answer } in services {
        match answer {
            Ok(answer) => findings.extend(of_answer(address, answer, now_s, lag)),
            Err(failure) => findings.push(of_failure(address, failure)),
        }
    }
    findings.extend(differing_rules(services));
    findings
}

fn of_failure(address: &str, failure: &ServiceFailure) -> StatusFinding {
    match failure {
        ServiceFailure::Refused => StatusFinding::of_heading(
            "a-process-does-not-start",
            format!(
                "{address}: no process listens on this admin port (a start takes some seconds)"
            ),
            "systemctl list-units --all 'clicktrail-*', or docker compose ps -a".to_owned(),
        ),
        ServiceFailure::Silent(seconds) => StatusFinding::of_heading(
            SYMPTOMS,
            format!("{address}: the admin port did not answer within {seconds} s"),
            state_of_process(address),
        )
        .unknown(),
        ServiceFailure::Failed(cause) => StatusFinding::of_heading(
            SYMPTOMS,
            format!("{address}: {cause}"),
            format!("curl -sSi -m 5 http://{address}/readyz"),
        )
        .unknown(),
    }
}

/// The commands that print the process of a port, and its state.
fn state_of_process(address: &str) -> String {
    let port = address.rsplit(':').next().unwrap_or_default();
    format!("ss -ltnp 'sport = :{port}', then ps -o pid,stat,etime,args -p PID")
}

fn of_answer(
    address: &str,
    answer: &ServiceAnswer,
    now_s: f64,
    lag: Option<i64>,
) -> Vec<StatusFinding> {
    let ServiceAnswer { kind, readiness, first, last } = answer;
    let mut findings: Vec<_> =
        GAUGE_CHECKS.iter().flat_map(|check| check.findings(address, last, now_s)).collect();
    findings.extend(losses(address, first, last));
    findings.extend(failing_redirects(address, first, last));
    findings.extend(of_audit(address, last, lag));
    let process = format!("{address} ({})", kind.name());
    let problem = |heading: &str, text: String| {
        let next = format!("curl -sS -m 5 http://{address}/readyz");
        StatusFinding::of_problem(heading, text, next)
    };
    match readiness {
        Readiness::NotReady(reason) => {
            let text = format!("{process} is not ready: {reason}");
            let code = code_of(reason.strip_prefix(WAITING).unwrap_or(reason));
            let finding = problem(code.unwrap_or(SYMPTOMS), text);
            findings.insert(0, StatusFinding { level: FindingLevel::Wrong, ..finding });
        }
        Readiness::Ready(problems) => {
            let unusable = unusable_tables(&process, problems, &problem);
            if !unusable.is_empty() {
                let alert = AlertCondition::RuleTableUnusable.to_string();
                findings.retain(|finding| finding.name != alert);
                findings.extend(unusable);
            }
            for text in problems {
                // The same problem as a metric shows it is one finding.
                if let Some(heading) = code_of(text)
                    && findings.iter().all(|found| found.heading != heading)
                {
                    findings.push(problem(heading, format!("{process} is degraded: {text}")));
                }
            }
            // A problem without a code may be one that a finding describes.
            if findings.is_empty() && !problems.is_empty() {
                let text = format!("{process} is degraded: {}", problems.join("; "));
                findings.push(problem(SYMPTOMS, text));
            }
        }
    }
    findings
}

/// The findings on rule tables: a problem has the code and the file, which the gauge of the alert lacks.
fn unusable_tables(
    process: &str,
    problems: &[String],
    problem: &impl Fn(&str, String) -> StatusFinding,
) -> Vec<StatusFinding> {
    let is_of_rules = |code: &&str| ["rules_missing", "rules_refused"].contains(code);
    let finding = |text: &String| {
        let code = code_of(text).filter(is_of_rules)?;
        let condition = AlertCondition::RuleTableUnusable;
        let (level, name) = (condition.level(), condition.to_string());
        Some(StatusFinding {
            level,
            name,
            ..problem(code, format!("{process} is degraded: {text}"))
        })
    };
    problems.iter().filter_map(finding).collect()
}

/// The code of a problem of `/readyz`, which is at its end or in front of it.
fn code_of(problem: &str) -> Option<&str> {
    let is_code = |word: &&str| {
        word.len() > 3 && word.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'_')
    };
    let last = problem.rsplit_once(": ").map(|(_, last)| last);
    let first = problem.split_once(": ").map(|(first, _)| first);
    // A message behind the code may end in one word, too.
    first.filter(is_code).or(last.filter(is_code))
}

/// By how much the series of a counter have grown, by the value of a label.
fn growth<'a>(
    first: &'a MetricSamples,
    last: &'a MetricSamples,
    (name, label): (&'a str, &'a str),
) -> Vec<(&'a str, f64)> {
    let before = |labels: &str| {
        let same = first.all(name).find(|sample| sample.labels == labels);
        same.map_or(0.0, |sample| sample.value)
    };
    let grown = last.all(name).map(|now| (now.label(label), now.value - before(&now.labels)));
    grown.filter(|(_, growth)| *growth > 0.0).collect()
}

fn losses(address: &str, first: &MetricSamples, last: &MetricSamples) -> Vec<StatusFinding> {
    let counter = "clicktrail_producer_clicks_undelivered_total";
    let lost = growth(first, last, (counter, "code")).into_iter();
    let finding = |(code, clicks): (&str, f64)| {
        let text = format!("{address}: clicks are lost ({code}): {clicks} within a second");
        let next = format!("curl -sS http://{address}/metrics | grep {counter}");
        let heading = code.to_owned();
        StatusFinding { heading, ..StatusFinding::alert(AlertCondition::ClicksLost, text, next) }
    };
    lost.map(finding).collect()
}

fn failing_redirects(
    address: &str,
    first: &MetricSamples,
    last: &MetricSamples,
) -> Option<StatusFinding> {
    let counter = "clicktrail_producer_requests_total";
    let grown = growth(first, last, (counter, "outcome"));
    let (_, failed) = grown.into_iter().find(|(outcome, _)| *outcome == "error")?;
    let text = format!("{address}: visitors are answered 503: {failed} within a second");
    let next = format!("curl -sS http://{address}/readyz");
    Some(StatusFinding::alert(AlertCondition::RedirectsFail, text, next))
}

/// What the continuous audit found in its last complete run.
fn of_audit(address: &str, page: &MetricSamples, lag: Option<i64>) -> Vec<StatusFinding> {
    let value = |name: &str| page.value(&format!("clicktrail_audit_{name}")).unwrap_or(0.0);
    let next = || "processors audit --wait-seconds 60".to_owned();
    let mut findings = Vec::new();
    // Records that the group has still to read are missing, too: as in the alert, not with a large lag.
    let is_comparable = lag.is_some_and(|lag| !AlertCondition::LagGrows.is_met(lag as f64));
    if is_comparable && AlertCondition::ClicksMissing.is_met(value("missing")) {
        let text =
            format!("{address}: clicks of the log that are not in the table: {}", value("missing"));
        findings.push(StatusFinding::alert(AlertCondition::ClicksMissing, text, next()));
    }
    let undecodable = value("undecodable_without_dead_letter");
    if AlertCondition::AuditOutOfBalance.is_met(undecodable) {
        let text =
            format!("{address}: records that are neither row nor dead letter: {undecodable}");
        findings.push(StatusFinding::alert(AlertCondition::AuditOutOfBalance, text, next()));
    }
    findings
}

/// Rule tables of which processes use different versions.
fn differing_rules(services: &[ServiceFacts]) -> Vec<StatusFinding> {
    let metric = "clicktrail_processors_rules_loaded_timestamp_seconds";
    let mut versions: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
    for answer in services.iter().filter_map(|service| service.answer.as_ref().ok()) {
        for sample in answer.last.all(metric) {
            versions.entry(sample.label("table")).or_default().insert(sample.label("version"));
        }
    }
    let differ = AlertCondition::RuleVersionsDiffer;
    let differing = versions.into_iter().filter(|(_, used)| differ.is_met(used.len() as f64));
    let finding = |(table, used): (&str, BTreeSet<&str>)| {
        let used = used.into_iter().collect::<Vec<_>>().join(", ");
        let text = format!("processes enrich by different versions of {table}: {used}");
        StatusFinding::alert(differ, text, "processors rules list".to_owned())
    };
    differing.map(finding).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::status::facts::ServiceKind;

    const ADDRESS: &str = "h:1";

    fn answer(kind: ServiceKind, readiness: Readiness, first: &str, last: &str) -> ServiceFacts {
        let [first, last] = [first, last].map(MetricSamples::read);
        let answer = Ok(ServiceAnswer { kind, readiness, first, last });
        ServiceFacts { address: ADDRESS.to_owned(), answer }
    }

    fn ready() -> Readiness {
        Readiness::Ready(vec![])
    }

    /// Names and headings of the findings on one process.
    fn found(service: ServiceFacts, lag: Option<i64>) -> Vec<(String, String)> {
        let findings = of_services(&[service], 1_764_000_000.0, lag);
        assert!(findings.iter().all(|it| it.text.starts_with(ADDRESS)), "{findings:?}");
        findings.into_iter().map(|it| (it.name, it.heading)).collect()
    }

    fn pair(name: &str, heading: &str) -> (String, String) {
        (name.to_owned(), heading.to_owned())
    }

    #[test]
    fn a_port_that_is_closed_is_wrong_and_one_that_is_silent_is_unknown() {
        for (failure, level, heading) in [
            (ServiceFailure::Refused, FindingLevel::Wrong, "a-process-does-not-start"),
            (ServiceFailure::Silent(2), FindingLevel::Unknown, SYMPTOMS),
            (ServiceFailure::Failed("x".to_owned()), FindingLevel::Unknown, SYMPTOMS),
        ] {
            let finding = of_failure(ADDRESS, &failure);
            assert_eq!((finding.level, finding.heading.as_str()), (level, heading));
        }
        let silent = of_failure(ADDRESS, &ServiceFailure::Silent(2));
        assert_eq!(silent.text, "h:1: the admin port did not answer within 2 s");
        assert_eq!(silent.next, "ss -ltnp 'sport = :1', then ps -o pid,stat,etime,args -p PID");
    }

    #[test]
    fn the_code_is_in_front_of_a_message_that_ends_in_one_word() {
        for (problem, code) in [
            (
                "clickhouse_unreachable: connecting to h:8123: closed",
                Some("clickhouse_unreachable"),
            ),
            ("read has failed for 462 s: batch_unreadable", Some("batch_unreadable")),
            ("the folder cannot be read: Permission denied", None),
        ] {
            assert_eq!(code_of(problem), code, "{problem}");
        }
    }

    #[test]
    fn a_problem_of_readyz_leads_to_its_code_unless_a_metric_shows_it() {
        let problems = [
            "no broker is connected: 1204 clicks wait; delivery click 5 has failed: unacknowledged",
            "clock_skewed: the clock is 400 s ahead",
            "something else",
        ];
        let degraded = |problems: &[&str]| {
            Readiness::Ready(problems.iter().map(|it| (*it).to_owned()).collect())
        };
        let page = "clicktrail_producer_brokers_up 1";
        let own = found(answer(ServiceKind::Producer, degraded(&problems), page, page), None);
        let expected = ["unacknowledged", "clock_skewed"];
        assert_eq!(own, expected.map(|code| pair(code, code)));
        let own = found(answer(ServiceKind::Producer, degraded(&problems[2..]), page, page), None);
        assert_eq!(own, [pair(SYMPTOMS, SYMPTOMS)]);
        let page = "clicktrail_producer_brokers_up 0";
        let own = found(answer(ServiceKind::Producer, degraded(&problems), page, page), None);
        let expected =
            [("BrokersDisconnected", "unacknowledged"), ("clock_skewed", "clock_skewed")];
        assert_eq!(own, expected.map(|(name, heading)| pair(name, heading)));
        let starting = Readiness::NotReady("starting".to_owned());
        let own = found(answer(ServiceKind::Processors, starting, "", ""), None);
        assert_eq!(own, [pair(SYMPTOMS, SYMPTOMS)]);
        let text = "waiting: registry_unreachable: http://r:8081: failed with status 500: down";
        let waiting = Readiness::NotReady(text.to_owned());
        let own = found(answer(ServiceKind::Processors, waiting, "", ""), None);
        assert_eq!(own, [pair("registry_unreachable", "registry_unreachable")]);
    }

    #[test]
    fn a_problem_is_a_ticket_where_its_alerts_are_tickets() {
        for (problem, level) in [
            ("visitor_key: the folder of keys", FindingLevel::Ticket),
            ("rules_refused: /rules/geo.mmdb: damaged", FindingLevel::Ticket),
            ("no broker is connected: unacknowledged", FindingLevel::Wrong),
            ("the outbox cannot be written: outbox_disk", FindingLevel::Wrong),
        ] {
            let degraded = Readiness::Ready(vec![problem.to_owned()]);
            let service = answer(ServiceKind::Producer, degraded, "", "");
            let found = of_services(&[service], 1_764_000_000.0, None);
            assert_eq!(found[0].level, level, "{problem}");
        }
    }

    #[test]
    fn an_unusable_rule_table_has_the_name_of_its_alert_and_the_heading_of_its_code() {
        let problems = [
            "rules_refused: /rules/referrers.txt: line 3, the built-in table stays in use",
            "rules_missing: /rules/geo.mmdb is missing, the loaded table stays in use",
        ];
        let page = "clicktrail_processors_rules_file_good{table=\"geo\"} 0\n\
                    clicktrail_processors_rules_file_good{table=\"referrers\"} 0\n";
        let degraded = |problems: &[&str]| {
            Readiness::Ready(problems.iter().map(|it| (*it).to_owned()).collect())
        };
        let own = found(answer(ServiceKind::Processors, degraded(&problems), page, page), None);
        let expected = ["rules_refused", "rules_missing"];
        assert_eq!(own, expected.map(|code| pair("RuleTableUnusable", code)));
        // The file may be in use again between the two requests.
        let own = found(answer(ServiceKind::Processors, ready(), page, page), None);
        assert_eq!(own, vec![pair("RuleTableUnusable", "rules_missing"); 2]);
    }

    #[test]
    fn clicks_are_lost_and_redirects_fail_only_while_their_counters_grow() {
        let counter = |name: &str, label: &str, count: u32| format!("{name}{{{label}}} {count}\n");
        let lost = |count| {
            counter("clicktrail_producer_clicks_undelivered_total", "code=\"outbox_disk\"", count)
        };
        let failed =
            |count| counter("clicktrail_producer_requests_total", "outcome=\"error\"", count);
        let own = |first: &str, last: &str| {
            found(answer(ServiceKind::Producer, ready(), first, last), None)
        };
        assert_eq!(own(&lost(5), &lost(5)), []);
        assert_eq!(own(&lost(5), &lost(6)), [pair("ClicksLost", "outbox_disk")]);
        assert_eq!(own("", &lost(1)), [pair("ClicksLost", "outbox_disk")]);
        assert_eq!(own(&failed(5), &failed(5)), []);
        assert_eq!(own(&failed(5), &failed(9)), [pair("RedirectsFail", "redirects-fail")]);
    }

    #[test]
    fn what_the_audit_misses_counts_only_where_the_lag_is_known_and_small() {
        let own = |page: &str, lag| found(answer(ServiceKind::Audit, ready(), page, page), lag);
        let missing = "clicktrail_audit_missing 3\nclicktrail_audit_records 9\n";
        let expected = [pair("ClicksMissing", "out_of_balance")];
        assert_eq!(own(missing, Some(10_000)), expected);
        assert_eq!(own(missing, Some(10_001)), []);
        assert_eq!(own(missing, None), []);
        let undecodable = "clicktrail_audit_undecodable_without_dead_letter 1\n";
        assert_eq!(own(undecodable, None), [pair("AuditOutOfBalance", "out_of_balance")]);
        let nothing = "clicktrail_audit_judges_nothing_timestamp_seconds";
        let since = |seconds: u32| format!("{nothing} {}\n", 1_764_000_000 - seconds);
        assert_eq!(own(&since(901), None), [pair("AuditJudgesNothing", "clock_skewed")]);
        assert_eq!(own(&since(60), None), []);
    }

    #[test]
    fn two_versions_of_one_rule_table_are_found_across_processes() {
        let page = |table: &str, version: &str| {
            let metric = "clicktrail_processors_rules_loaded_timestamp_seconds";
            format!("{metric}{{table=\"{table}\",version=\"{version}\"}} 1763999999\n")
        };
        let process = |page: String| answer(ServiceKind::Processors, ready(), &page, &page);
        let pages = [page("geo", "1") + &page("bots", "1"), page("geo", "1"), page("geo", "2")];
        let services = pages.map(process);
        assert_eq!(of_services(&services[..2], 1_764_000_000.0, None), []);
        let findings = of_services(&services, 1_764_000_000.0, None);
        assert_eq!(findings.len(), 1, "{findings:?}");
        assert_eq!(findings[0].text, "processes enrich by different versions of geo: 1, 2");
    }
}
