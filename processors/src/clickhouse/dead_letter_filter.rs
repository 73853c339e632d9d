//! The filter of dead letters that commands share: flags, and their condition on the view `dead_letters`.

use std::str::FromStr;

use clap::Args;
use jiff::Timestamp;
use records::dead_letters::origin::Origin;
use records::dead_letters::state::DeadLetterState;
use schemas::TopicName;

use crate::clickhouse::filter_time::filter_time;
use crate::clickhouse::sql_text::{is_one_of, quoted};

/// Which dead letters. Every flag that is given must match; without a flag all dead letters of the topic
/// do.
#[derive(Debug, Clone, Default, PartialEq, Eq, Args)]
#[command(next_help_heading = "Filters")]
pub struct DeadLetterFilter {
    /// Only these dead letters: topic:partition:offset:log time, or partition:offset.
    #[arg(value_name = "ORIGIN")]
    pub origins: Vec<OriginArgument>,
    /// Only of these groups, by the id that `dlq groups` prints.
    #[arg(long, value_name = "ID", value_delimiter = ',')]
    pub group: Vec<String>,
    /// Only with these error codes.
    #[arg(long, value_delimiter = ',')]
    pub code: Vec<String>,
    /// Only of records that failed in these stages.
    #[arg(long, value_delimiter = ',')]
    pub stage: Vec<String>,
    /// Only in these states.
    #[arg(long, value_enum, value_delimiter = ',')]
    pub state: Vec<DeadLetterState>,
    /// Only if the newest failure is not before this time (RFC 3339), or not older than this (such as 2h).
    #[arg(long, value_name = "TIME", value_parser = filter_time)]
    pub since: Option<Timestamp>,
    /// Only if the newest failure is before this time (RFC 3339), or older than this (such as 2h).
    #[arg(long, value_name = "TIME", value_parser = filter_time)]
    pub until: Option<Timestamp>,
    /// Only of this partition of the source topic.
    #[arg(long)]
    pub partition: Option<u32>,
    /// Only with this offset in the source topic, or within this range, such as 100-199.
    #[arg(long, value_name = "OFFSETS")]
    pub offset: Option<OffsetArgument>,
    /// Only if the error message contains this text.
    #[arg(long)]
    pub text: Option<String>,
}

impl DeadLetterFilter {
    /// The same filter, with these states unless the command line names states or dead letters.
    #[must_use]
    pub fn with_default_states(mut self, states: &[DeadLetterState]) -> Self {
        if self.state.is_empty() && self.origins.is_empty() {
            self.state = states.to_vec();
        }
        self
    }

    /// The condition on the columns of the view `dead_letters`, for dead letters of `topic`. It has no
    /// `?`, so that a query may bind values beside it.
    pub fn sql(&self, topic: &str) -> String {
        let dead_letters = topic.parse::<TopicName>().ok().map(|topic| topic.dead_letters());
        let texts = |column, texts: &[String]| is_one_of(column, texts.iter().map(String::as_str));
        let time = |sign: &str, time: Option<Timestamp>| {
            let ms = time?.as_millisecond();
            Some(format!("last_failed_at {sign} fromUnixTimestamp64Milli(toInt64({ms}), 'UTC')"))
        };
        let origins: Vec<String> = self.origins.iter().map(|origin| origin.sql(topic)).collect();
        let conditions = [
            Some(of_topics(topic, dead_letters.as_deref())),
            (!origins.is_empty()).then(|| format!("({})", origins.join(" OR "))),
            texts("group_id", &self.group),
            texts("code", &self.code),
            texts("stage", &self.stage),
            is_one_of("state", self.state.iter().map(|state| state.name())),
            time(">=", self.since),
            time("<", self.until),
            self.partition.map(|partition| format!("origin_partition = {partition}")),
            self.offset.map(|OffsetArgument { first, last }| holds_offsets(first, last)),
            self.text.as_ref().map(|text| format!("position(message, {}) > 0", quoted(text))),
        ];
        conditions.into_iter().flatten().collect::<Vec<_>>().join(" AND ")
    }
}

/// The condition that a dead letter is one of `topic`, or is in its dead-letter topic: that of another
/// program may name any origin, and one that names none is its own origin.
fn of_topics(topic: &str, dead_letters: Option<&str>) -> String {
    let of = format!("origin_topic = {}", quoted(topic));
    match dead_letters {
        Some(dead_letters) => format!("({of} OR letter_topic = {})", quoted(dead_letters)),
        None => of,
    }
}

/// The condition that a dead letter holds one of these offsets: the stub of a batch has a range of them.
fn holds_offsets(first: u64, last: u64) -> String {
    format!(
        "(origin_offset BETWEEN {first} AND {last} \
         OR stub = 'batch' AND origin_offset <= {last} AND last_offset >= {first})"
    )
}

/// Offsets on the command line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct OffsetArgument {
    first: u64,
    last: u64,
}

impl FromStr for OffsetArgument {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (first, last) = text.split_once('-').unwrap_or((text, text));
        let number = |text: &str| text.trim().parse::<u64>().map_err(|error| error.to_string());
        match (number(first)?, number(last)?) {
            (first, last) if first <= last => Ok(Self { first, last }),
            _ => Err("the first offset is greater than the last".to_owned()),
        }
    }
}

/// An origin on the command line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum OriginArgument {
    /// Exactly this one.
    Exact(Origin),
    /// The newest record of the source topic that had this partition and offset: after the topic was
    /// recreated, another record may have had them before.
    Newest {
        /// Partition.
        partition: u32,
        /// Offset.
        offset: u64,
    },
}

