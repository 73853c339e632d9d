//! The topics of a cluster: creates them by their descriptions, updates their settings, and reports
//! what it changed.

use std::collections::BTreeMap;
use std::time::Duration;

use broker::{Brokers, QuietContext, ServerError, server_error};
use rdkafka::admin::{
    AdminClient, AdminOptions, AlterConfig, ConfigSource, NewTopic, ResourceSpecifier,
    TopicReplication,
};
use rdkafka::error::RDKafkaErrorCode;
use schemas::TopicSpec;

use crate::kafka::client_id::CLIENT_ID;

const TIMEOUT: Duration = Duration::from_secs(30);

/// Partitions and replicas of a new topic.
#[derive(Debug, Clone, Copy)]
pub struct TopicLayout {
    /// Partitions.
    pub partitions: i32,
    /// Replicas of each.
    pub replication: i32,
}

/// The topics of one cluster.
pub struct Topics {
    admin: AdminClient<QuietContext>,
}

impl std::fmt::Debug for Topics {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Topics")
    }
}

impl Topics {
    /// An admin client of `brokers`.
    ///
    /// # Errors
    /// Fatal for a property that is refused.
    pub fn open(brokers: &Brokers) -> Result<Self, ServerError> {
        let client = brokers.config(CLIENT_ID, &[], &[])?.create_with_context(QuietContext);
        let admin = client.map_err(|error| server_error(&error))?;
        Ok(Self { admin })
    }

    /// Creates the topic `name` by `spec`, or sets those of its settings that differ; returns one line
    /// for each change. The partitions of an existing topic do not change.
    ///
    /// # Errors
    /// The broker's refusal.
    pub async fn ensure(
        &self,
        name: &str,
        spec: &TopicSpec,
        layout: TopicLayout,
    ) -> Result<Vec<String>, ServerError> {
        let TopicLayout { partitions, replication } = layout;
        let mut topic = NewTopic::new(name, partitions, TopicReplication::Fixed(replication));
        for (key, value) in &spec.config {
            topic = topic.set(key, value);
        }
        let created = self
            .admin
            .create_topics([&topic], &options())
            .await
            .map_err(|error| server_error(&error))?;
        match created.into_iter().next() {
            Some(Err((_, RDKafkaErrorCode::TopicAlreadyExists))) => {
                self.update_settings(name, &spec.config).await
            }
            Some(Err((_, code))) => Err(refused(name, code)),
            Some(Ok(_)) | None => {
                Ok(vec![format!("kafka: created topic {name} with {partitions} partitions")])
            }
        }
    }

    /// Sets the settings that differ. The request replaces all settings of the topic, so it includes
    /// those of an operator.
    async fn update_settings(
        &self,
        name: &str,
        wanted: &BTreeMap<String, String>,
    ) -> Result<Vec<String>, ServerError> {
        // A topic that was created a moment ago may not be known to every broker yet.
        let Some(settings) = self.settings(name).await? else {
            let text = format!("the broker does not describe {name} yet");
            return Err(ServerError::retryable("kafka_unreachable", text));
        };
        let drift = settings.drift(wanted);
        if drift.is_empty() {
            return Ok(Vec::new());
        }
        let mut alter = AlterConfig::new(ResourceSpecifier::Topic(name));
        let mut all = settings.own.clone();
        all.extend(drift.keys().map(|key| ((*key).to_owned(), wanted[*key].clone())));
        for (key, value) in &all {
            alter = alter.set(key, value);
        }
        let altered = self
            .admin
            .alter_configs([&alter], &options())
            .await
            .map_err(|error| server_error(&error))?;
        match altered.into_iter().next() {
            Some(Err((_, code))) => Err(refused(name, code)),
            Some(Ok(_)) | None => Ok(drift
                .iter()
                .map(|(key, now)| {
                    format!("kafka: set {key} of {name} from {now:?} to {:?}", wanted[*key])
                })
                .collect()),
        }
    }

    /// The settings of a topic; `None` if it does not exist.
    ///
    /// # Errors
    /// The broker is unreachable.
    pub async fn settings(&self, name: &str) -> Result<Option<TopicSettings>, ServerError> {
        let described = self
            .admin
            .describe_configs([&ResourceSpecifier::Topic(name)], &options())
            .await
            .map_err(|error| server_error(&error))?;
        let described = described.into_iter().next().and_then(Result::ok);
        let Some(resource) = described.filter(|resource| !resource.entries.is_empty()) else {
            return Ok(None);
        };
        let mut settings = TopicSettings::default();
        for entry in resource.entries {
            let Some(value) = entry.value else { continue };
            if matches!(entry.source, ConfigSource::DynamicTopic) {
                settings.own.insert(entry.name.clone(), value.clone());
            }
            settings.effective.insert(entry.name, value);
        }
        Ok(Some(settings))
    }
}

/// The settings of a topic.
#[derive(Debug, Clone, Default)]
pub struct TopicSettings {
    /// The values in effect, defaults of the broker included.
    pub effective: BTreeMap<String, String>,
    /// What was set on the topic itself.
    pub own: BTreeMap<String, String>,
}

impl TopicSettings {
    /// Names of `wanted` that hold another value, with that value.
    pub fn drift<'a>(&'a self, wanted: &'a BTreeMap<String, String>) -> BTreeMap<&'a str, &'a str> {
        let held = |key: &String| self.effective.get(key).map_or("", String::as_str);
        let differs = wanted.iter().filter(|(key, value)| held(key) != value.as_str());
        differs.map(|(key, _)| (key.as_str(), held(key))).collect()
    }
}

fn options() -> AdminOptions {
    AdminOptions::new().request_timeout(Some(TIMEOUT)).operation_timeout(Some(TIMEOUT))
}

fn refused(name: &str, code: RDKafkaErrorCode) -> ServerError {
    ServerError::fatal("kafka_topic_refused", format!("topic {name}: {code}"))
}
