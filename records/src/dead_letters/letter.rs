//! A dead letter, read from a record of the dead-letter topic. Pure.
//!
//! Any record is a dead letter, also one that another program wrote or whose headers are missing or wrong:
//! what its headers do not state has a default, and nothing is refused.

use std::str::FromStr;

use schemas::headers as names;
use schemas::{SchemaId, unframe};

use crate::dead_letters::headers::is_own;
use crate::dead_letters::message_pattern;
use crate::dead_letters::origin::Origin;
use crate::flow::block::Header;
use crate::flow::topic_record::TopicRecord;

/// The code of a dead letter that states none.
pub const CODE_UNKNOWN: &str = "unknown";
/// Bytes of a code and of a stage, which are labels.
const LABEL_BYTES_MAX: usize = 64;
/// Bytes of a message that are kept.
const MESSAGE_BYTES_MAX: usize = 1024;
/// The greatest number of a redrive. A greater one is wrong: nothing could be numbered after the greatest
/// number that a header can state.
const REDRIVE_MAX: u32 = 1_000_000;
/// The longest name of a topic.
const TOPIC_BYTES_MAX: usize = 249;
/// The latest time that a table can hold, 2299-12-31 (milliseconds).
const LATEST_MS: i64 = 10_413_705_600_000;

/// Where a record is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TopicOffset {
    /// Topic.
    pub topic: String,
    /// Partition.
    pub partition: u32,
    /// Offset.
    pub offset: u64,
}

/// The parts of the record that a dead letter leaves out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LetterStub {
    /// Value, key or headers of a record.
    Record,
    /// All records of a batch that the library cannot read.
    Batch,
}

impl LetterStub {
    /// Its name in the table.
    pub fn name(self) -> &'static str {
        match self {
            Self::Record => "record",
            Self::Batch => "batch",
        }
    }
}

/// A dead letter.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Letter<'a> {
    /// The record that failed first.
    pub origin: Origin,
    /// 0: the origin itself failed; n: its n-th redriven copy.
    pub redrive: u32,
    /// When this record failed, milliseconds since 1970.
    pub failed_at_ms: i64,
    /// When the origin failed.
    pub first_failed_at_ms: i64,
    /// Error code.
    pub code: String,
    /// Stage that failed; empty if it is not stated.
    pub stage: String,
    /// Error message; empty if it is not stated.
    pub message: String,
    /// Schema id of the record.
    pub schema_id: Option<SchemaId>,
    /// What is left out.
    pub stub: Option<LetterStub>,
    /// Of a batch that cannot be read, its last offset; else the offset of the record.
    pub last_offset: u64,
    /// The record that failed this time.
    pub failed: TopicOffset,
    /// The dead letter itself.
    pub letter: TopicOffset,
    /// Bytes of the value of the record, also if it is left out.
    pub value_bytes: u64,
    /// Key of the record.
    pub key: Option<&'a [u8]>,
    /// Value of the record.
    pub value: Option<&'a [u8]>,
    /// Headers of the record, in order, without those of the dead letter.
    pub headers: Vec<Header<'a>>,
}

