//! Headers of a dead letter that name its record and its reason. Pure.
//!
//! The record's value, key and headers are copied unchanged, unless they are cut to a stub. The added
//! headers have the names that Kafka Connect uses, if it has one.

use schemas::headers as names;
use schemas::unframe;

use crate::error::RecordError;
use crate::flow::block::Record;
use crate::flow::stub::{CutHeaders, CutParts, Stub};

/// Headers that are added to those of the record.
pub fn headers(
    topic: &str,
    record: Record<'_>,
    error: &RecordError,
    failed_at_ms: i64,
) -> Vec<(&'static str, String)> {
    let mut headers = vec![
        (names::CONNECT_TOPIC, topic.to_owned()),
        (names::CONNECT_PARTITION, record.partition().to_string()),
        (names::CONNECT_OFFSET, record.offset().to_string()),
        (names::CONNECT_STAGE, "VALUE_CONVERTER".to_owned()),
        (names::CONNECT_CLASS, format!("clicktrail.{}", error.code())),
        (names::CONNECT_MESSAGE, within(MESSAGE_BYTES_MAX, error.to_string())),
        (names::DEAD_LETTER_CODE, error.code().to_owned()),
        (names::DEAD_LETTER_LOG_TIME, record.logged_at_ms().to_string()),
        (names::DEAD_LETTER_FIRST_FAILURE, failed_at_ms.to_string()),
        (names::DEAD_LETTER_ATTEMPTS, "1".to_owned()),
        (names::DEAD_LETTER_REDRIVES, "0".to_owned()),
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
