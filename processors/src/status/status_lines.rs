//! The facts and findings as lines. Pure.

use broker::ServerError;
use records::dead_letters::shown_text::{shown, shown_time};
use records::dead_letters::state::DeadLetterState;

use crate::status::facts::{
    ClickHouseFacts, DiskState, GroupState, KafkaFacts, OpenJob, Readiness, ServiceAnswer,
    ServiceFacts, ServiceFailure, ServiceKind, ShardServerFacts, StatusFacts, TopicState,
};
use crate::status::findings::StatusVerdict;
use crate::status::metric_samples::MetricSamples;
use crate::status::shard_servers;
use crate::status::shown_values::{bytes, duration, percent, since};
use crate::status::status_finding::StatusFinding;
use crate::status::storage_findings::StorageFacts;

/// Replaces a fact that a part did not answer.
const UNKNOWN: &str = "unknown";

/// A line for each part, a line for each finding, and the verdict.
pub fn lines(facts: &StatusFacts, findings: &[StatusFinding]) -> Vec<String> {
    let mut lines = vec![format!("status at {}", shown_time(facts.at_ms))];
    let mut part = |name: &str, text: String| lines.push(format!("{name:<12} {}", shown(&text)));
    part("brokers", known(&facts.kafka, brokers));
    let group = facts.kafka.as_ref().map_err(Clone::clone).and_then(|it| it.group.clone());
    part("group", known(&group, |group| group_line(group, facts.at_ms)));
    for registry in &facts.registries {
        let text = known(&registry.unregistered, |missing| match missing.is_empty() {
            true => "has the newest schemas".to_owned(),
            false => format!("does not have the newest schema of {}", missing.join(", ")),
        });
        part("registry", format!("{} {text}", registry.url));
    }
    for (name, text) in clickhouse_servers(facts) {
        part(&name, text);
    }
    for (name, text) in tables(&facts.clickhouse, facts.at_ms) {
        part(name, text);
    }
    for service in &facts.services {
        let (name, text) = service_line(service, facts.at_ms);
        part(name, text);
    }
    lines.extend(findings.iter().map(StatusFinding::to_string));
    lines.push(verdict_line(findings));
    lines
}

fn verdict_line(findings: &[StatusFinding]) -> String {
    let count = |noun: &str| match findings.len() {
        1 => format!("1 {noun}"),
        count => format!("{count} {noun}s"),
    };
    match StatusVerdict::of(findings) {
        StatusVerdict::Healthy => "status: healthy".to_owned(),
        StatusVerdict::Ticket => format!("status: {}, nothing to page", count("ticket")),
        verdict @ (StatusVerdict::Wrong | StatusVerdict::Unknown) => {
            format!("status: {} ({})", verdict.name(), count("finding"))
        }
    }
}

/// A fact, or that it is not known.
fn known<T>(fact: &Result<T, ServerError>, text: impl FnOnce(&T) -> String) -> String {
    fact.as_ref().map_or_else(|error| format!("{UNKNOWN} ({})", error.code), text)
}

fn brokers(kafka: &KafkaFacts) -> String {
    let topic = |topic: &TopicState| match topic.partitions {
        0 => format!("no topic {}", topic.name),
        all => format!("{} {} of {all} partitions led", topic.name, all - topic.leaderless),
    };
    let topics: Vec<_> = kafka.topics.iter().map(topic).collect();
    format!("{}; {}", kafka.brokers, topics.join(", "))
}

