//! The only room that knows rdkafka.

pub mod consumer;
pub mod dead_letter_writer;
pub mod link_reader;
pub mod log_reader;
pub mod topics;

use std::time::Duration;

use rdkafka::ClientConfig;
use rdkafka::client::ClientContext;
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::consumer::ConsumerContext;
use rdkafka::error::{KafkaError, RDKafkaErrorCode as Code};

use service::properties::Property;

use crate::error::ServerError;
use crate::run::source::{MEMBER_FENCED, POSITION_LOST};

/// Where the brokers are and how to talk to them.
#[derive(Clone)]
pub struct Brokers {
    /// `bootstrap.servers`.
    pub servers: String,
    /// Any other librdkafka property (TLS, SASL, …); may hold secrets, so it is never printed.
    pub properties: Vec<Property>,
}

impl std::fmt::Debug for Brokers {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.servers)
    }
}

impl Brokers {
    /// `max.poll.interval.ms` as it will hold.
    pub fn max_poll_interval_ms(&self) -> u128 {
        self.milliseconds("max.poll.interval.ms").unwrap_or(300_000)
    }

    /// `session.timeout.ms` as it will hold.
    pub fn session_timeout(&self) -> Duration {
        Duration::from_millis(self.milliseconds("session.timeout.ms").unwrap_or(45_000))
    }

    fn milliseconds<N: std::str::FromStr>(&self, key: &str) -> Option<N> {
        let given = self.properties.iter().rev().find(|own| own.key == key);
        given.and_then(|own| own.value.trim().parse().ok())
    }

    /// A client's configuration; `ours` are the properties that a promise leans on and win over
    /// what the operator passes.
    fn client(&self, ours: &[(&str, &str)]) -> ClientConfig {
        self.client_with(&[], ours)
    }

    /// As [`Brokers::client`], with properties that the operator may change.
    fn client_with(&self, usual: &[(&str, &str)], ours: &[(&str, &str)]) -> ClientConfig {
        let mut config = ClientConfig::new();
        for (name, value) in usual {
            config.set(*name, *value);
        }
        for Property { key, value } in &self.properties {
            config.set(key, value);
        }
        config.set("bootstrap.servers", &self.servers);
        config.set("client.id", "clicktrail-processors");
        for (name, value) in ours {
            config.set(*name, *value);
        }
        config
    }
}

/// What the library says by itself goes to the debug log: an outage is told once a minute by
/// whoever waits for it, and at the end by the command that fails.
#[derive(Debug, Clone, Copy, Default)]
struct Quiet;

impl ClientContext for Quiet {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, message: &str) {
        tracing::debug!(?level, facility, message, "librdkafka");
    }

    fn error(&self, error: KafkaError, reason: &str) {
        tracing::debug!(%error, reason, "librdkafka");
    }
}

impl ConsumerContext for Quiet {}

/// The one place where the library's errors become ours. What is not plainly the configuration's
/// fault is waited out.
#[expect(clippy::wildcard_enum_match_arm, reason = "a foreign enum, translated here only")]
fn server_error(error: &KafkaError) -> ServerError {
    if let KafkaError::ClientConfig(_, description, key, value) = error {
        let value = if key.contains("password") { "…" } else { value };
        return ServerError::fatal("kafka_property", format!("{key}={value}: {description}"));
    }
    if let KafkaError::MessageConsumptionFatal(Code::FencedInstanceId) = error {
        let text = "another member came under the name of this one (CLICKTRAIL_GROUP_INSTANCE); \
                    start it again unless there are two on purpose";
        return ServerError::retryable(MEMBER_FENCED, text);
    }
    if matches!(error, KafkaError::ClientCreation(_) | KafkaError::MessageConsumptionFatal(_)) {
        return ServerError::fatal("kafka_client", error);
    }
    let Some(code) = error.rdkafka_error_code() else {
        return ServerError::retryable("kafka_unreachable", error);
    };
    match code {
        Code::Authentication | Code::SaslAuthenticationFailed | Code::UnsupportedSASLMechanism => {
            ServerError::fatal("kafka_access", format!("check the SASL properties ({error})"))
        }
        Code::TopicAuthorizationFailed
        | Code::GroupAuthorizationFailed
        | Code::ClusterAuthorizationFailed => {
            ServerError::fatal("kafka_access", format!("the user lacks a right ({error})"))
        }
        Code::OffsetOutOfRange | Code::AutoOffsetReset => {
            ServerError::retryable(POSITION_LOST, "the log no longer holds the position being read")
        }
        Code::UnknownTopic | Code::UnknownTopicOrPartition => ServerError::retryable(
            "kafka_topic_missing",
            format!("run `processors setup` ({error})"),
        ),
        _ => ServerError::retryable("kafka_unreachable", error),
    }
}
