//! Facts of the servers that the preflight and `setup --check` judge. Changes nothing.

use broker::ServerError;
use schemas::{LINKS_NEWEST, NEWEST, TopicSpec};

use crate::clickhouse::click_table::ClickTable;
use crate::clickhouse::insert_settings::{ACKNOWLEDGE_TIMEOUT, PINNED, SEND_TIMEOUT};
use crate::clickhouse::{describe_tables, migrations};
use crate::config::Servers;
use crate::kafka::topics::{TopicSettings, Topics};
use crate::setup::preflight::{self, Finding, TopicFacts};

/// Findings that would break the delivery guarantee of `run`.
///
/// # Errors
/// A server does not answer.
pub(crate) async fn preflight(servers: &Servers) -> Result<Vec<Finding>, ServerError> {
    let server = servers.clickhouse.server()?;
    migrations::refuse_unknown(&server).await?;
    let inserts = ClickTable::open(&server).await?;
    let mut findings = preflight::table(&describe_tables::facts(&server, &inserts).await?, PINNED);

    let topics = Topics::open(&servers.kafka.brokers())?;
    for (name, _) in servers.kafka.topics() {
        let facts = topics.settings(&name).await?.map_or_else(TopicFacts::default, topic_facts);
        findings.extend(preflight::compression(&name, &facts));
        if name == servers.kafka.topic.as_str() {
            findings.extend(preflight::topic(&name, &facts));
        }
    }

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
    }
}

/// What `processors setup` would change, and what it cannot fix.
///
/// # Errors
/// A server does not answer.
pub(crate) async fn drift(servers: &Servers) -> Result<Vec<Finding>, ServerError> {
    let mut findings = preflight(servers).await?;
    let topic = &servers.kafka.topic;
    let topics = Topics::open(&servers.kafka.brokers())?;
    for (name, spec) in &servers.kafka.topics() {
        match topics.settings(name).await? {
            None if name == topic.as_str() => {}
            None => findings.push(missing(format!("there is no topic {name}"))),
            Some(settings) => {
                let mut drift = settings.drift(&spec.config);
                // The preflight has named it.
                drift.remove("compression.type");
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
    let migrations = migrations::missing(&servers.clickhouse.server()?).await?;
    let migrations = migrations.into_iter();
    findings.extend(migrations.map(|name| missing(format!("migration {name} is not applied"))));
    Ok(findings)
}

fn missing(wrong: String) -> Finding {
    Finding { wrong, fix: "processors setup".to_owned(), tolerable: false }
}
