//! The records of a body: where each of them is, and its click.
//!
//! Pure. The records are found first, as slices of the body, and then parsed one by one straight to
//! their type. What that type does not hold is skipped or refused where it begins and never stored,
//! so the memory does not depend on what a body holds.

use hyper::header::{CONTENT_TYPE, HeaderMap};
use schemas::JsonClick;
use serde::de::IgnoredAny;

use crate::collector::collector_limits::RECORD_BYTES_MAX;
use crate::collector::record_fault::RecordFault;
use crate::collector::refusal::Refusal;

const NOT_AN_OBJECT: &str = "not an object";

/// How a body holds its records.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum BodyFormat {
    /// One object, or an array of objects.
    Json,
    /// An object a line.
    JsonLines,
}

impl BodyFormat {
    /// The format that the headers name.
    ///
    /// # Errors
    /// [`Refusal::ContentType`].
    pub(super) fn of(headers: &HeaderMap) -> Result<Self, Refusal> {
        let content_type = headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok());
        let media_type =
            content_type.and_then(|text| text.split(';').next()).unwrap_or_default().trim();
        match media_type.to_ascii_lowercase().as_str() {
            "application/json" => Ok(Self::Json),
            "application/x-ndjson" | "application/ndjson" | "application/jsonl" => {
                Ok(Self::JsonLines)
            }
            _ => Err(Refusal::ContentType),
        }
    }

    /// The records of a body, not parsed yet. Reads no further than to the first record beyond
    /// `records_max`.
    ///
    /// # Errors
    /// [`Refusal::BodyMalformed`], [`Refusal::TooManyRecords`].
    pub(super) fn records(self, body: &[u8], records_max: usize) -> Result<Vec<&[u8]>, Refusal> {
        let body = body.trim_ascii();
        match (self, body.strip_prefix(b"[")) {
            (Self::Json, Some(elements)) => array(elements, records_max),
            (Self::Json, None) => Ok(vec![body]),
            (Self::JsonLines, _) => lines(body, records_max),
        }
    }
}

/// The click of one record.
///
/// # Errors
/// [`RecordFault::RecordTooLarge`], [`RecordFault::Malformed`].
pub(super) fn parse(record: &[u8]) -> Result<JsonClick, RecordFault> {
    if record.len() > RECORD_BYTES_MAX {
        return Err(RecordFault::RecordTooLarge(record.len()));
    }
    // An array would be read as the fields in their order.
    if !record.starts_with(b"{") {
        return Err(RecordFault::Malformed(NOT_AN_OBJECT.to_owned()));
    }
    serde_json::from_slice(record).map_err(|error| RecordFault::Malformed(error.to_string()))
}

fn lines(body: &[u8], records_max: usize) -> Result<Vec<&[u8]>, Refusal> {
    let lines = body.split(|byte| *byte == b'\n').map(<[u8]>::trim_ascii);
    let lines = lines.filter(|line| !line.is_empty());
    let lines: Vec<_> = lines.take(records_max.saturating_add(1)).collect();
    if lines.len() > records_max { Err(Refusal::TooManyRecords) } else { Ok(lines) }
}

/// The elements of an array behind its opening bracket.
fn array(body: &[u8], records_max: usize) -> Result<Vec<&[u8]>, Refusal> {
    let (mut elements, mut rest) = (Vec::new(), skip_space(body));
    if rest == b"]" {
        return Ok(elements);
    }
    loop {
        // It parses without recursion, whatever the depth, and stores no value.
        let mut values = serde_json::Deserializer::from_slice(rest).into_iter::<IgnoredAny>();
        let Some(Ok(IgnoredAny)) = values.next() else { return Err(Refusal::BodyMalformed) };
        let (element, after) = rest.split_at(values.byte_offset());
        if elements.len() == records_max {
            return Err(Refusal::TooManyRecords);
        }
        elements.push(element);
        rest = match skip_space(after).split_first() {
            Some((b',', next)) => skip_space(next),
            Some((b']', [])) => return Ok(elements),
            Some(_) | None => return Err(Refusal::BodyMalformed),
        };
    }
}

