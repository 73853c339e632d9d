//! Headers of a dead letter that name its record and its reason. Pure.
//!
//! The record's value, key and headers are copied unchanged, unless they are cut to a stub. The added
//! headers have the names that Kafka Connect uses, if it has one. They replace headers of these names, so
//! that a record that is sent back and fails again does not gain headers each time.

use schemas::headers as names;
use schemas::unframe;

use crate::dead_letters::origin::{Origin, redriven};
use crate::error::RecordError;
use crate::flow::block::{Header, Record};
use crate::flow::stub::{CutHeaders, CutParts, Stub};

/// The names of all headers that a dead letter adds.
const OWN: [&str; 21] = [
    names::CONNECT_TOPIC,
    names::CONNECT_PARTITION,
    names::CONNECT_OFFSET,
    names::CONNECT_STAGE,
    names::CONNECT_CLASS,
    names::CONNECT_MESSAGE,
    names::DEAD_LETTER_CODE,
    names::DEAD_LETTER_LOG_TIME,
    names::DEAD_LETTER_SCHEMA_ID,
    names::DEAD_LETTER_FIRST_FAILURE,
    names::DEAD_LETTER_ATTEMPTS,
    names::DEAD_LETTER_REDRIVES,
    names::DEAD_LETTER_ORIGIN,
    names::DEAD_LETTER_STUB,
    names::STUB_VALUE_BYTES,
    names::STUB_VALUE_SHA256,
    names::STUB_KEY_BYTES,
    names::STUB_KEY_SHA256,
    names::STUB_HEADERS,
    names::STUB_HEADERS_UNREADABLE,
    names::STUB_LAST_OFFSET,
];

/// Whether a header belongs to a dead letter, not to the record in it.
pub fn is_own(name: &str) -> bool {
    OWN.contains(&name)
}

