//! Topics: their description files, and the names that follow from theirs.

use std::collections::BTreeMap;

use serde::Deserialize;
use thiserror::Error;

const RAW: &str = include_str!("../topics/clicks.raw.v1.json");
const DEAD_LETTERS: &str = include_str!("../topics/clicks.raw.v1.dlq.json");
const LINKS: &str = include_str!("../topics/links.v1.json");

/// Name of a topic: letters, digits, dots and dashes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TopicName(String);

/// Why a name is refused.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error(
    "topic name {0:?}: use 1 to 240 of a-z, A-Z, 0-9, dot and dash (Kafka maps dots and underscores to one metric name)"
)]
pub struct TopicNameError(String);

impl TopicName {
    /// The topic of its dead letters.
    pub fn dead_letters(&self) -> String {
        format!("{}.dlq", self.0)
    }

    /// Registry subject of the record value (TopicNameStrategy).
    pub fn subject(&self) -> String {
        format!("{}-value", self.0)
    }

    /// The name itself.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl std::str::FromStr for TopicName {
    type Err = TopicNameError;

    fn from_str(name: &str) -> Result<Self, Self::Err> {
        let plain = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'.' || byte == b'-';
        let dots_only = name.bytes().all(|byte| byte == b'.');
        match name.len() {
            1..=240 if name.bytes().all(plain) && !dots_only => Ok(Self(name.to_owned())),
            _ => Err(TopicNameError(name.to_owned())),
        }
    }
}

impl std::fmt::Display for TopicName {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.fmt(f)
    }
}

/// The required form of a topic.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TopicSpec {
    /// Its default name.
    pub name: String,
    /// The meaning of a record in it.
    pub description: String,
    /// Its writers.
    pub producers: Vec<String>,
    /// Its readers.
    pub consumers: Vec<String>,
    /// How records are keyed.
    pub key: String,
    /// Schema file of the value, where there is one.
    pub schema: Option<String>,
    /// Compatibility level of its subject.
    pub compatibility: Option<String>,
    /// Partitions when it is made.
    pub partitions: i32,
    /// Topic settings that the broker must have.
    pub config: BTreeMap<String, String>,
}

impl TopicSpec {
    /// The log of clicks.
    ///
    /// # Panics
    /// The file in this crate is not a description; a test checks that it is.
    pub fn clicks() -> Self {
        parse(RAW)
    }

    /// The dead letters of the log of clicks.
    ///
    /// # Panics
    /// As [`TopicSpec::clicks`].
    pub fn dead_letters() -> Self {
        parse(DEAD_LETTERS)
    }

    /// Every link.
    ///
    /// # Panics
    /// As [`TopicSpec::clicks`].
    pub fn links() -> Self {
        parse(LINKS)
    }
}

#[expect(clippy::expect_used, reason = "the text is part of this crate and held by a test")]
fn parse(text: &str) -> TopicSpec {
    serde_json::from_str(text).expect("a topic description of this crate parses")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bytes_max(spec: &TopicSpec) -> u64 {
        spec.config["max.message.bytes"].parse().unwrap()
    }

    fn retention(spec: &TopicSpec) -> u64 {
        spec.config["retention.ms"].parse().unwrap()
    }

    #[test]
    fn the_descriptions_keep_what_the_design_promises() {
        let (log, dead) = (TopicSpec::clicks(), TopicSpec::dead_letters());
        let name: TopicName = log.name.parse().unwrap();
        assert_eq!(name.dead_letters(), dead.name);
        assert_eq!(log.config["message.timestamp.type"], "LogAppendTime");
        assert_eq!(dead.config["message.timestamp.type"], "CreateTime");
        assert_eq!(bytes_max(&dead), bytes_max(&log) + 64 * 1024);
        assert!(retention(&dead) > retention(&log));
        assert_eq!(log.schema.as_deref(), crate::released::RELEASED.last().map(|(file, _)| *file));
        let links = TopicSpec::links();
        assert_eq!(links.config["cleanup.policy"], "compact");
        assert_eq!(links.schema.as_deref(), Some(crate::link::LINKS_RELEASED[0].0));
    }

    #[test]
    fn a_name_that_kafka_would_confuse_is_refused() {
        for good in ["clicks.raw.v1", "a", "Clicks-2"] {
            assert!(good.parse::<TopicName>().is_ok(), "{good}");
        }
        for bad in ["", "clicks_raw", "a b", ".", "..", "ü", &"x".repeat(241)] {
            assert!(bad.parse::<TopicName>().is_err(), "{bad}");
        }
    }
}
