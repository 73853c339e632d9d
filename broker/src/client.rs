//! librdkafka's configuration for both services: the reserved properties, and the class of each error.

use std::time::Duration;

use rdkafka::ClientConfig;
use rdkafka::client::ClientContext;
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::consumer::ConsumerContext;
use rdkafka::error::{KafkaError, RDKafkaErrorCode as Code};
use schemas::BATCH_UNREADABLE;

use crate::error::{MEMBER_FENCED, POSITION_LOST, ServerError};
use crate::properties::{Property, is_reserved, may_be_secret, used_name};

/// The addresses of the brokers, and the properties of their clients.
#[derive(Clone)]
pub struct Brokers {
    /// `bootstrap.servers`.
    pub servers: String,
    /// Other librdkafka properties (TLS, SASL, …). They may hold secrets and are never printed.
    pub properties: Vec<Property>,
}

impl std::fmt::Debug for Brokers {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.servers)
    }
}

impl Brokers {
    /// The operator's value of a property; the last one counts.
    pub fn property(&self, key: &str) -> Option<&str> {
        self.properties.iter().rev().find(|own| own.key == key).map(|own| own.value.as_str())
    }

    /// `max.poll.interval.ms` in effect.
    pub fn max_poll_interval_ms(&self) -> u128 {
        self.milliseconds("max.poll.interval.ms").unwrap_or(300_000)
    }

    /// `session.timeout.ms` in effect.
    pub fn session_timeout(&self) -> Duration {
        Duration::from_millis(self.milliseconds("session.timeout.ms").unwrap_or(45_000))
    }

    fn milliseconds<N: std::str::FromStr>(&self, key: &str) -> Option<N> {
        self.property(key).and_then(|value| value.trim().parse().ok())
    }

    /// The configuration of a client: the name `client_id` and `defaults`, then the operator's
    /// properties, which replace them, then `required`.
    ///
    /// # Errors
    /// Fatal: the operator sets a reserved property, or one of `required`.
    pub fn config(
        &self,
        client_id: &str,
        defaults: &[(&str, &str)],
        required: &[(&str, &str)],
    ) -> Result<ClientConfig, ServerError> {
        let mut config = ClientConfig::new();
        config.set("client.id", client_id);
        for (name, value) in defaults {
            config.set(*name, *value);
        }
        for Property { key, value } in &self.properties {
            let name = used_name(key);
            if is_reserved(name) || required.iter().any(|(own, _)| *own == name) {
                let text = format!(
                    "Kafka property {key:?} cannot be set: delivery depends on it, or it has a \
                     setting of its own"
                );
                return Err(ServerError::fatal("kafka_property", text));
            }
            config.set(name, value);
        }
        config.set("bootstrap.servers", &self.servers);
        for (name, value) in required {
            config.set(*name, *value);
        }
        Ok(config)
    }

    /// [`Brokers::config`] of a consumer, with bounds of the memory of one batch.
    ///
    /// # Errors
    /// As [`Brokers::config`].
    pub fn consumer_config(
        &self,
        client_id: &str,
        defaults: &[(&str, &str)],
        required: &[(&str, &str)],
    ) -> Result<ClientConfig, ServerError> {
        let mut config = self.config(client_id, defaults, required)?;
        for (name, value) in CONSUMER_BOUNDS {
            config.set(name, value);
        }
        Ok(config)
    }
}

/// Bounds of every consumer. A topic bounds a batch by its compressed bytes, each of which may become
/// 30,000 bytes; librdkafka bounds only what zstd decompresses, and by the first of these properties.
///
/// librdkafka decompresses all batches of a response before it reads the first record, so a response
/// is small: the smallest batch that decompresses to 16 MiB has 600 bytes, and 13 of them fit into
/// 8 KiB (218 MiB). A batch that exceeds `fetch.max.bytes` comes alone, so a log of large batches is
/// read as fast as with 1 MiB; a log of batches of one click at a third of the rate (`docs/bounds.md`).
const CONSUMER_BOUNDS: [(&str, &str); 4] = [
    // The largest decompressed batch, and the largest response.
    ("receive.message.max.bytes", "16777216"),
    ("fetch.max.bytes", "8192"),
    ("fetch.message.max.bytes", "8192"),
    // For producers; the library refuses a value above `fetch.max.bytes`.
    ("message.max.bytes", "8192"),
];