fn group_line(group: &GroupState, now_ms: i64) -> String {
    let members = group.members.map_or_else(|| UNKNOWN.to_owned(), |members| members.to_string());
    let oldest = match (group.lag_records, group.oldest_unread_ms) {
        (0, _) => String::new(),
        (_, Some(then)) => format!(", the oldest {} old", since(then, now_ms)),
        // The group commits as many within a second.
        (lag, None) if group.rates.is_some_and(|rates| rates.committed >= lag) => String::new(),
        (_, None) => format!(", the oldest of {UNKNOWN} age"),
    };
    let partial = match group.unknown_partitions {
        0 => String::new(),
        unknown => format!(" and that of {unknown} partitions {UNKNOWN}"),
    };
    let rates = group.rates.map_or_else(
        || format!("rates {UNKNOWN}"),
        |rates| format!("{} records/s appended, {} committed", rates.appended, rates.committed),
    );
    let GroupState { name, lag_records, .. } = group;
    format!("{name}: members {members}; lag {lag_records} records{oldest}{partial}; {rates}")
}

/// Disks, parts and replicas of a ClickHouse server.
fn storage(server: StorageFacts<'_>) -> (String, String) {
    let disks = known(server.disks, |disks| {
        let disk = |disk: &DiskState| {
            let share = percent(disk.free as f64 / disk.total.max(1) as f64);
            format!("disk {} {} free ({share})", disk.name, bytes(disk.free as f64))
        };
        disks.iter().map(disk).collect::<Vec<_>>().join(", ")
    });
    let parts = known(server.parts, |parts| {
        let (slow, fail) = parts.limits;
        format!(
            "{} active, at most {} in a partition (limits {slow}, {fail})",
            parts.all, parts.most
        )
    });
    let replicas = known(server.replicas, |replicas| match replicas.tables {
        0 => "none".to_owned(),
        tables => {
            let delay = duration(replicas.delay_seconds as f64);
            format!("{tables} tables, {} read-only, at most {delay} late", replicas.read_only)
        }
    });
    (disks, format!("{parts}; replicas: {replicas}"))
}

/// The lines of a server, or of each server of a cluster.
fn clickhouse_servers(facts: &StatusFacts) -> Vec<(String, String)> {
    let ClickHouseFacts { version, disks, parts, replicas, .. } = &facts.clickhouse;
    let version = known(version, Clone::clone);
    if facts.shard_servers.is_empty() {
        let (disks, parts) = storage(StorageFacts { url: None, disks, parts, replicas });
        return vec![
            ("clickhouse".to_owned(), format!("version {version}; {disks}")),
            ("parts".to_owned(), parts),
        ];
    }
    let own = |server: &ShardServerFacts| {
        let version = known(&server.version, Clone::clone);
        let (disks, parts) = storage(shard_servers::storage(server));
        let text = format!("{} version {version}; {disks}; parts {parts}", server.url);
        (format!("shard {}", server.shard), text)
    };
    let any = format!("{} version {version}", facts.clickhouse_url);
    let lines = facts.shard_servers.iter().map(own);
    [("clickhouse".to_owned(), any)].into_iter().chain(lines).collect()
}

/// What the tables of ClickHouse hold, each part with its name.
fn tables(facts: &ClickHouseFacts, now_ms: i64) -> Vec<(&'static str, String)> {
    let ago = |time: &Option<i64>, none: &str| {
        time.map_or_else(|| none.to_owned(), |then| format!("{} ago", since(then, now_ms)))
    };
    let letters = known(&facts.dead_letters, |held| {
        let of = |state: DeadLetterState| {
            let own = held.iter().filter(|own| own.state_name == state.name());
            format!("{state} {}", own.map(|own| own.letters).sum::<u64>())
        };
        DeadLetterState::ALL.map(of).join(", ")
    });
    let jobs = known(&facts.jobs, |jobs| match jobs.is_empty() {
        true => "none that has not ended".to_owned(),
        false => jobs.iter().map(job).collect::<Vec<_>>().join(", "),
    });
    let balance = known(&facts.balance, |balance| match balance {
        Some(balance) => balance.line(now_ms),
        None => format!("{UNKNOWN} (no audit has stored a verdict)"),
    });
    vec![
        (
            "clicks",
            format!("newest {}", known(&facts.newest_click_ms, |it| ago(it, "none within a day"))),
        ),
        ("dead letters", letters),
        ("jobs", jobs),
        ("balance", balance),
        ("links", format!("newest change {}", known(&facts.newest_link_ms, |it| ago(it, "none")))),
    ]
}

