//! The three parts of the stack: their names and the order they start in. Pure.

use std::fmt;
use std::str::FromStr;

/// A part of the stack.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Part {
    /// Apache Kafka, one node.
    Kafka,
    /// The ClickHouse engine behind its HTTP protocol.
    ClickHouse,
    /// Apicurio Registry, speaking the Confluent protocol.
    Registry,
}

impl Part {
    /// In the order they start; they stop in the reverse.
    pub const ALL: [Self; 3] = [Self::Kafka, Self::ClickHouse, Self::Registry];

    /// Its name in commands, files and messages.
    pub fn name(self) -> &'static str {
        match self {
            Self::Kafka => "kafka",
            Self::ClickHouse => "clickhouse",
            Self::Registry => "registry",
        }
    }
}

impl fmt::Display for Part {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// A name that is no part's.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("no such part; the parts are kafka, registry and clickhouse")]
pub struct NoSuchPart;

impl FromStr for Part {
    type Err = NoSuchPart;

    fn from_str(name: &str) -> Result<Self, NoSuchPart> {
        Self::ALL.into_iter().find(|part| part.name() == name).ok_or(NoSuchPart)
    }
}