impl<'a> Letter<'a> {
    /// The dead letter that a record of the dead-letter topic holds.
    pub fn parse(record: TopicRecord<'a>) -> Self {
        let TopicRecord { topic, partition, offset, logged_at_ms, key, value, headers } = record;
        let stated = Stated(&headers);
        let logged_at_ms = logged_at_ms.clamp(0, LATEST_MS);
        let letter = TopicOffset {
            topic: topic.to_owned(),
            partition: partition.unsigned_abs(),
            offset: offset.unsigned_abs(),
        };
        let named = stated.failed();
        // A copy that failed in another topic, to which a redrive sent it for a test, is a record of that
        // topic.
        let is_here = |(origin, _): &(Origin, u32)| {
            named.as_ref().is_none_or(|named| origin.topic == named.topic || origin.topic == topic)
        };
        let stated_origin = stated.origin().filter(is_here);
        let failed = named.unwrap_or_else(|| letter.clone());
        let (origin, redrive) = stated_origin.unwrap_or_else(|| {
            let time = stated.parsed::<i64>(names::DEAD_LETTER_LOG_TIME).filter(is_time);
            let TopicOffset { topic, partition, offset } = failed.clone();
            (Origin { topic, partition, offset, logged_at_ms: time.unwrap_or(logged_at_ms) }, 0)
        });
        let first = stated.parsed::<i64>(names::DEAD_LETTER_FIRST_FAILURE).filter(is_time);
        let first_failed_at_ms = first.map_or(logged_at_ms, |time| time.min(logged_at_ms));
        let stub = match stated.text(names::DEAD_LETTER_STUB) {
            Some("record") => Some(LetterStub::Record),
            Some("batch") => Some(LetterStub::Batch),
            Some(_) | None => None,
        };
        let last_offset = stated.parsed::<u64>(names::STUB_LAST_OFFSET).filter(is_offset);
        let of_value = value.and_then(|value| unframe(value).ok()).map(|(id, _)| id);
        let of_header = || stated.parsed(names::DEAD_LETTER_SCHEMA_ID).map(SchemaId);
        let bytes_left_out = stub.and_then(|_| stated.parsed(names::STUB_VALUE_BYTES));
        Self {
            redrive,
            // A copy of the first failure's time says nothing about a redriven record.
            failed_at_ms: if redrive == 0 { first_failed_at_ms } else { logged_at_ms },
            first_failed_at_ms,
            code: stated.label(names::DEAD_LETTER_CODE).unwrap_or(CODE_UNKNOWN).to_owned(),
            stage: stated.stage(),
            message: stated.message(),
            schema_id: of_value.or_else(of_header),
            stub,
            last_offset: last_offset.filter(|last| *last >= failed.offset).unwrap_or(failed.offset),
            failed,
            origin,
            letter,
            value_bytes: value.map_or(bytes_left_out.unwrap_or(0), |value| value.len() as u64),
            key,
            value,
            headers: headers.into_iter().filter(|header| !is_own(header.name)).collect(),
        }
    }

    /// The message without what differs from record to record.
    pub fn pattern(&self) -> String {
        message_pattern::pattern(&self.message)
    }
}

/// Whether a table can hold a time, milliseconds since 1970. Of a batch that cannot be read it is 0.
fn is_time(time_ms: &i64) -> bool {
    (0..=LATEST_MS).contains(time_ms)
}

/// Whether a number can be an offset of Kafka.
fn is_offset(offset: &u64) -> bool {
    i64::try_from(*offset).is_ok()
}

/// Whether a name can be one of a topic of Kafka.
fn is_topic(name: &str) -> bool {
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"._-".contains(&byte);
    (1..=TOPIC_BYTES_MAX).contains(&name.len()) && name.bytes().all(is_plain)
}

/// What the headers of a record state. Of several headers with one name the last one counts, because a
/// program that copies a record appends its own headers.
struct Stated<'h, 'a>(&'h [Header<'a>]);

