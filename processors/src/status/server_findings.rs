//! What is wrong with brokers, registries and ClickHouse, and with what they hold. Pure.

use std::collections::BTreeMap;

use records::dead_letters::state::DeadLetterState;

use crate::clickhouse::held_dead_letters::HeldDeadLetters;
use crate::status::alert_condition::AlertCondition;
use crate::status::facts::{
    ClickHouseFacts, GroupState, KafkaFacts, OpenJob, RegistryFacts, StatusFacts, TopicState,
};
use crate::status::finding_level::FindingLevel;
use crate::status::shard_servers::of_shard_servers;
use crate::status::shown_values::duration;
use crate::status::status_finding::StatusFinding;
use crate::status::storage_findings::{StorageFacts, not_answered};

/// Findings on all servers.
pub(super) fn of_servers(facts: &StatusFacts) -> Vec<StatusFinding> {
    let mut findings = match &facts.kafka {
        Ok(kafka) => of_kafka(kafka, &facts.brokers, facts.at_ms),
        Err(error) => {
            let brokers = &facts.brokers;
            let next = format!(
                "kcat -b {brokers} -L, or kafka-broker-api-versions.sh --bootstrap-server {brokers}"
            );
            let part = format!("brokers {}", facts.brokers);
            vec![StatusFinding::of_error(&part, error, next)]
        }
    };
    findings.extend(facts.registries.iter().flat_map(of_registry));
    findings.extend(of_clickhouse(facts));
    findings
}

fn of_kafka(kafka: &KafkaFacts, brokers: &str, now_ms: i64) -> Vec<StatusFinding> {
    let mut findings: Vec<_> =
        kafka.topics.iter().flat_map(|topic| of_topic(topic, brokers)).collect();
    match &kafka.group {
        Ok(group) => findings.extend(of_group(group, brokers, now_ms)),
        // Without the topic the group has nothing to read.
        Err(error) if error.code == "kafka_topic_missing" && !findings.is_empty() => {}
        Err(error) => {
            let next = format!(
                "processors status, or kafka-consumer-groups.sh --bootstrap-server {brokers} --list"
            );
            findings.push(StatusFinding::of_error("the live group", error, next));
        }
    }
    findings
}

fn of_topic(topic: &TopicState, brokers: &str) -> Vec<StatusFinding> {
    let TopicState { name, partitions, leaderless, underreplicated } = topic;
    if *partitions == 0 {
        let text = format!("there is no topic {name}");
        let next = "processors setup --check".to_owned();
        return vec![StatusFinding::of_heading("kafka_topic_missing", text, next)];
    }
    let describe = |which: &str| {
        format!(
            "kcat -b {brokers} -L -t {name}, or kafka-topics.sh --bootstrap-server {brokers} --describe --topic {name} --{which}"
        )
    };
    let mut findings = Vec::new();
    if *leaderless > 0 {
        let text = format!("topic {name}: {leaderless} of {partitions} partitions have no leader");
        let next = describe("unavailable-partitions");
        findings.push(StatusFinding::of_heading("kafka_unreachable", text, next));
    }
    if *underreplicated > 0 {
        let text = format!(
            "topic {name}: of {underreplicated} of {partitions} partitions not all replicas are in sync"
        );
        let next = describe("under-replicated-partitions");
        findings.push(StatusFinding::of_heading("kafka_unreachable", text, next));
    }
    findings
}

fn of_group(group: &GroupState, brokers: &str, now_ms: i64) -> Vec<StatusFinding> {
    let GroupState { name, members, lag_records, .. } = group;
    let mut findings = Vec::new();
    let describe = format!(
        "processors status --watch, or kafka-consumer-groups.sh --bootstrap-server {brokers} --describe --group {name}"
    );
    if *members == Some(0) {
        let text = format!("group {name} has no member: no process reads the log");
        let next = "systemctl status 'clicktrail-processors@*', or docker compose ps -a".to_owned();
        findings.push(StatusFinding::of_heading("a-process-does-not-start", text, next));
    }
    if group.unknown_partitions > 0 {
        let text = format!(
            "group {name}: the leaders of {} partitions did not answer; their lag is not known",
            group.unknown_partitions
        );
        let unknown = StatusFinding::of_heading("kafka_unreachable", text, describe.clone());
        findings.push(unknown.unknown());
    }
    let grows = group.rates.is_none_or(|rates| rates.appended > rates.committed);
    let rates = group.rates.map_or_else(String::new, |rates| {
        format!("; {} records/s are appended, {} committed", rates.appended, rates.committed)
    });
    let waited = group.oldest_unread_ms.map(|then| (now_ms.saturating_sub(then) / 1000) as f64);
    if grows && AlertCondition::LagGrows.is_met(*lag_records as f64) {
        let text = format!("group {name} has a lag of {lag_records} records{rates}");
        findings.push(StatusFinding::alert(AlertCondition::LagGrows, text, describe));
    } else if let Some(waited) = waited.filter(|it| AlertCondition::RowsLate.is_met(*it)) {
        let text = format!(
            "group {name}: the oldest of {lag_records} records that it has not committed has waited {}{rates}",
            duration(waited)
        );
        findings.push(StatusFinding::alert(AlertCondition::RowsLate, text, describe));
    }
    findings
}