/// Sends the library's messages to the debug log: the code that waits for the broker reports an outage
/// once a minute, and a command that fails reports it at its end.
#[derive(Debug, Clone, Copy, Default)]
pub struct QuietContext;

impl ClientContext for QuietContext {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, message: &str) {
        tracing::debug!(?level, facility, message, "librdkafka");
    }

    fn error(&self, error: KafkaError, reason: &str) {
        tracing::debug!(%error, reason, "librdkafka");
    }
}

impl ConsumerContext for QuietContext {}

/// The error of a client that cannot be made, without values of properties that may be secrets.
#[expect(clippy::wildcard_enum_match_arm, reason = "a foreign enum, translated here only")]
pub fn property_error(error: &KafkaError) -> ServerError {
    match error {
        // The library repeats the value; an unknown key may be a misspelt name of a secret.
        KafkaError::ClientConfig(_, why, key, _)
            if may_be_secret(key) || why.contains("No such") =>
        {
            let text = format!("librdkafka does not accept the property {key}, or its value");
            ServerError::fatal("kafka_property", text)
        }
        KafkaError::ClientConfig(_, why, key, _) => {
            ServerError::fatal("kafka_property", format!("{key}: {why}"))
        }
        error => ServerError::fatal("kafka_client", error),
    }
}

/// Errors of a consumer about the bytes of a batch: they repeat at each attempt.
pub(crate) const UNREADABLE: [Code; 4] =
    [Code::BadCompression, Code::BadMessage, Code::NotImplemented, Code::MessageSizeTooLarge];