impl<'a> Stated<'_, 'a> {
    fn bytes(&self, name: &str) -> Option<&'a [u8]> {
        self.0.iter().rev().find(|header| header.name == name)?.value
    }

    fn text(&self, name: &str) -> Option<&'a str> {
        std::str::from_utf8(self.bytes(name)?).ok()
    }

    fn parsed<T: FromStr>(&self, name: &str) -> Option<T> {
        self.text(name)?.parse().ok()
    }

    /// A code, of few letters.
    fn label(&self, name: &str) -> Option<&'a str> {
        let is_plain =
            |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_';
        self.text(name).filter(|text| {
            (1..=LABEL_BYTES_MAX).contains(&text.len()) && text.bytes().all(is_plain)
        })
    }

    fn stage(&self) -> String {
        let stage = self.text(names::CONNECT_STAGE).unwrap_or_default();
        stage[..stage.floor_char_boundary(LABEL_BYTES_MAX)].to_owned()
    }

    fn message(&self) -> String {
        let bytes = self.bytes(names::CONNECT_MESSAGE).unwrap_or_default();
        // One letter more, so that a cut letter is not replaced.
        let text = String::from_utf8_lossy(&bytes[..bytes.len().min(MESSAGE_BYTES_MAX + 4)]);
        text[..text.floor_char_boundary(MESSAGE_BYTES_MAX)].to_owned()
    }

    /// The record that failed, under the names that Kafka Connect uses.
    fn failed(&self) -> Option<TopicOffset> {
        Some(TopicOffset {
            topic: self.text(names::CONNECT_TOPIC).filter(|name| is_topic(name))?.to_owned(),
            partition: self.parsed::<i32>(names::CONNECT_PARTITION)?.try_into().ok()?,
            offset: self.parsed(names::CONNECT_OFFSET).filter(is_offset)?,
        })
    }

    fn origin(&self) -> Option<(Origin, u32)> {
        let origin: Origin = self.parsed(names::DEAD_LETTER_ORIGIN)?;
        let redrive = match self.bytes(names::DEAD_LETTER_REDRIVES) {
            Some(_) => self.parsed(names::DEAD_LETTER_REDRIVES).filter(|n| *n <= REDRIVE_MAX)?,
            None => 0,
        };
        let is_valid = is_topic(&origin.topic)
            && i32::try_from(origin.partition).is_ok()
            && is_offset(&origin.offset)
            && is_time(&origin.logged_at_ms);
        is_valid.then_some((origin, redrive))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::dead_letters::headers::{headers, kept};
    use crate::error::RecordError;
    use crate::flow::block::{Block, Record, RecordMetadata};

    fn parse<'a>(headers: &[(&'a str, &'a [u8])], value: Option<&'a [u8]>) -> Letter<'a> {
        let headers = headers.iter().map(|&(name, value)| Header { name, value: Some(value) });
        Letter::parse(TopicRecord {
            topic: "t.dlq",
            partition: 2,
            offset: 9,
            logged_at_ms: 5000,
            key: None,
            value,
            headers: headers.collect(),
        })
    }

    fn own_location() -> TopicOffset {
        TopicOffset { topic: "t.dlq".to_owned(), partition: 2, offset: 9 }
    }

    /// Calls `check` with the dead letter that this version writes of a record.
    fn of_record(record: Record<'_>, check: impl FnOnce(Letter<'_>)) {
        let added = headers("t", record, &RecordError::SchemaUnknown(SchemaId(7)), 4000);
        let added =
            added.iter().map(|(name, value)| Header { name, value: Some(value.as_bytes()) });
        check(Letter::parse(TopicRecord {
            topic: "t.dlq",
            partition: 2,
            offset: 9,
            logged_at_ms: 5000,
            key: record.key(),
            value: record.value(),
            headers: kept(record).chain(added).collect(),
        }));
    }

    #[test]
    fn a_dead_letter_is_read_as_it_was_written() {
        let metadata = RecordMetadata { partition: 3, offset: 41, epoch: 1, logged_at_ms: 1000 };
        let own = Header { name: names::TRACEPARENT, value: Some(&[0xff]) };
        let mut block = Block::default();
        block.push(metadata, Some(b"k"), Some(&[0, 0, 0, 0, 7, 1]), [own].into_iter());
        of_record(block.records().next().unwrap(), |letter| {
            assert_eq!(letter.origin.to_string(), "t:3:41:1000");
            assert_eq!((letter.redrive, letter.failed_at_ms), (0, 4000));
            assert_eq!(
                (letter.code.as_str(), letter.stage.as_str()),
                ("schema_unknown", "VALUE_CONVERTER")
            );
            assert_eq!(letter.message, "the registry has no schema with id 7");
            assert_eq!(letter.pattern(), "the registry has no schema with id #");
            assert_eq!((letter.schema_id, letter.stub), (Some(SchemaId(7)), None));
            assert_eq!((letter.last_offset, letter.value_bytes), (41, 6));
            let failed = TopicOffset { topic: "t".to_owned(), partition: 3, offset: 41 };
            assert_eq!((letter.failed, letter.letter), (failed, own_location()));
            assert_eq!((letter.key, letter.headers), (Some(&b"k"[..]), vec![own]));
        });
    }

    #[test]
    fn a_stub_states_what_was_left_out() {
        let metadata = RecordMetadata { partition: 0, offset: 1, epoch: 1, logged_at_ms: 1000 };
        let mut block = Block::default();
        block.push(metadata, None, Some(&vec![0; 5 << 20]), std::iter::empty());
        block.push_unreadable(RecordMetadata { offset: 2, logged_at_ms: 0, ..metadata }, 2, 8);
        let mut records = block.records();
        of_record(records.next().unwrap(), |letter| {
            assert_eq!((letter.stub, letter.last_offset), (Some(LetterStub::Record), 1));
            assert_eq!((letter.value, letter.value_bytes), (None, 5 << 20));
        });
        of_record(records.next().unwrap(), |letter| {
            assert_eq!((letter.stub, letter.last_offset), (Some(LetterStub::Batch), 8));
            assert_eq!(letter.origin.to_string(), "t:0:2:0");
        });
    }

    #[test]
    fn a_copy_that_failed_in_another_topic_is_a_record_of_that_topic() {
        for (topic, origin) in [("t", "t:3:41:1000"), ("lane", "lane:0:77:5000")] {
            let letter = parse(
                &[
                    (names::DEAD_LETTER_ORIGIN, b"t:3:41:1000"),
                    (names::DEAD_LETTER_REDRIVES, b"2"),
                    (names::CONNECT_TOPIC, topic.as_bytes()),
                    (names::CONNECT_PARTITION, b"0"),
                    (names::CONNECT_OFFSET, b"77"),
                ],
                None,
            );
            assert_eq!(letter.origin.to_string(), origin);
        }
    }

    #[test]
    fn the_failure_of_a_redriven_record_has_the_time_of_its_dead_letter() {
        let letter = parse(
            &[
                (names::DEAD_LETTER_ORIGIN, b"t:3:41:1000"),
                (names::DEAD_LETTER_REDRIVES, b"2"),
                (names::DEAD_LETTER_FIRST_FAILURE, b"4000"),
                (names::CONNECT_TOPIC, b"t"),
                (names::CONNECT_PARTITION, b"0"),
                (names::CONNECT_OFFSET, b"77"),
            ],
            None,
        );
        assert_eq!(
            (letter.redrive, letter.failed_at_ms, letter.first_failed_at_ms),
            (2, 5000, 4000)
        );
        assert_eq!((letter.origin.offset, letter.failed.offset), (41, 77));
    }

    #[test]
    fn a_dead_letter_of_kafka_connect_is_accepted_as_far_as_its_headers_go() {
        let message = [b"Unknown magic byte! ".as_slice(), &vec![b'x'; 5000]].concat();
        let letter = parse(
            &[
                (names::CONNECT_TOPIC, b"orders_v1"),
                (names::CONNECT_PARTITION, b"0"),
                (names::CONNECT_OFFSET, b"12"),
                ("__connect.errors.connector.name", b"sink"),
                (names::CONNECT_STAGE, b"HEADER_CONVERTER"),
                (names::CONNECT_MESSAGE, &message),
            ],
            Some(b"v"),
        );
        assert_eq!(letter.origin.to_string(), "orders_v1:0:12:5000");
        assert_eq!((letter.code.as_str(), letter.failed_at_ms), (CODE_UNKNOWN, 5000));
        assert_eq!((letter.stage.as_str(), letter.message.len()), ("HEADER_CONVERTER", 1024));
        assert_eq!(letter.headers.len(), 1, "{:?}", letter.headers);
    }

    #[test]
    fn a_dead_letter_without_its_headers_is_its_own_origin() {
        let bad: &[&[(&str, &[u8])]] = &[
            &[],
            &[(names::DEAD_LETTER_ORIGIN, b"t:3:41"), (names::DEAD_LETTER_REDRIVES, b"4")],
            &[(names::DEAD_LETTER_ORIGIN, b"t t:3:41:1000")],
            &[(names::DEAD_LETTER_ORIGIN, b"t:3:41:1000"), (names::DEAD_LETTER_REDRIVES, b"-1")],
            &[
                (names::DEAD_LETTER_ORIGIN, b"t:3:41:1000"),
                (names::DEAD_LETTER_REDRIVES, b"4294967295"),
            ],
            &[(names::DEAD_LETTER_ORIGIN, b"t:4294967295:41:1000")],
            &[(names::DEAD_LETTER_ORIGIN, b"t:3:18446744073709551615:1000")],
            &[(names::DEAD_LETTER_ORIGIN, b"t:3:41:-1")],
            &[(names::DEAD_LETTER_ORIGIN, b"t:3:41:99999999999999")],
            &[(names::DEAD_LETTER_ORIGIN, b"t:3:41:1000"), (names::DEAD_LETTER_ORIGIN, b"\xff")],
            &[(names::CONNECT_TOPIC, b"t"), (names::CONNECT_PARTITION, b"0")],
            &[
                (names::CONNECT_TOPIC, b"t"),
                (names::CONNECT_PARTITION, b"-1"),
                (names::CONNECT_OFFSET, b"1"),
            ],
            &[(names::DEAD_LETTER_CODE, b"Not A Code"), (names::DEAD_LETTER_SCHEMA_ID, b"-1")],
            &[(names::DEAD_LETTER_CODE, &[b'a'; 65]), (names::STUB_LAST_OFFSET, b"3")],
            &[(names::DEAD_LETTER_STUB, b"other"), (names::STUB_VALUE_BYTES, b"7")],
            &[(names::DEAD_LETTER_FIRST_FAILURE, b"-5")],
            &[(names::DEAD_LETTER_FIRST_FAILURE, b"6000")],
        ];
        for headers in bad {
            let letter = parse(headers, Some(b"value"));
            assert_eq!(letter.origin.to_string(), "t.dlq:2:9:5000", "{headers:?}");
            assert_eq!((letter.redrive, letter.failed_at_ms), (0, 5000), "{headers:?}");
            assert_eq!((letter.code.as_str(), letter.schema_id), (CODE_UNKNOWN, None));
            assert_eq!((&letter.failed, letter.last_offset), (&own_location(), 9), "{headers:?}");
            assert_eq!((letter.stub, letter.value_bytes), (None, 5), "{headers:?}");
        }
    }

    proptest! {
        #[test]
        fn any_record_of_the_topic_is_a_dead_letter_within_the_bounds_of_the_table(
            found in proptest::collection::vec(
                (
                    proptest::sample::select(vec![
                        names::CONNECT_TOPIC,
                        names::CONNECT_PARTITION,
                        names::CONNECT_OFFSET,
                        names::CONNECT_STAGE,
                        names::CONNECT_MESSAGE,
                        names::DEAD_LETTER_CODE,
                        names::DEAD_LETTER_LOG_TIME,
                        names::DEAD_LETTER_SCHEMA_ID,
                        names::DEAD_LETTER_FIRST_FAILURE,
                        names::DEAD_LETTER_REDRIVES,
                        names::DEAD_LETTER_ORIGIN,
                        names::DEAD_LETTER_STUB,
                        names::STUB_VALUE_BYTES,
                        names::STUB_LAST_OFFSET,
                        "own",
                    ]),
                    proptest::option::of(prop_oneof![
                        proptest::collection::vec(any::<u8>(), 0..20),
                        "[ü]{600}|-?[0-9]{1,20}|(t:)?[0-9]{0,3}:[0-9]{1,3}:-?[0-9]{1,19}|batch|record"
                            .prop_map(String::into_bytes),
                    ]),
                ),
                0..20,
            ),
            place in any::<(i32, i64, i64)>(),
            value in proptest::option::of(proptest::collection::vec(any::<u8>(), 0..10)),
        ) {
            let headers = found.iter().map(|(name, value)| Header { name, value: value.as_deref() });
            let (partition, offset, logged_at_ms) = place;
            let (topic, key, value) = ("t.dlq", None, value.as_deref());
            let headers = headers.collect();
            let record = TopicRecord { topic, partition, offset, logged_at_ms, key, value, headers };
            let letter = Letter::parse(record.clone());
            prop_assert_eq!(&letter, &Letter::parse(record));
            prop_assert!(is_topic(&letter.origin.topic) && is_time(&letter.origin.logged_at_ms));
            prop_assert!(is_time(&letter.failed_at_ms) && is_time(&letter.first_failed_at_ms));
            prop_assert!(letter.message.len() <= MESSAGE_BYTES_MAX);
            prop_assert!(letter.code.len() <= LABEL_BYTES_MAX && letter.stage.len() <= LABEL_BYTES_MAX);
            prop_assert!(letter.last_offset >= letter.failed.offset);
            prop_assert_eq!(letter.headers.len(), found.iter().filter(|(name, _)| *name == "own").count());
        }
    }
}