/// What follows the white space of JSON.
fn skip_space(text: &[u8]) -> &[u8] {
    let space = text.iter().take_while(|byte| matches!(byte, b' ' | b'\n' | b'\t' | b'\r')).count();
    &text[space..]
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn texts(body: &str, records_max: usize) -> Result<Vec<String>, Refusal> {
        let records = BodyFormat::Json.records(body.as_bytes(), records_max)?;
        Ok(records.iter().map(|record| String::from_utf8_lossy(record).into_owned()).collect())
    }

    #[test]
    fn h8_an_array_is_split_at_its_own_commas_only() {
        let body =
            r#" [ {"a":"],[\"\\","b":[1,{"c":[]}]} ,0,-1.5e3, "x,]" ,null,true,[[[]]],{} ] "#;
        let expected = [
            r#"{"a":"],[\"\\","b":[1,{"c":[]}]}"#,
            "0",
            "-1.5e3",
            r#""x,]""#,
            "null",
            "true",
            "[[[]]]",
            "{}",
        ];
        assert_eq!(texts(body, 9).unwrap(), expected);
        assert_eq!(texts("[]", 0).unwrap().len() + texts(" [ \n] ", 0).unwrap().len(), 0);
    }

    #[test]
    fn h8_what_is_no_array_to_its_end_is_refused_whole() {
        for body in [
            "[",
            "[1",
            "[1,",
            "[1,]",
            "[,1]",
            "[1 2]",
            "[1]]",
            "[1]x",
            "[1],",
            "[{]}",
            "[{\"a\":1]",
            "[\"x]",
            "[tru]",
            "[truex]",
            "[01]",
            "[1.]",
            "[\x0b1]",
            "[{}{}]",
            "[\"\\q\"]",
            "[1;2]",
        ] {
            assert_eq!(texts(body, 9), Err(Refusal::BodyMalformed), "{body:?}");
        }
    }

    #[test]
    fn h8_an_array_is_read_no_further_than_to_the_first_record_too_many() {
        // What follows is no JSON, and is not read.
        assert_eq!(texts("[0,0,0,}", 2), Err(Refusal::TooManyRecords));
        assert_eq!(texts("[0,0,}", 2), Err(Refusal::BodyMalformed));
        assert_eq!(texts("[0,0]", 2).map(|it| it.len()), Ok(2));
        let lines = "0\n".repeat(3);
        let all = BodyFormat::JsonLines.records(lines.as_bytes(), 2);
        assert_eq!(all, Err(Refusal::TooManyRecords));
    }

    #[test]
    fn h8_a_record_has_a_bound_of_bytes_and_of_depth() {
        let of = |bytes: usize| format!(r#"{{"slug":"{}"}}"#, "a".repeat(bytes - 11));
        assert!(parse(of(RECORD_BYTES_MAX).as_bytes()).is_ok());
        let error = parse(of(RECORD_BYTES_MAX + 1).as_bytes()).unwrap_err();
        assert_eq!(error, RecordFault::RecordTooLarge(RECORD_BYTES_MAX + 1));
        for deep in ["[", r#"{"a":"#] {
            let deep = deep.repeat(10_000);
            for text in [format!(r#"{{"slug":{deep}"#), format!(r#"{{"occurred_at":{deep}"#)] {
                assert_eq!(parse(text.as_bytes()).unwrap_err().code(), "record_malformed");
            }
            assert_eq!(texts(&format!("[{deep}"), 9), Err(Refusal::BodyMalformed));
        }
    }

    proptest! {
        #[test]
        fn h8_splitting_an_array_agrees_with_parsing_it(
            text in r#"[\[\]\{\}",:0-9a-c \\ntrulfse.-]{0,40}"#
        ) {
            let body = format!("[{text}]");
            let parsed: Result<Vec<serde_json::Value>, _> = serde_json::from_str(&body);
            let split = texts(&body, 99);
            match (parsed, split) {
                (Ok(values), Ok(records)) => {
                    let reparsed: Vec<serde_json::Value> =
                        records.iter().map(|it| serde_json::from_str(it).unwrap()).collect();
                    prop_assert_eq!(values, reparsed);
                }
                // A number out of range and a depth of 128 are skipped where a value is parsed.
                (Err(_), Ok(records)) => {
                    prop_assert!(records.iter().any(|it| serde_json::from_str::<serde_json::Value>(it).is_err()));
                }
                (Ok(_), Err(refusal)) => prop_assert!(false, "{body} was refused: {refusal}"),
                (Err(_), Err(_)) => {}
            }
        }
    }
}