/// The class and code of an error of the library. Every error that is not clearly one of the
/// configuration is retryable.
#[expect(clippy::wildcard_enum_match_arm, reason = "a foreign enum, translated here only")]
pub fn server_error(error: &KafkaError) -> ServerError {
    if let KafkaError::ClientConfig(..) | KafkaError::ClientCreation(_) = error {
        return property_error(error);
    }
    if let KafkaError::MessageConsumptionFatal(Code::FencedInstanceId) = error {
        let text = "another member uses the instance id of this one \
                    (CLICKTRAIL_GROUP_INSTANCE_ID); start it again unless there are two on purpose";
        return ServerError::retryable(MEMBER_FENCED, text);
    }
    if let KafkaError::MessageConsumption(code) = error
        && UNREADABLE.contains(code)
    {
        let text = format!("the library cannot read a batch ({error})");
        return ServerError::retryable(BATCH_UNREADABLE, text);
    }
    if matches!(error, KafkaError::MessageConsumptionFatal(_)) {
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::properties::{ALIASES, RESERVED};
    use rdkafka::consumer::BaseConsumer;

    fn open(properties: &[(&str, &str)]) -> Result<(), ServerError> {
        let properties = properties
            .iter()
            .map(|(key, value)| Property { key: (*key).to_owned(), value: (*value).to_owned() })
            .collect();
        let brokers = Brokers { servers: "127.0.0.1:1".to_owned(), properties };
        let config = brokers.config("test", &[], &[("group.id", "test")])?;
        let made: Result<BaseConsumer<QuietContext>, _> = config.create_with_context(QuietContext);
        made.map(drop).map_err(|error| server_error(&error))
    }

    #[test]
    fn a_reserved_property_is_refused_by_name() {
        let aliases = ALIASES.iter().filter(|(_, name)| is_reserved(name));
        for key in RESERVED.into_iter().chain(aliases.map(|(alias, _)| *alias)) {
            let error = open(&[(key, "0")]).unwrap_err();
            assert!(error.code == "kafka_property" && error.message.contains(key), "{error}");
        }
        assert!(open(&[("session.timeout.ms", "6000")]).is_ok());
    }

    #[test]
    fn a_property_that_a_client_requires_is_refused_where_it_is_not_reserved() {
        let key = "group.instance.id".to_owned();
        let properties = vec![Property { key, value: "one".to_owned() }];
        let brokers = Brokers { servers: "127.0.0.1:1".to_owned(), properties };
        assert!(brokers.config("test", &[], &[]).is_ok());
        let error = brokers.config("test", &[], &[("group.instance.id", "two")]).unwrap_err();
        assert!(error.message.contains("group.instance.id"), "{error}");
    }

    #[test]
    fn an_alias_of_a_default_replaces_the_default() {
        for (default, alias) in
            [("linger.ms", "queue.buffering.max.ms"), ("compression.type", "compression.codec")]
        {
            let properties = vec![Property { key: alias.to_owned(), value: "mine".to_owned() }];
            let brokers = Brokers { servers: "127.0.0.1:1".to_owned(), properties };
            let config = brokers.config("test", &[(default, "ours")], &[]).unwrap();
            assert_eq!((config.get(default), config.get(alias)), (Some("mine"), None));
        }
    }

    #[test]
    fn h2_no_consumer_decompresses_more_than_16_mib_of_a_batch() {
        let brokers = Brokers { servers: "127.0.0.1:1".to_owned(), properties: vec![] };
        let required = [("group.id", "test")];
        let config = brokers.consumer_config("test", &[], &required).unwrap();
        assert_eq!(config.get("receive.message.max.bytes"), Some("16777216"));
        assert_eq!(config.get("fetch.max.bytes"), Some("8192"));
        // The library accepts the bounds together.
        let made: Result<BaseConsumer<QuietContext>, _> = config.create_with_context(QuietContext);
        assert!(made.is_ok());
        for (bound, _) in CONSUMER_BOUNDS {
            assert!(open(&[(bound, "1000000000")]).is_err(), "{bound}");
        }
    }

    #[test]
    fn h3_only_errors_that_judge_a_batch_make_it_unreadable() {
        let code = |error: &KafkaError| server_error(error).code;
        for judged in UNREADABLE {
            assert_eq!(code(&KafkaError::MessageConsumption(judged)), BATCH_UNREADABLE);
        }
        for other in [Code::BrokerTransportFailure, Code::AllBrokersDown, Code::OperationTimedOut] {
            assert_eq!(code(&KafkaError::MessageConsumption(other)), "kafka_unreachable");
        }
        let refused = KafkaError::MessageProduction(Code::MessageSizeTooLarge);
        assert_eq!(code(&refused), "kafka_unreachable");
    }

    #[test]
    fn the_operator_may_name_the_client() {
        let named = Property { key: "client.id".to_owned(), value: "mine".to_owned() };
        for (properties, expected) in [(vec![], "ours"), (vec![named], "mine")] {
            let brokers = Brokers { servers: "127.0.0.1:1".to_owned(), properties };
            let config = brokers.config("ours", &[], &[]).unwrap();
            assert_eq!(config.get("client.id"), Some(expected));
        }
    }

    #[test]
    fn a_refused_property_is_named_and_its_value_is_not_printed() {
        for (key, value) in [
            ("linger.mss", "geheim"),
            ("sasl.pasword", "geheim"),
            ("ssl.key.pem", "geheim"),
            ("session.timeout.ms", "geheim"),
        ] {
            let error = open(&[("security.protocol", "ssl"), (key, value)]).unwrap_err();
            let text = error.to_string();
            assert!(text.contains(key) || key == "ssl.key.pem", "{text}");
            let secret = !matches!(key, "session.timeout.ms");
            assert!(!secret || !text.contains("geheim"), "{text}");
        }
    }
}