/// The headers of a record that belong to the record.
pub fn kept(record: Record<'_>) -> impl Iterator<Item = Header<'_>> {
    record.headers().filter(|header| !is_own(header.name))
}

/// Headers that are added to those that [`kept`] returns. Of a redriven record, the origin, the number of
/// the redrive and the time of the first failure are copied.
pub fn headers(
    topic: &str,
    record: Record<'_>,
    error: &RecordError,
    failed_at_ms: i64,
) -> Vec<(&'static str, String)> {
    let redriven = redriven(record);
    let first_failed_at_ms = redriven.as_ref().and_then(|_| first_failure(record, failed_at_ms));
    let (origin, redrive) = redriven.unwrap_or_else(|| (origin(topic, record), 0));
    let mut headers = vec![
        (names::CONNECT_TOPIC, topic.to_owned()),
        (names::CONNECT_PARTITION, record.partition().to_string()),
        (names::CONNECT_OFFSET, record.offset().to_string()),
        (names::CONNECT_STAGE, "VALUE_CONVERTER".to_owned()),
        (names::CONNECT_CLASS, format!("clicktrail.{}", error.code())),
        (names::CONNECT_MESSAGE, within(MESSAGE_BYTES_MAX, error.to_string())),
        (names::DEAD_LETTER_CODE, error.code().to_owned()),
        (names::DEAD_LETTER_LOG_TIME, record.logged_at_ms().to_string()),
        (names::DEAD_LETTER_FIRST_FAILURE, first_failed_at_ms.unwrap_or(failed_at_ms).to_string()),
        (names::DEAD_LETTER_ATTEMPTS, "1".to_owned()),
        (names::DEAD_LETTER_REDRIVES, redrive.to_string()),
        (names::DEAD_LETTER_ORIGIN, origin.to_string()),
    ];
    match record.stub() {
        Some(Stub::Record(parts)) => headers.extend(cut_parts(parts)),
        Some(Stub::Batch { last_offset }) => headers.extend([
            (names::DEAD_LETTER_STUB, "batch".to_owned()),
            (names::STUB_LAST_OFFSET, last_offset.to_string()),
        ]),
        None => {}
    }
    if let Some((id, _)) = record.value().and_then(|value| unframe(value).ok()) {
        headers.push((names::DEAD_LETTER_SCHEMA_ID, id.to_string()));
    }
    headers
}

/// A record that fails for the first time is its own origin.
fn origin(topic: &str, record: Record<'_>) -> Origin {
    Origin {
        topic: topic.to_owned(),
        partition: record.partition().unsigned_abs(),
        offset: record.offset().unsigned_abs(),
        logged_at_ms: record.logged_at_ms(),
    }
}

/// When the origin of a redriven record failed, if the record states a time before `failed_at_ms`.
fn first_failure(record: Record<'_>, failed_at_ms: i64) -> Option<i64> {
    let text = std::str::from_utf8(record.header(names::DEAD_LETTER_FIRST_FAILURE)?).ok()?;
    text.parse().ok().filter(|time| (0..=failed_at_ms).contains(time))
}

/// Bytes of the message of an error, which may quote a record.
const MESSAGE_BYTES_MAX: usize = 1024;

fn within(max: usize, mut text: String) -> String {
    text.truncate(text.floor_char_boundary(max));
    text
}

fn cut_parts(parts: &CutParts) -> Vec<(&'static str, String)> {
    let mut headers = vec![(names::DEAD_LETTER_STUB, "record".to_owned())];
    for (cut, bytes, sha256) in [
        (&parts.value, names::STUB_VALUE_BYTES, names::STUB_VALUE_SHA256),
        (&parts.key, names::STUB_KEY_BYTES, names::STUB_KEY_SHA256),
    ] {
        let Some(cut) = cut else { continue };
        headers.push((bytes, cut.bytes.to_string()));
        headers.push((sha256, cut.sha256_hex()));
    }
    headers.extend(parts.headers.map(|cut| match cut {
        CutHeaders::Count(count) => (names::STUB_HEADERS, count.to_string()),
        CutHeaders::Unreadable => (names::STUB_HEADERS_UNREADABLE, "true".to_owned()),
    }));
    headers
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::flow::block::{Block, RecordMetadata};

    /// Headers as (name, value).
    type Headers = Vec<(String, Option<Vec<u8>>)>;

    fn value_of<'h>(headers: &'h Headers, name: &str) -> Option<&'h str> {
        let value = headers.iter().find(|(own, _)| own == name)?.1.as_deref()?;
        Some(std::str::from_utf8(value).unwrap())
    }

    /// The headers of the dead letter of a record at `offset` with these headers.
    fn letter_of(own: &Headers, offset: i64) -> Headers {
        let metadata =
            RecordMetadata { partition: 3, offset, epoch: 1, logged_at_ms: 1000 * offset };
        let mut block = Block::default();
        let lent = own.iter().map(|(name, value)| Header { name, value: value.as_deref() });
        block.push(metadata, None, Some(b"garbage"), lent);
        let record = block.records().next().unwrap();
        let added = headers("clicks.raw.v1", record, &RecordError::EmptyValue, 1000 * offset + 1);
        assert!(added.iter().all(|(name, _)| is_own(name)), "{added:?}");
        let kept = kept(record).map(|own| (own.name.to_owned(), own.value.map(<[u8]>::to_vec)));
        let added =
            added.into_iter().map(|(name, value)| (name.to_owned(), Some(value.into_bytes())));
        kept.chain(added).collect()
    }

    #[test]
    fn s11_the_headers_of_a_dead_letter_replace_those_of_earlier_redrives() {
        let of_record: Headers = vec![
            (names::TRACEPARENT.to_owned(), Some(b"00-1-2-01".to_vec())),
            ("twice".to_owned(), None),
            (names::DEAD_LETTER_CODE.to_owned(), Some(b"of another program".to_vec())),
            ("twice".to_owned(), Some(vec![0xff])),
            (names::CONNECT_TOPIC.to_owned(), Some(b"elsewhere".to_vec())),
        ];
        // A tool that copies a record to the topic copies all headers, a redrive those of the record.
        for copies_all in [true, false] {
            let mut letter = letter_of(&of_record, 7);
            let first = letter.len();
            assert_eq!(
                value_of(&letter, names::DEAD_LETTER_ORIGIN),
                Some("clicks.raw.v1:3:7:7000")
            );
            assert_eq!(value_of(&letter, names::DEAD_LETTER_REDRIVES), Some("0"));
            for redrive in 1..=2 {
                let copied = [names::DEAD_LETTER_ORIGIN, names::DEAD_LETTER_FIRST_FAILURE];
                let mut sent = letter.clone();
                sent.retain(|(name, _)| {
                    copies_all || !is_own(name) || copied.contains(&name.as_str())
                });
                sent.retain(|(name, _)| name != names::DEAD_LETTER_REDRIVES);
                let number = redrive.to_string();
                sent.push((names::DEAD_LETTER_REDRIVES.to_owned(), Some(number.clone().into())));
                letter = letter_of(&sent, 100 * redrive);
                let value = |name| value_of(&letter, name);
                assert_eq!(letter.len(), first, "{letter:?}");
                assert_eq!(value(names::DEAD_LETTER_ORIGIN), Some("clicks.raw.v1:3:7:7000"));
                assert_eq!(value(names::DEAD_LETTER_REDRIVES), Some(number.as_str()));
                assert_eq!(value(names::DEAD_LETTER_FIRST_FAILURE), Some("7001"));
                assert_eq!(
                    value(names::CONNECT_OFFSET),
                    Some((100 * redrive).to_string().as_str())
                );
                assert_eq!(value(names::DEAD_LETTER_CODE), Some("empty_value"));
                let kept: Vec<_> = letter.iter().filter(|(name, _)| !is_own(name)).collect();
                assert_eq!(kept, [&of_record[0], &of_record[1], &of_record[3]]);
            }
        }
    }

    #[test]
    fn a_time_of_the_first_failure_that_cannot_be_true_is_not_copied() {
        for (stated, expected) in
            [("7000", "7000"), ("9001", "9001"), ("9002", "9001"), ("-1", "9001"), ("x", "9001")]
        {
            let of = |name: &str, value: &str| (name.to_owned(), Some(value.as_bytes().to_vec()));
            let mut record = vec![
                of(names::DEAD_LETTER_ORIGIN, "t:0:7:1000"),
                of(names::DEAD_LETTER_FIRST_FAILURE, stated),
                of(names::DEAD_LETTER_REDRIVES, "1"),
            ];
            let letter = letter_of(&record, 9);
            assert_eq!(value_of(&letter, names::DEAD_LETTER_FIRST_FAILURE), Some(expected));
            // Without the number of a redrive, the record fails for the first time.
            record.pop();
            let letter = letter_of(&record, 9);
            assert_eq!(value_of(&letter, names::DEAD_LETTER_FIRST_FAILURE), Some("9001"));
        }
    }

    #[test]
    fn every_name_of_a_dead_letter_is_its_own_and_those_of_a_record_are_not() {
        let source = include_str!("../../../schemas/src/headers.rs");
        let all: Vec<_> = source
            .split('"')
            .filter(|text| text.starts_with("clicktrail-") || text.starts_with("__connect.errors."))
            .collect();
        assert_eq!(all.len(), OWN.len(), "{all:?}");
        for name in all {
            assert!(is_own(name), "{name}");
        }
        // The last two are in the records of earlier versions of the producer.
        for name in [names::TRACEPARENT, names::TRACESTATE, "content-type", "clicktrail-producer"] {
            assert!(!is_own(name), "{name}");
        }
    }

    #[test]
    fn a_dead_letter_names_its_record_and_its_reason() {
        let mut block = Block::default();
        let metadata = RecordMetadata { partition: 3, offset: 41, epoch: 1, logged_at_ms: 1000 };
        block.push(metadata, None, Some(&[0, 0, 0, 0, 9, 1]), std::iter::empty());
        let record = block.records().next().unwrap();
        let error = RecordError::SchemaUnknown(schemas::SchemaId(9));
        let headers = headers("clicks.raw.v1", record, &error, 2000);
        let value = |name| headers.iter().find(|header| header.0 == name).map(|h| h.1.as_str());
        assert_eq!(value(names::CONNECT_TOPIC), Some("clicks.raw.v1"));
        assert_eq!(value(names::CONNECT_PARTITION), Some("3"));
        assert_eq!(value(names::CONNECT_OFFSET), Some("41"));
        assert_eq!(value(names::DEAD_LETTER_CODE), Some("schema_unknown"));
        assert_eq!(value(names::DEAD_LETTER_LOG_TIME), Some("1000"));
        assert_eq!(value(names::DEAD_LETTER_FIRST_FAILURE), Some("2000"));
        assert_eq!(value(names::DEAD_LETTER_SCHEMA_ID), Some("9"));
    }

    #[test]
    fn h1_a_dead_letter_whose_headers_could_not_be_read_is_marked() {
        let metadata = RecordMetadata { partition: 0, offset: 1, epoch: 1, logged_at_ms: 0 };
        let mut block = Block::default();
        block.push_without_headers(metadata, Some(b"key"), Some(b"value"));
        let record = block.records().next().unwrap();
        assert_eq!((record.key(), record.value()), (Some(&b"key"[..]), Some(&b"value"[..])));
        // Also of a copy, and when the brokers refuse the dead letter.
        let mut copies = Block::default();
        copies.copy(record);
        for block in [&block, &copies, &Block::stub_of(record)] {
            let all = headers("t", block.records().next().unwrap(), &RecordError::EmptyValue, 0);
            let value = |name| all.iter().find(|header| header.0 == name).map(|h| h.1.as_str());
            assert_eq!(value(names::STUB_HEADERS_UNREADABLE), Some("true"));
            assert_eq!(value(names::DEAD_LETTER_STUB), Some("record"));
            assert_eq!(value(names::STUB_HEADERS), None);
        }
    }

    #[test]
    fn h1_a_stub_names_what_was_cut_and_a_message_is_bounded() {
        let metadata = RecordMetadata { partition: 0, offset: 1, epoch: 1, logged_at_ms: 0 };
        let value = vec![0xff; 5 << 20];
        let mut block = Block::default();
        block.push(metadata, None, Some(&value), std::iter::empty());
        let error = RecordError::SchemaUnusable(schemas::SchemaId(1), "ü".repeat(40_000));
        let all = headers("t", block.records().next().unwrap(), &error, 0);
        let value = |name| all.iter().find(|header| header.0 == name).map(|h| h.1.as_str());
        assert_eq!(value(names::DEAD_LETTER_STUB), Some("record"));
        assert_eq!(value(names::STUB_VALUE_BYTES), Some("5242880"));
        assert_eq!(value(names::STUB_VALUE_SHA256).map(str::len), Some(64));
        assert_eq!(value(names::STUB_KEY_BYTES), None);
        assert!(value(names::CONNECT_MESSAGE).unwrap().len() <= MESSAGE_BYTES_MAX);
        assert!(all.iter().map(|(name, value)| name.len() + value.len()).sum::<usize>() < 4096);
    }
}
