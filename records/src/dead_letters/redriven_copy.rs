//! The bytes of a record, and the redriven copy that is made from them. Pure.

use schemas::headers as names;

use crate::dead_letters::headers::is_own;
use crate::dead_letters::origin::Origin;

/// A header: its name, and its bytes; `None` is Kafka's null.
pub type OwnedHeader = (String, Option<Vec<u8>>);

/// Key, value and headers of a record.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct RecordBytes {
    /// Its key.
    pub key: Option<Vec<u8>>,
    /// Its value; `None` is a tombstone.
    pub value: Option<Vec<u8>>,
    /// Its headers, in order.
    pub headers: Vec<OwnedHeader>,
}

/// What a redriven copy states about itself.
#[derive(Debug, Clone, Copy)]
pub struct CopyFacts<'a> {
    /// The record that failed first.
    pub origin: &'a Origin,
    /// Number of the copy.
    pub number: u32,
    /// When the origin failed, milliseconds since 1970.
    pub first_failed_at_ms: i64,
}

impl RecordBytes {
    /// The copy: key, value and the record's own headers are unchanged; those of a dead letter and of
    /// earlier copies are removed, and those of a redriven copy are added.
    #[must_use]
    pub fn into_copy(mut self, facts: CopyFacts<'_>) -> Self {
        self.headers.retain(|(name, _)| !is_own(name));
        let CopyFacts { origin, number, first_failed_at_ms } = facts;
        let added = [
            (names::DEAD_LETTER_ORIGIN, origin.to_string()),
            (names::DEAD_LETTER_REDRIVES, number.to_string()),
            (names::DEAD_LETTER_FIRST_FAILURE, first_failed_at_ms.to_string()),
        ];
        let added = added.map(|(name, text)| (name.to_owned(), Some(text.into_bytes())));
        self.headers.extend(added);
        self
    }

    /// Whether it is a dead letter of `origin`: the dead-letter topic may have been recreated.
    pub fn is_dead_letter_of(&self, origin: &Origin) -> bool {
        if let Some(text) = self.text(names::DEAD_LETTER_ORIGIN) {
            return text.parse().as_ref() == Ok(origin);
        }
        let number = |name| self.text(name).and_then(|text| text.parse::<i64>().ok());
        self.text(names::CONNECT_TOPIC) == Some(&origin.topic)
            && number(names::CONNECT_PARTITION) == Some(i64::from(origin.partition))
            && number(names::CONNECT_OFFSET) == i64::try_from(origin.offset).ok()
            && number(names::DEAD_LETTER_LOG_TIME) == Some(origin.logged_at_ms)
    }

    /// The last header of this name, because the writer of a dead letter adds its headers at the end.
    fn text(&self, name: &str) -> Option<&str> {
        let (_, value) = self.headers.iter().rev().find(|(own, _)| own == name)?;
        std::str::from_utf8(value.as_deref()?).ok()
    }

    /// Bytes of key, value and headers.
    pub fn bytes(&self) -> usize {
        let length = |bytes: &Option<Vec<u8>>| bytes.as_ref().map_or(0, Vec::len);
        let headers = self.headers.iter().map(|(name, value)| name.len() + length(value));
        length(&self.key) + length(&self.value) + headers.sum::<usize>()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn header(name: &str, value: &str) -> OwnedHeader {
        (name.to_owned(), Some(value.as_bytes().to_vec()))
    }

    #[test]
    fn a_copy_keeps_the_record_and_replaces_the_headers_of_its_dead_letter() {
        let origin: Origin = "t:3:41:1000".parse().unwrap();
        let own = [
            header(names::TRACEPARENT, "00-1-2-01"),
            ("null".to_owned(), None),
            header("twice", "1"),
            header("twice", "2"),
        ];
        let of_letter = [
            header(names::DEAD_LETTER_CODE, "bad_magic"),
            header(names::CONNECT_OFFSET, "41"),
            header(names::DEAD_LETTER_ORIGIN, "t:3:41:1000"),
            header(names::DEAD_LETTER_REDRIVES, "1"),
        ];
        let record = RecordBytes {
            key: Some(vec![]),
            value: Some(vec![0xff]),
            headers: own.iter().chain(&of_letter).cloned().collect(),
        };
        let facts = CopyFacts { origin: &origin, number: 2, first_failed_at_ms: 2000 };
        let copy = record.clone().into_copy(facts);
        assert_eq!((&copy.key, &copy.value), (&record.key, &record.value));
        let added = [
            header(names::DEAD_LETTER_ORIGIN, "t:3:41:1000"),
            header(names::DEAD_LETTER_REDRIVES, "2"),
            header(names::DEAD_LETTER_FIRST_FAILURE, "2000"),
        ];
        assert_eq!(copy.headers, [&own[..], &added].concat());
        // Also of a copy of a copy.
        let again = copy.clone().into_copy(facts);
        assert_eq!(again, copy);
        assert!(copy.bytes() > 60, "{}", copy.bytes());
    }

    #[test]
    fn a_dead_letter_of_another_origin_is_not_taken_for_one_of_this() {
        let origin: Origin = "t:3:41:1000".parse().unwrap();
        let of = |headers: &[OwnedHeader]| RecordBytes {
            headers: headers.to_vec(),
            ..RecordBytes::default()
        };
        let named = |text| of(&[header(names::DEAD_LETTER_ORIGIN, text)]);
        assert!(named("t:3:41:1000").is_dead_letter_of(&origin));
        for other in ["t:3:41:1001", "t:3:42:1000", "u:3:41:1000", "x"] {
            assert!(!named(other).is_dead_letter_of(&origin), "{other}");
        }
        // Of an earlier version, which wrote no origin.
        let by_location = |offset| {
            of(&[
                header(names::CONNECT_OFFSET, "7"),
                header(names::CONNECT_TOPIC, "t"),
                header(names::CONNECT_PARTITION, "3"),
                header(names::CONNECT_OFFSET, offset),
                header(names::DEAD_LETTER_LOG_TIME, "1000"),
            ])
        };
        assert!(by_location("41").is_dead_letter_of(&origin));
        assert!(!by_location("42").is_dead_letter_of(&origin));
        assert!(!of(&[]).is_dead_letter_of(&origin));
    }
}