fn of_registry(registry: &RegistryFacts) -> Option<StatusFinding> {
    let url = &registry.url;
    let next = format!("curl -sSi -m 5 {url}/subjects");
    match &registry.unregistered {
        Ok(missing) if missing.is_empty() => None,
        Ok(missing) => {
            let missing = missing.join(", ");
            let text = format!("registry {url} does not have the newest schema of {missing}");
            Some(StatusFinding::of_heading("schema_unregistered", text, next))
        }
        Err(error) => Some(StatusFinding::of_error(&format!("registry {url}"), error, next)),
    }
}

fn of_clickhouse(facts: &StatusFacts) -> Vec<StatusFinding> {
    let StatusFacts { clickhouse, clickhouse_url: url, shard_servers, .. } = facts;
    let mut findings = of_shard_servers(shard_servers);
    if let Err(error) = &clickhouse.version {
        // The other facts have the same error.
        let next = format!("curl -sSi -m 5 {url}/ping");
        let is_found = shard_servers.iter().any(|own| own.url == *url && own.version.is_err());
        if !is_found {
            findings.push(StatusFinding::of_error(&format!("ClickHouse {url}"), error, next));
        }
        return findings;
    }
    let ClickHouseFacts { disks, parts, replicas, .. } = clickhouse;
    if shard_servers.is_empty() {
        findings.extend(StorageFacts { url: None, disks, parts, replicas }.findings());
    }
    findings.extend(of_tables(clickhouse));
    findings
}

fn of_tables(facts: &ClickHouseFacts) -> Vec<StatusFinding> {
    let mut findings = Vec::new();
    for (what, error) in [
        ("newest click", facts.newest_click_ms.as_ref().err()),
        ("dead letters", facts.dead_letters.as_ref().err()),
        ("jobs", facts.jobs.as_ref().err()),
        ("balance", facts.balance.as_ref().err()),
        ("links", facts.newest_link_ms.as_ref().err()),
    ] {
        findings.extend(error.map(|error| not_answered(what, error)));
    }
    let jobs = facts.jobs.as_deref().unwrap_or_default();
    if let Ok(held) = &facts.dead_letters {
        findings.extend(of_dead_letters(held, jobs));
    }
    findings.extend(jobs.iter().filter(|job| job.is_abandoned || job.has_left_gap).map(|job| {
        let OpenJob { id, kind, state, has_left_gap, .. } = job;
        let gap = if *has_left_gap { ", and the offsets of its skip have no rows" } else { "" };
        let text = format!("no process works on job {id} ({kind}, {state}){gap}");
        // Its alert, JobUnfinished, opens a ticket.
        let finding = StatusFinding::of_heading("job_running", text, job.resume.clone());
        StatusFinding { level: FindingLevel::Ticket, ..finding }
    }));
    findings
}

fn of_dead_letters(held: &[HeldDeadLetters], jobs: &[OpenJob]) -> Vec<StatusFinding> {
    let by_code = |states: &[DeadLetterState]| {
        let mut codes: BTreeMap<&str, u64> = BTreeMap::new();
        for own in held.iter().filter(|own| states.iter().any(|it| it.name() == own.state_name)) {
            *codes.entry(&own.error_code).or_default() += own.letters;
        }
        codes
    };
    let named = |codes: &BTreeMap<&str, u64>| {
        codes.iter().map(|(code, count)| format!("{code} {count}")).collect::<Vec<_>>().join(", ")
    };
    let mut findings = Vec::new();
    let open = by_code(&[DeadLetterState::Open, DeadLetterState::FailedAgain]);
    if AlertCondition::DeadLettersOpen.is_met(open.values().sum::<u64>() as f64) {
        let text = format!("dead letters are open or failed again: {}", named(&open));
        let next = "processors dlq groups".to_owned();
        findings.push(StatusFinding::alert(AlertCondition::DeadLettersOpen, text, next));
    }
    let pending = by_code(&[DeadLetterState::Pending]);
    // A job that runs is about to send them.
    let is_sent = jobs.iter().any(|job| job.kind == "redrive" && !job.is_abandoned);
    if !is_sent && AlertCondition::DeadLettersPending.is_met(pending.values().sum::<u64>() as f64) {
        let text = format!("copies of a redrive did not arrive yet: {}", named(&pending));
        let next = "processors dlq jobs".to_owned();
        findings.push(StatusFinding::alert(AlertCondition::DeadLettersPending, text, next));
    }
    findings
}

