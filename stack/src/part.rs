//! The parts of the stack: their names and the order they start in. Pure.

use std::fmt;
use std::str::FromStr;

/// A part of the stack.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Part {
    /// Apache Kafka: the only broker, or the first of three.
    Kafka,
    /// The second broker, where there are three.
    Kafka2,
    /// The third.
    Kafka3,
    /// The ClickHouse engine behind its HTTP protocol.
    ClickHouse,
    /// Apicurio Registry, speaking the Confluent protocol.
    Registry,
    /// Alertmanager, on request.
    Alertmanager,
    /// Prometheus, on request.
    Prometheus,
}

impl Part {
    /// All that a stack can have, in the order they start; they stop in the reverse.
    pub const ALL: [Self; 7] = [
        Self::Kafka,
        Self::Kafka2,
        Self::Kafka3,
        Self::ClickHouse,
        Self::Registry,
        Self::Alertmanager,
        Self::Prometheus,
    ];
    /// The brokers there can be. Kafka's node id of each is its position here, from 1 on.
    pub const BROKERS: [Self; 3] = [Self::Kafka, Self::Kafka2, Self::Kafka3];

    /// Its name in commands, files and messages.
    pub fn name(self) -> &'static str {
        match self {
            Self::Kafka => "kafka",
            Self::Kafka2 => "kafka-2",
            Self::Kafka3 => "kafka-3",
            Self::ClickHouse => "clickhouse",
            Self::Registry => "registry",
            Self::Alertmanager => "alertmanager",
            Self::Prometheus => "prometheus",
        }
    }

    /// The flag that adds it to a stack, for a part that not every stack has.
    pub(crate) fn flag(self) -> &'static str {
        match self {
            Self::Alertmanager => "--with alertmanager",
            Self::Prometheus => "--with prometheus",
            Self::Kafka | Self::Kafka2 | Self::Kafka3 | Self::ClickHouse | Self::Registry => {
                "--brokers 3"
            }
        }
    }

    pub(crate) fn is_broker(self) -> bool {
        Self::BROKERS.contains(&self)
    }
}

impl fmt::Display for Part {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// A text that names no part.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "no such part; the parts are kafka (also kafka-1), kafka-2, kafka-3, registry, clickhouse, alertmanager and prometheus"
)]
pub struct InvalidPart;

impl FromStr for Part {
    type Err = InvalidPart;

    fn from_str(name: &str) -> Result<Self, InvalidPart> {
        let name = if name == "kafka-1" { "kafka" } else { name };
        Self::ALL.into_iter().find(|part| part.name() == name).ok_or(InvalidPart)
    }
}
