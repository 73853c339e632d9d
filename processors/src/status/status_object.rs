//! The facts and findings as JSON. Pure.

use std::collections::BTreeMap;

use records::dead_letters::shown_text::json_time;
use serde_json::{Value, json};

use crate::status::facts::{Readiness, ServiceFacts, StatusFacts};
use crate::status::findings::StatusVerdict;
use crate::status::known_balance::KnownBalance;
use crate::status::shard_servers::server_object;
use crate::status::status_finding::StatusFinding;

/// Facts and findings as one object; a fact that is not known is `null`.
pub fn object(facts: &StatusFacts, findings: &[StatusFinding]) -> Value {
    let time = |ms: &Option<i64>| ms.map(json_time);
    let ch = &facts.clickhouse;
    let letters = ch.dead_letters.as_ref().ok().map(|held| {
        let mut states: BTreeMap<&str, BTreeMap<&str, u64>> = BTreeMap::new();
        for own in held {
            states.entry(&own.state_name).or_default().insert(&own.error_code, own.letters);
        }
        states
    });
    let kafka = facts.kafka.as_ref().ok().map(|kafka| {
        json!({ "brokers": kafka.brokers, "topics": kafka.topics, "group": kafka.group.as_ref().ok() })
    });
    let registries: Vec<_> = facts
        .registries
        .iter()
        .map(|it| json!({ "url": it.url, "unregistered": it.unregistered.as_ref().ok() }))
        .collect();
    let shards: Vec<_> = facts.shard_servers.iter().map(server_object).collect();
    let services: Vec<_> = facts.services.iter().map(service_object).collect();
    json!({
        "at": json_time(facts.at_ms),
        "verdict": StatusVerdict::of(findings).name(),
        "findings": findings.iter().map(StatusFinding::object).collect::<Vec<_>>(),
        "kafka": kafka,
        "registries": registries,
        "clickhouse": {
            "version": ch.version.as_ref().ok(),
            "disks": ch.disks.as_ref().ok(),
            "parts": ch.parts.as_ref().ok(),
            "replicas": ch.replicas.as_ref().ok(),
            "newest_click_at": ch.newest_click_ms.as_ref().ok().and_then(time),
            "dead_letters": letters,
            "jobs": ch.jobs.as_ref().ok(),
            "balance": ch.balance.as_ref().ok().and_then(Option::as_ref).map(KnownBalance::object),
            "newest_link_change_at": ch.newest_link_ms.as_ref().ok().and_then(time),
            "shards": shards,
        },
        "services": services,
    })
}

fn service_object(service: &ServiceFacts) -> Value {
    let Ok(answer) = &service.answer else {
        return json!({ "address": service.address, "kind": null });
    };
    let (is_ready, problems) = match &answer.readiness {
        Readiness::Ready(problems) => (true, problems.clone()),
        Readiness::NotReady(reason) => (false, vec![reason.clone()]),
    };
    json!({
        "address": service.address,
        "kind": answer.kind.name(),
        "ready": is_ready,
        "problems": problems,
        "metrics": answer.last.object(),
    })
}

#[cfg(test)]
mod tests {
    use broker::ServerError;

    use super::*;
    use crate::status::facts::ServiceFailure;
    use crate::status::findings::findings;
    use crate::status::healthy_facts::healthy;

    #[test]
    fn what_did_not_answer_is_null() {
        let mut facts = healthy();
        let own = object(&facts, &findings(&facts));
        assert_eq!((&own["verdict"], &own["findings"]), (&json!("healthy"), &json!([])));
        assert_eq!(own["kafka"]["group"]["rates"]["appended"], 120);
        assert_eq!(own["clickhouse"]["jobs"], json!([]));
        assert_eq!(own["services"][0]["metrics"]["clicktrail_producer_brokers_up"], 1.0);
        let silent = || ServerError::retryable("clickhouse_unreachable", "no answer within 2 s");
        facts.clickhouse.version = Err(silent());
        facts.clickhouse.jobs = Err(silent());
        facts.services[0].answer = Err(ServiceFailure::Refused);
        let own = object(&facts, &findings(&facts));
        assert_eq!(own["verdict"], "wrong");
        assert_eq!(own["findings"][0]["runbook"], "RUNBOOK.md#a-process-does-not-start");
        assert_eq!(own["findings"][1]["level"], "unknown");
        let (jobs, kind) = (&own["clickhouse"]["jobs"], &own["services"][0]["kind"]);
        assert!(jobs.is_null() && kind.is_null(), "{own}");
    }
}