#[cfg(test)]
mod tests {
    use broker::ServerError;

    use super::*;
    use crate::status::facts::{GroupRates, ReplicaState};
    use crate::status::finding_level::FindingLevel::{Ticket, Unknown, Wrong};
    use crate::status::healthy_facts::{NOW_MS, healthy};

    /// Name, heading and level of the only finding after a change of healthy facts.
    fn only(change: impl FnOnce(&mut StatusFacts)) -> (String, String, FindingLevel) {
        let mut facts = healthy();
        change(&mut facts);
        let findings = of_servers(&facts);
        let [finding] = &findings[..] else { panic!("{findings:?}") };
        (finding.name.clone(), finding.heading.clone(), finding.level)
    }

    fn expect(name: &str, heading: &str, level: FindingLevel) -> (String, String, FindingLevel) {
        (name.to_owned(), heading.to_owned(), level)
    }

    fn silent(code: &'static str) -> ServerError {
        ServerError::retryable(code, "no answer within 2 s")
    }

    fn group(facts: &mut StatusFacts) -> &mut GroupState {
        facts.kafka.as_mut().unwrap().group.as_mut().unwrap()
    }

    #[test]
    fn of_a_healthy_pipeline_nothing_is_wrong() {
        assert_eq!(of_servers(&healthy()), []);
    }

    #[test]
    fn a_server_that_does_not_answer_is_one_unknown_with_its_code() {
        let own = only(|it| it.kafka = Err(silent("kafka_unreachable")));
        assert_eq!(own, expect("kafka_unreachable", "kafka_unreachable", Unknown));
        let own = only(|it| it.kafka.as_mut().unwrap().group = Err(silent("kafka_unreachable")));
        assert_eq!(own.2, Unknown);
        let own = only(|it| it.registries[0].unregistered = Err(silent("registry_unreachable")));
        assert_eq!(own, expect("registry_unreachable", "registry_unreachable", Unknown));
        let own = only(|it| {
            it.clickhouse.version = Err(silent("clickhouse_unreachable"));
            it.clickhouse.jobs = Err(silent("clickhouse_unreachable"));
        });
        assert_eq!(own, expect("clickhouse_unreachable", "clickhouse_unreachable", Unknown));
    }

    #[test]
    fn a_server_that_refuses_is_wrong_and_a_missing_right_on_the_system_is_unknown() {
        let refused = |code: &'static str| ServerError::fatal(code, "x");
        assert_eq!(only(|it| it.kafka = Err(refused("kafka_access"))).2, Wrong);
        let own = only(|it| it.registries[0].unregistered = Err(silent("registry_access")));
        assert_eq!(own, expect("registry_access", "registry_access", Wrong));
        assert_eq!(only(|it| it.clickhouse.jobs = Err(refused("clickhouse_schema"))).2, Wrong);
        assert_eq!(only(|it| it.clickhouse.disks = Err(refused("clickhouse_access"))).2, Unknown);
    }

    #[test]
    fn missing_topics_leaders_replicas_and_schemas_are_found() {
        let topic = |change: fn(&mut TopicState)| {
            only(|it| change(&mut it.kafka.as_mut().unwrap().topics[1])).0
        };
        assert_eq!(topic(|it| it.leaderless = 1), "kafka_unreachable");
        assert_eq!(topic(|it| it.underreplicated = 1), "kafka_unreachable");
        assert_eq!(topic(|it| it.partitions = 0), "kafka_topic_missing");
        let own = only(|it| {
            let kafka = it.kafka.as_mut().unwrap();
            kafka.topics[0].partitions = 0;
            kafka.group = Err(ServerError::fatal("kafka_topic_missing", "x"));
        });
        assert_eq!(own.0, "kafka_topic_missing");
        let own = only(|it| it.registries[0].unregistered = Ok(vec!["s".to_owned()]));
        assert_eq!(own, expect("schema_unregistered", "schema_unregistered", Wrong));
    }

