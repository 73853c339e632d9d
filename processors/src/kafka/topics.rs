//! Makes the topics as their descriptions say, and says what it changed.

use std::collections::BTreeMap;
use std::time::Duration;

use rdkafka::admin::{
    AdminClient, AdminOptions, AlterConfig, ConfigSource, NewTopic, ResourceSpecifier,
    TopicReplication,
};
use rdkafka::error::RDKafkaErrorCode;
use schemas::TopicSpec;

use super::{Brokers, Quiet, server_error};
use crate::error::ServerError;

const TIMEOUT: Duration = Duration::from_secs(30);

/// The topics of one cluster.
pub struct Topics {
    admin: AdminClient<Quiet>,
}

impl std::fmt::Debug for Topics {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Topics")
    }
}

impl Topics {
    /// An administrator of `brokers`.
    ///
    /// # Errors
    /// Fatal for a property that cannot be.
    pub fn open(brokers: &Brokers) -> Result<Self, ServerError> {
        let client = brokers.client(&[]).create_with_context(Quiet);
        let admin = client.map_err(|error| server_error(&error))?;
        Ok(Self { admin })
    }

    /// Makes the topic `name` by `spec`, or sets those of its settings that differ; returns what
    /// it did, a line each. Partitions of a topic that is there are left alone.
    ///
    /// # Errors
    /// The broker's refusal.
    pub async fn ensure(
        &self,
        name: &str,
        spec: &TopicSpec,
        (partitions, replication): (i32, i32),
    ) -> Result<Vec<String>, ServerError> {
        let mut topic = NewTopic::new(name, partitions, TopicReplication::Fixed(replication));
        for (key, value) in &spec.config {
            topic = topic.set(key, value);
        }
        let made = self
            .admin
            .create_topics([&topic], &options())
            .await
            .map_err(|error| server_error(&error))?;
        match made.into_iter().next() {
            Some(Err((_, RDKafkaErrorCode::TopicAlreadyExists))) => {
                self.mend(name, &spec.config).await
            }
            Some(Err((_, code))) => Err(refused(name, code)),
            Some(Ok(_)) | None => {
                Ok(vec![format!("kafka: created topic {name} with {partitions} partitions")])
            }
        }
    }

    /// Sets what differs. The broker's call replaces all settings of the topic, so those that
    /// an operator set beside ours are sent along.
    async fn mend(
        &self,
        name: &str,
        wanted: &BTreeMap<String, String>,
    ) -> Result<Vec<String>, ServerError> {
        let described = self
            .admin
            .describe_configs([&ResourceSpecifier::Topic(name)], &options())
            .await
            .map_err(|error| server_error(&error))?;
        let described = described.into_iter().next().and_then(Result::ok);
        // A topic that was made a moment ago may not be known to every broker yet.
        let Some(resource) = described.filter(|resource| !resource.entries.is_empty()) else {
            let text = format!("the broker does not describe {name} yet");
            return Err(ServerError::retryable("kafka_unreachable", text));
        };
        let mut settings: BTreeMap<&str, &str> = BTreeMap::new();
        let mut effective: BTreeMap<&str, &str> = BTreeMap::new();
        for entry in &resource.entries {
            let Some(value) = entry.value.as_deref() else { continue };
            effective.insert(&entry.name, value);
            if matches!(entry.source, ConfigSource::DynamicTopic) {
                settings.insert(&entry.name, value);
            }
        }
        let mut changes = Vec::new();
        for (key, value) in wanted {
            let now = effective.get(key.as_str()).copied().unwrap_or_default();
            if now != value {
                changes.push(format!("kafka: set {key} of {name} from {now:?} to {value:?}"));
                settings.insert(key, value);
            }
        }
        if changes.is_empty() {
            return Ok(changes);
        }
        let mut alter = AlterConfig::new(ResourceSpecifier::Topic(name));
        for (key, value) in settings {
            alter = alter.set(key, value);
        }
        let altered = self
            .admin
            .alter_configs([&alter], &options())
            .await
            .map_err(|error| server_error(&error))?;
        match altered.into_iter().next() {
            Some(Err((_, code))) => Err(refused(name, code)),
            Some(Ok(_)) | None => Ok(changes),
        }
    }
}

fn options() -> AdminOptions {
    AdminOptions::new().request_timeout(Some(TIMEOUT)).operation_timeout(Some(TIMEOUT))
}

fn refused(name: &str, code: RDKafkaErrorCode) -> ServerError {
    ServerError::fatal("kafka_topic_refused", format!("topic {name}: {code}"))
}