fn job(job: &OpenJob) -> String {
    let abandoned = if job.is_abandoned { ", without a process" } else { "" };
    let OpenJob { id, kind, state, age_seconds, .. } = job;
    format!("{kind} {id} {state}, planned {} ago{abandoned}", duration(*age_seconds as f64))
}

fn service_line(service: &ServiceFacts, now_ms: i64) -> (&'static str, String) {
    let address = &service.address;
    match &service.answer {
        Ok(answer) => {
            let readiness = match &answer.readiness {
                Readiness::Ready(problems) if problems.is_empty() => "ready",
                Readiness::Ready(_) => "degraded",
                Readiness::NotReady(_) => "not ready",
            };
            let figures = figures(answer, now_ms);
            (answer.kind.name(), format!("{address} {readiness}; {figures}"))
        }
        Err(failure) => {
            let cause = match failure {
                ServiceFailure::Refused => "no process listens",
                ServiceFailure::Silent(_) => "no answer in time",
                ServiceFailure::Failed(_) => "cannot be asked",
            };
            ("service", format!("{address} {UNKNOWN} ({cause})"))
        }
    }
}

/// The figures of a process, by its metrics.
fn figures(answer: &ServiceAnswer, now_ms: i64) -> String {
    let ServiceAnswer { kind, first, last, .. } = answer;
    let prefix = format!("clicktrail_{}_", kind.name());
    let number = |page: &MetricSamples, name: &str| page.sum(&format!("{prefix}{name}"));
    let shown = |value: Option<f64>| value.map_or_else(|| UNKNOWN.to_owned(), |it| it.to_string());
    let now = |name: &str| shown(number(last, name));
    let rate = |name: &str| shown(number(last, name).zip(number(first, name)).map(|(b, a)| b - a));
    match kind {
        ServiceKind::Producer => {
            let size = |name| number(last, name).map_or_else(|| UNKNOWN.to_owned(), bytes);
            format!(
                "{} clicks/s made, {} delivered; outbox {} clicks, {} of {}, {} free on its disk; {} lost since its start",
                rate("clicks_offered_total"),
                rate("clicks_delivered_total"),
                now("outbox_clicks"),
                size("outbox_bytes"),
                size("outbox_bound_bytes"),
                size("outbox_disk_free_bytes"),
                now("clicks_undelivered_total"),
            )
        }
        ServiceKind::Processors => format!(
            "{} records/s read, {} rows inserted; {} partitions; {} of {} rule tables usable",
            rate("records_read_total"),
            rate("rows_inserted_total"),
            now("partitions_assigned"),
            now("rules_file_good"),
            last.all("clicktrail_processors_rules_file_good").count(),
        ),
        ServiceKind::Audit => {
            let run = last.value("clicktrail_audit_last_run_timestamp_seconds");
            // 0 until a run is complete; the findings are then 0, too, and state nothing.
            let Some(run) = run.filter(|seconds| *seconds > 0.0) else {
                return format!("balance {UNKNOWN} (no run is complete yet)");
            };
            format!(
                "last run {} ago: {} records, {} missing, {} dead-lettered, {} duplicates, {} misplaced, \
                 {} without dead letter",
                duration(now_ms as f64 / 1000.0 - run),
                now("records"),
                now("missing"),
                now("dead_lettered"),
                now("duplicates"),
                now("misplaced"),
                now("undecodable_without_dead_letter"),
            )
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::status::alert_condition::AlertCondition;
    use crate::status::findings::findings;
    use crate::status::healthy_facts::healthy;

    #[test]
    fn a_healthy_pipeline_has_a_line_for_each_part_and_one_verdict() {
        let facts = healthy();
        let lines = lines(&facts, &findings(&facts));
        let expected = [
            "status at 2025-11-24 16:00:00Z",
            "brokers      3; clicks 6 of 6 partitions led, clicks.dlq 6 of 6 partitions led, links 6 of 6 partitions led",
            "group        g: members 2; lag 12 records, the oldest 1 s old; 120 records/s appended, 118 committed",
            "registry     http://r has the newest schemas",
            "clickhouse   version 26.7; disk default 4.9 KiB free (50 %)",
            "parts        40 active, at most 12 in a partition (limits 1000, 3000); replicas: none",
            "clicks       newest 3 s ago",
            "dead letters open 0, pending 0, failed_again 0, resolved 0, discarded 0, parked 0",
            "jobs         none that has not ended",
            "balance      balanced until 45 s ago; newest run 12 s ago",
            "links        newest change 2 h ago",
            "producer     p:9180 ready; 0 clicks/s made, unknown delivered; outbox unknown clicks, unknown of unknown, unknown free on its disk; unknown lost since its start",
            "status: healthy",
        ];
        assert_eq!(lines, expected);
    }

    #[test]
    fn what_did_not_answer_is_unknown_and_never_zero() {
        let mut facts = healthy();
        let silent = || ServerError::retryable("x_unreachable", "no answer within 2 s");
        facts.kafka = Err(silent());
        facts.registries[0].unregistered = Err(silent());
        let ch = &mut facts.clickhouse;
        ch.version = Err(silent());
        ch.disks = Err(silent());
        ch.parts = Err(silent());
        ch.replicas = Err(silent());
        ch.newest_click_ms = Err(silent());
        ch.dead_letters = Err(silent());
        ch.jobs = Err(silent());
        ch.balance = Err(silent());
        ch.newest_link_ms = Err(silent());
        facts.services[0].answer = Err(ServiceFailure::Silent(2));
        let findings = findings(&facts);
        let lines = lines(&facts, &findings);
        let parts = &lines[1..12];
        for part in parts {
            assert!(part.contains(UNKNOWN), "{part}");
        }
        let digits = parts.concat().replace("9180", "");
        assert!(!digits.contains(|letter: char| letter.is_ascii_digit()), "{lines:?}");
        assert_eq!(lines[12..].len(), 5, "{lines:?}");
        let expected = "unknown: x_unreachable: brokers b:9092: no answer within 2 s \
                        (RUNBOOK.md#x_unreachable; next: kcat -b b:9092 -L, \
                        or kafka-broker-api-versions.sh --bootstrap-server b:9092)";
        assert_eq!(lines[12], expected);
        assert_eq!(lines.last().unwrap(), "status: unknown (4 findings)");
    }

    #[test]
    fn the_verdict_counts_its_findings() {
        let finding = |condition| StatusFinding::alert(condition, String::new(), String::new());
        let old = finding(AlertCondition::RuleTableOld);
        let full = finding(AlertCondition::DiskFilling);
        for (findings, line) in [
            (vec![old.clone()], "status: 1 ticket, nothing to page"),
            (vec![old.clone(), old.clone()], "status: 2 tickets, nothing to page"),
            (vec![full.clone()], "status: wrong (1 finding)"),
            (vec![full, old], "status: wrong (2 findings)"),
        ] {
            assert_eq!(verdict_line(&findings), line);
        }
    }

    #[test]
    fn an_audit_without_a_complete_run_states_no_balance() {
        let mut facts = healthy();
        let page = MetricSamples::read(
            "clicktrail_audit_missing 0\nclicktrail_audit_last_run_timestamp_seconds 0.0\n",
        );
        let answer = facts.services[0].answer.as_mut().unwrap();
        (answer.kind, answer.last) = (ServiceKind::Audit, page);
        let (name, line) = service_line(&facts.services[0], facts.at_ms);
        assert_eq!(
            (name, line.as_str()),
            ("audit", "p:9180 ready; balance unknown (no run is complete yet)")
        );
    }
}