    #[test]
    fn a_lag_is_wrong_where_it_is_large_and_grows_or_its_oldest_record_has_waited() {
        let late = || expect("RowsLate", "lag-grows", Wrong);
        let rates = |appended, committed| Some(GroupRates { appended, committed });
        let large = |facts: &mut StatusFacts| group(facts).lag_records = 10_001;
        assert_eq!(only(large), expect("LagGrows", "lag-grows", Wrong));
        let mut shrinks = healthy();
        large(&mut shrinks);
        group(&mut shrinks).rates = rates(5, 6);
        assert_eq!(of_servers(&shrinks), []);
        let own = only(|it| {
            large(it);
            group(it).rates = None;
        });
        assert_eq!(own.0, "LagGrows", "an unknown rate may be growth");
        assert_eq!(only(|it| group(it).oldest_unread_ms = Some(NOW_MS - 61_000)), late());
        let mut in_time = healthy();
        group(&mut in_time).oldest_unread_ms = Some(NOW_MS - 60_000);
        assert_eq!(of_servers(&in_time), []);
        let own = only(|it| {
            large(it);
            group(it).oldest_unread_ms = Some(NOW_MS - 61_000);
        });
        assert_eq!(own.0, "LagGrows", "one line for one lag");
    }

    #[test]
    fn a_group_without_members_is_wrong_and_members_that_are_not_named_are_not() {
        let own = only(|it| group(it).members = Some(0));
        let heading = "a-process-does-not-start";
        assert_eq!(own, expect(heading, heading, Wrong));
        let mut unnamed = healthy();
        group(&mut unnamed).members = None;
        assert_eq!(of_servers(&unnamed), []);
        assert_eq!(only(|it| group(it).unknown_partitions = 1).2, Unknown);
    }

    #[test]
    fn disks_parts_and_replicas_are_wrong_beyond_their_limits() {
        let disk = |free| {
            let mut facts = healthy();
            facts.clickhouse.disks.as_mut().unwrap()[0].free = free;
            of_servers(&facts).len()
        };
        assert_eq!((disk(1_000), disk(999)), (0, 1));
        let parts = |most| {
            let mut facts = healthy();
            facts.clickhouse.parts.as_mut().unwrap().most = most;
            of_servers(&facts).into_iter().map(|it| it.name).collect::<Vec<_>>()
        };
        assert_eq!((parts(500).len(), parts(501)), (0, vec!["PartsNearLimit".to_owned()]));
        let replicas = |read_only, delay_seconds| {
            let state = ReplicaState { tables: 2, read_only, delay_seconds };
            only(|it| it.clickhouse.replicas = Ok(state)).1
        };
        assert_eq!(replicas(1, 60), "clickhouse_read_only");
        assert_eq!(replicas(0, 61), "dashboard-flat");
    }

    fn held(state: &str) -> Vec<HeldDeadLetters> {
        let own = |code: &str| HeldDeadLetters {
            error_code: code.to_owned(),
            state_name: state.to_owned(),
            letters: 2,
        };
        vec![own("bad_magic"), own("empty_value")]
    }

    fn open_job(is_abandoned: bool) -> OpenJob {
        OpenJob {
            id: "0198".to_owned(),
            kind: "redrive".to_owned(),
            state: "running",
            age_seconds: 7,
            is_abandoned,
            has_left_gap: false,
            resume: "processors dlq redrive --resume 0198".to_owned(),
        }
    }

    #[test]
    fn dead_letters_are_wrong_while_they_are_open_or_no_job_sends_their_copies() {
        for state in ["resolved", "discarded", "parked"] {
            let mut facts = healthy();
            facts.clickhouse.dead_letters = Ok(held(state));
            assert_eq!(of_servers(&facts), [], "{state}");
        }
        for state in ["open", "failed_again"] {
            let own = only(|it| it.clickhouse.dead_letters = Ok(held(state)));
            assert_eq!(own, expect("DeadLettersOpen", "dead-letters-come", Wrong));
        }
        let own = only(|it| it.clickhouse.dead_letters = Ok(held("pending")));
        assert_eq!(own, expect("DeadLettersPending", "redrive-dead-letters", Ticket));
        let mut sent = healthy();
        sent.clickhouse.dead_letters = Ok(held("pending"));
        sent.clickhouse.jobs = Ok(vec![open_job(false)]);
        assert_eq!(of_servers(&sent), []);
        let text = &of_dead_letters(&held("open"), &[])[0].text;
        assert_eq!(text, "dead letters are open or failed again: bad_magic 2, empty_value 2");
    }

    #[test]
    fn a_job_without_a_process_is_a_ticket_and_its_line_has_the_command_that_resumes_it() {
        let mut facts = healthy();
        let left = OpenJob { has_left_gap: true, ..open_job(false) };
        facts.clickhouse.jobs = Ok(vec![open_job(true), open_job(false), left]);
        let findings = of_servers(&facts);
        assert_eq!(findings.len(), 2, "{findings:?}");
        assert!(findings[1].text.ends_with("the offsets of its skip have no rows"), "{findings:?}");
        assert_eq!(findings[0].next, "processors dlq redrive --resume 0198");
        assert_eq!((findings[0].heading.as_str(), findings[0].level), ("job_running", Ticket));
    }
}
