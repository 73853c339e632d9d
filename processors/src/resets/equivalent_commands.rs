//! The commands of other tools that do the same as a reset: of Kafka's `kafka-consumer-groups.sh`, and of `rpk`.
//! Both tools reset only a group without members. Pure.

use std::collections::BTreeMap;

use jiff::Timestamp;

use crate::resets::reset_target::ResetTarget;

/// The commands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct EquivalentCommands {
    /// Of Kafka's tool; one for each partition where the operator names positions.
    pub(crate) kafka: Vec<String>,
    /// Of `rpk`.
    pub(crate) rpk: String,
}

/// What a reset names.
#[derive(Debug, Clone, Copy)]
pub(crate) struct ResetNames<'a> {
    /// `KAFKA_BROKERS`.
    pub(crate) brokers: &'a str,
    /// Consumer group.
    pub(crate) group: &'a str,
    /// The log.
    pub(crate) topic: &'a str,
}

impl EquivalentCommands {
    /// The commands of a target, which was resolved to `positions`.
    pub(crate) fn of(
        names: ResetNames<'_>,
        target: &ResetTarget,
        positions: &BTreeMap<i32, i64>,
    ) -> Self {
        let ResetNames { brokers, group, topic } = names;
        let [brokers, group] = [brokers, group].map(quoted);
        let kafka = |of: &str, how: &str| {
            format!(
                "kafka-consumer-groups.sh --bootstrap-server {brokers} --group {group} --topic {of} \
                 --reset-offsets {how} --execute"
            )
        };
        let rpk = |to: &str| {
            format!(
                "rpk group seek {group} -X brokers={brokers} --to {to} --topics {topic} --allow-new-topics"
            )
        };
        // `rpk` neither shifts positions nor names a partition.
        let lines = |(own, at): (&i32, &i64)| format!("{topic} {own} {at}\\n");
        let rpk_positions = || {
            let lines: String = positions.iter().map(lines).collect();
            format!(
                "printf '{lines}' > positions.txt && rpk group seek {group} -X brokers={brokers} \
                 --to-file positions.txt"
            )
        };
        match target {
            ResetTarget::Earliest => {
                Self { kafka: vec![kafka(topic, "--to-earliest")], rpk: rpk("start") }
            }
            ResetTarget::Latest => {
                Self { kafka: vec![kafka(topic, "--to-latest")], rpk: rpk("end") }
            }
            ResetTarget::Time(time_ms) => {
                let how = format!("--to-datetime {}", datetime(*time_ms));
                Self { kafka: vec![kafka(topic, &how)], rpk: rpk(&time_ms.to_string()) }
            }
            ResetTarget::Shift(by) => {
                let how = format!("--shift-by {by}");
                Self { kafka: vec![kafka(topic, &how)], rpk: rpk_positions() }
            }
            ResetTarget::Offsets(named) => {
                let command = |(own, at): (&i32, &i64)| {
                    kafka(&format!("{topic}:{own}"), &format!("--to-offset {at}"))
                };
                Self { kafka: named.iter().map(command).collect(), rpk: rpk_positions() }
            }
        }
    }
}

/// A time as Kafka's tool reads it, which requires three digits of a second.
fn datetime(time_ms: i64) -> String {
    let time = Timestamp::from_millisecond(time_ms);
    time.map_or_else(|_| time_ms.to_string(), |time| format!("{time:.3}"))
}

/// A word of a shell.
fn quoted(text: &str) -> String {
    let is_plain = |letter: char| letter.is_ascii_alphanumeric() || "._-:,/[]".contains(letter);
    if !text.is_empty() && text.chars().all(is_plain) {
        return text.to_owned();
    }
    format!("'{}'", text.replace('\'', r"'\''"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reset_names_the_same_reset_of_other_tools() {
        let names = ResetNames { brokers: "b:9092", group: "g", topic: "t.v1" };
        let kafka = "kafka-consumer-groups.sh --bootstrap-server b:9092 --group g --topic t.v1";
        let seek = "rpk group seek g -X brokers=b:9092";
        let rest = "--topics t.v1 --allow-new-topics";
        let positions = BTreeMap::from([(0, 5), (1, 7)]);
        let file = format!(
            r"printf 't.v1 0 5\nt.v1 1 7\n' > positions.txt && {seek} --to-file positions.txt"
        );
        for (target, how, rpk) in [
            (ResetTarget::Earliest, "--to-earliest", format!("{seek} --to start {rest}")),
            (ResetTarget::Latest, "--to-latest", format!("{seek} --to end {rest}")),
            (
                ResetTarget::Time(1_764_000_060_500),
                "--to-datetime 2025-11-24T16:01:00.500Z",
                format!("{seek} --to 1764000060500 {rest}"),
            ),
            (ResetTarget::Shift(-1000), "--shift-by -1000", file.clone()),
        ] {
            let found = EquivalentCommands::of(names, &target, &positions);
            assert_eq!(found.kafka, [format!("{kafka} --reset-offsets {how} --execute")]);
            assert_eq!(found.rpk, rpk);
        }
        let target = ResetTarget::Offsets(positions.clone());
        let found = EquivalentCommands::of(names, &target, &positions);
        let command = |of: &str| format!("{kafka}:{of} --execute");
        let expected = ["0 --reset-offsets --to-offset 5", "1 --reset-offsets --to-offset 7"];
        assert_eq!((found.kafka, found.rpk), (expected.map(command).to_vec(), file));
    }

    #[test]
    fn a_name_with_other_letters_is_quoted_for_a_shell() {
        assert_eq!(quoted("clicktrail-processors"), "clicktrail-processors");
        assert_eq!(quoted("[::1]:9092,b:9092"), "[::1]:9092,b:9092");
        assert_eq!(quoted("my 'group'; rm"), r"'my '\''group'\''; rm'");
    }
}