impl OriginArgument {
    /// The condition on columns named as those of the view `dead_letters`.
    pub fn sql(&self, topic: &str) -> String {
        let of = |topic: &str, partition: u32| {
            format!("origin_topic = {} AND origin_partition = {partition}", quoted(topic))
        };
        match self {
            Self::Exact(Origin { topic, partition, offset, logged_at_ms }) => format!(
                "({} AND origin_offset = {offset} AND origin_logged_at = \
                 fromUnixTimestamp64Milli(toInt64({logged_at_ms}), 'UTC'))",
                of(topic, *partition)
            ),
            Self::Newest { partition, offset } => {
                let (of, holds) = (of(topic, *partition), holds_offsets(*offset, *offset));
                let at = format!("{of} AND {holds}");
                format!(
                    "({at} AND origin_logged_at = \
                     (SELECT max(origin_logged_at) FROM dead_letter_versions WHERE {at}))"
                )
            }
        }
    }
}

impl std::fmt::Display for OriginArgument {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Exact(origin) => origin.fmt(f),
            Self::Newest { partition, offset } => write!(f, "{partition}:{offset}"),
        }
    }
}

impl FromStr for OriginArgument {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if let Some((partition, offset)) = text.split_once(':')
            && let (Ok(partition), Ok(offset)) = (partition.parse(), offset.parse())
        {
            return Ok(Self::Newest { partition, offset });
        }
        text.parse().map(Self::Exact).map_err(|_| {
            "not topic:partition:offset:log time, such as clicks.raw.v1:3:41:1764000000000, \
             and not partition:offset"
                .to_owned()
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_filter_without_flags_matches_the_topic_and_default_states_apply_to_it_only() {
        let none = DeadLetterFilter::default();
        let of_topic = "(origin_topic = 't' OR letter_topic = 't.dlq')";
        assert_eq!(none.sql("t"), of_topic);
        let open = none.clone().with_default_states(&[DeadLetterState::Open]);
        assert_eq!(open.sql("t"), format!("{of_topic} AND state IN ('open')"));
        let own = DeadLetterFilter { state: vec![DeadLetterState::Parked], ..none.clone() };
        assert_eq!(own.clone().with_default_states(&[DeadLetterState::Open]), own);
        let named = DeadLetterFilter { origins: vec!["3:41".parse().unwrap()], ..none };
        assert_eq!(named.clone().with_default_states(&[DeadLetterState::Open]), named);
    }

    #[test]
    fn every_flag_is_a_condition_and_every_text_is_escaped() {
        let filter = DeadLetterFilter {
            origins: vec!["t:3:41:1000".parse().unwrap(), "2:7".parse().unwrap()],
            group: vec!["3fa94c1b".to_owned()],
            code: vec!["bad_magic".to_owned(), "x' OR 1 --".to_owned()],
            stage: vec!["VALUE_CONVERTER".to_owned()],
            state: vec![DeadLetterState::Open, DeadLetterState::FailedAgain],
            since: Some(Timestamp::from_millisecond(1500).unwrap()),
            until: Some(Timestamp::from_millisecond(2500).unwrap()),
            partition: Some(3),
            offset: Some("40-49".parse().unwrap()),
            text: Some("a'b\\c ? {d}".to_owned()),
        };
        let sql = filter.sql("o'topic");
        for part in [
            r"origin_topic = 'o\x27topic' AND ((origin_topic = 't' AND origin_partition = 3",
            "origin_offset = 41 AND origin_logged_at = fromUnixTimestamp64Milli(toInt64(1000), 'UTC'))",
            " OR (origin_topic = ",
            "(SELECT max(origin_logged_at) FROM dead_letter_versions WHERE origin_topic",
            " AND group_id IN ('3fa94c1b')",
            r" AND code IN ('bad_magic', 'x\x27 OR 1 --')",
            " AND stage IN ('VALUE_CONVERTER')",
            " AND state IN ('open', 'failed_again')",
            " AND last_failed_at >= fromUnixTimestamp64Milli(toInt64(1500), 'UTC')",
            " AND last_failed_at < fromUnixTimestamp64Milli(toInt64(2500), 'UTC')",
            " AND origin_partition = 3",
            " AND (origin_offset BETWEEN 40 AND 49 \
             OR stub = 'batch' AND origin_offset <= 49 AND last_offset >= 40)",
            r" AND position(message, 'a\x27b\x5Cc \x3F \x7Bd\x7D') > 0",
        ] {
            assert!(sql.contains(part), "{part} is not in {sql}");
        }
        assert!(!sql.contains('?') && !sql.contains('{'), "{sql}");
    }

    #[test]
    fn an_origin_or_a_range_of_offsets_is_read_or_refused() {
        let newest = OriginArgument::Newest { partition: 3, offset: 41 };
        assert_eq!("3:41".parse(), Ok(newest.clone()));
        assert_eq!(newest.to_string(), "3:41");
        let exact: OriginArgument = "t:3:41:1000".parse().unwrap();
        assert_eq!(exact.to_string(), "t:3:41:1000");
        for bad in ["", "3", "3:", ":41", "t:3:41", "3:-1", "-3:1", "3:41:5"] {
            assert!(bad.parse::<OriginArgument>().is_err(), "{bad}");
        }
        assert_eq!("7".parse(), Ok(OffsetArgument { first: 7, last: 7 }));
        for bad in ["", "-", "9-3", "-5", "1-2-3"] {
            assert!(bad.parse::<OffsetArgument>().is_err(), "{bad}");
        }
    }
}
