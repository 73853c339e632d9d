//! Facts of the servers that the preflight and `setup --check` judge. Changes nothing.

use std::collections::BTreeMap;
use std::num::NonZeroU16;

use broker::ServerError;
use schemas::{LINKS_NEWEST, NEWEST, TopicSpec};

use crate::clickhouse::insert_settings::{ACKNOWLEDGE_TIMEOUT, SEND_TIMEOUT};
use crate::config::Servers;
use crate::kafka::topics::{TopicSettings, Topics};
use crate::setup::cluster_facts;
use crate::setup::preflight::{self, DeadLetterTopics, Finding, TopicFacts};

/// Findings that would break the delivery guarantee of `run`.
///
/// # Errors
/// A server does not answer.
pub(crate) async fn preflight(servers: &Servers) -> Result<Vec<Finding>, ServerError> {
    let mut findings = cluster_facts::findings(&servers.clickhouse.cluster()?).await?;

    let topics = Topics::open(&servers.kafka.brokers())?;
    let mut all = BTreeMap::new();
    for (name, _) in servers.kafka.topics() {
        let own = topics.settings(&name).await?.map_or_else(TopicFacts::default, topic_facts);
        findings.extend(preflight::compression(&name, &own));
        all.insert(name, own);
    }
    let (log, dead) = (servers.kafka.topic.to_string(), servers.kafka.topic.dead_letters());
    let of = |name: &str| all.get(name).cloned().unwrap_or_default();
    let (source, facts) = (of(&log), of(&dead));
    findings.extend(preflight::topic(&log, &source));
    let topics =
        DeadLetterTopics { source_name: &log, source: &source, name: &dead, facts: &facts };
    findings.extend(preflight::dead_letters(topics));

    let subject = servers.kafka.topic.subject();
    if servers.registry.registry()?.versions(&subject).await?.is_empty() {
        let wrong = format!("the registry does not know {subject}");
        findings.push(missing(wrong));
    }
    let insert = SEND_TIMEOUT + ACKNOWLEDGE_TIMEOUT;
    let poll_ms = servers.kafka.brokers().max_poll_interval_ms();
    findings.extend(preflight::timeouts(insert.as_millis(), poll_ms));
    Ok(findings)
}

fn topic_facts(settings: TopicSettings) -> TopicFacts {
    let held = |name: &str| settings.effective.get(name).cloned().unwrap_or_default();
    TopicFacts {
        exists: true,
        timestamp_type: held("message.timestamp.type"),
        compression: held("compression.type"),
        retention_ms: held("retention.ms").parse().ok(),
        message_bytes_max: held("max.message.bytes").parse().ok(),
    }
}

/// What `processors setup` would change, and what it cannot fix.
///
/// # Errors
/// A server does not answer.
pub(crate) async fn drift(
    servers: &Servers,
    payload_days: NonZeroU16,
) -> Result<Vec<Finding>, ServerError> {
    let mut findings = preflight(servers).await?;
    let topic = &servers.kafka.topic;
    let topics = Topics::open(&servers.kafka.brokers())?;
    for (name, spec) in &servers.kafka.topics() {
        match topics.settings(name).await? {
            None if name == topic.as_str() => {}
            None => findings.push(missing(format!("there is no topic {name}"))),
            Some(settings) => {
                let mut drift = settings.drift(&spec.config);
                drift.retain(|key, _| {
                    let named = format!("{key} of topic {name} ");
                    // The preflight has named it.
                    *key != "compression.type"
                        && findings.iter().all(|found| !found.wrong.starts_with(&named))
                });
                findings.extend(drift.iter().map(|(key, now)| {
                    let should = &spec.config[*key];
                    missing(format!("{key} of topic {name} is {now:?}, not {should:?}"))
                }));
            }
        }
    }
    let registry = servers.registry.registry()?;
    for (topic, spec, newest) in [
        (topic, TopicSpec::clicks(), NEWEST),
        (&servers.kafka.links_topic, TopicSpec::links(), LINKS_NEWEST),
    ] {
        let subject = topic.subject();
        let level = spec.compatibility.unwrap_or_default();
        if registry.compatibility(&subject).await?.as_deref() != Some(&level) {
            findings.push(missing(format!("the compatibility of {subject} is not {level}")));
        }
        if registry.lookup(&subject, newest).await?.is_none() {
            findings.push(missing(format!("the newest schema is not registered as {subject}")));
        }
    }
    findings.extend(cluster_facts::drift(&servers.clickhouse.cluster()?, payload_days).await?);
    Ok(findings)
}

fn missing(wrong: String) -> Finding {
    Finding { wrong, fix: "processors setup".to_owned(), tolerable: false }
}
