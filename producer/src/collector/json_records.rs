//! The records of a body, as slices and as clicks.
//!
//! Pure. The records are first found as slices of the body, only by quotes, brackets and commas; so any
//! other fault of a record affects no other record. Then they are parsed one by one, directly into their
//! type. Fields that the type does not have are skipped or refused at their start and never stored, so
//! the memory does not depend on the content of a body.

use hyper::header::{CONTENT_TYPE, HeaderMap};
use schemas::JsonClick;

use crate::collector::collector_limits::RECORD_BYTES_MAX;
use crate::collector::record_fault::RecordFault;
use crate::collector::refusal::Refusal;

const NOT_AN_OBJECT: &str = "not an object";
/// The byte-order mark of UTF-8, which some programs write before a text.
const MARK: &[u8] = b"\xef\xbb\xbf";

/// The format of a body.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum BodyFormat {
    /// One object, or an array of objects.
    Json,
    /// One object per line.
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

    /// The records of a body, before they are parsed. Stops at the first record beyond `records_max`.
    ///
    /// # Errors
    /// [`Refusal::BodyMalformed`], [`Refusal::TooManyRecords`].
    pub(super) fn records(self, body: &[u8], records_max: usize) -> Result<Vec<&[u8]>, Refusal> {
        let body = without_mark(body);
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
    // serde would read an array as the fields in their order.
    if !record.starts_with(b"{") {
        return Err(RecordFault::Malformed(NOT_AN_OBJECT.to_owned()));
    }
    serde_json::from_slice(record).map_err(|error| RecordFault::Malformed(error.to_string()))
}

fn lines(body: &[u8], records_max: usize) -> Result<Vec<&[u8]>, Refusal> {
    let lines = body.split(|byte| *byte == b'\n').map(without_mark);
    let lines = lines.filter(|line| !line.is_empty());
    let lines: Vec<_> = lines.take(records_max.saturating_add(1)).collect();
    if lines.len() > records_max { Err(Refusal::TooManyRecords) } else { Ok(lines) }
}

/// The elements of an array after its opening bracket.
fn array(body: &[u8], records_max: usize) -> Result<Vec<&[u8]>, Refusal> {
    let (mut elements, mut start) = (Vec::new(), 0);
    let mut scanner = Scanner::default();
    for (at, byte) in body.iter().enumerate() {
        let Some(boundary) = scanner.boundary(*byte) else { continue };
        let element = trim_space(&body[start..at]);
        let is_end = boundary == Boundary::End;
        if is_end && !trim_space(&body[at + 1..]).is_empty() {
            return Err(Refusal::BodyMalformed);
        }
        if is_end && element.is_empty() && elements.is_empty() {
            return Ok(elements);
        }
        if element.is_empty() {
            return Err(Refusal::BodyMalformed);
        }
        if elements.len() == records_max {
            return Err(Refusal::TooManyRecords);
        }
        elements.push(element);
        if is_end {
            return Ok(elements);
        }
        start = at + 1;
    }
    Err(Refusal::BodyMalformed)
}

/// The byte that ends an element of an array.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Boundary {
    Comma,
    /// The closing bracket of the array.
    End,
}

/// The state of the scan of an array. It counts both kinds of brackets alike: the parser later finds an
/// element whose brackets do not match.
#[derive(Debug, Default)]
struct Scanner {
    depth: usize,
    in_text: bool,
    is_escaped: bool,
}

impl Scanner {
    fn boundary(&mut self, byte: u8) -> Option<Boundary> {
        if self.in_text {
            match byte {
                _ if self.is_escaped => self.is_escaped = false,
                b'\\' => self.is_escaped = true,
                b'"' => self.in_text = false,
                _ => {}
            }
            return None;
        }
        match byte {
            b'"' => self.in_text = true,
            b'[' | b'{' => self.depth += 1,
            b',' if self.depth == 0 => return Some(Boundary::Comma),
            b']' if self.depth == 0 => return Some(Boundary::End),
            b']' | b'}' => self.depth = self.depth.saturating_sub(1),
            _ => {}
        }
        None
    }
}

/// A text without the JSON white space around it.
fn trim_space(text: &[u8]) -> &[u8] {
    let is_space = |byte: &u8| matches!(byte, b' ' | b'\n' | b'\t' | b'\r');
    let Some(start) = text.iter().position(|byte| !is_space(byte)) else { return &[] };
    let end = text.iter().rposition(|byte| !is_space(byte)).map_or(start, |last| last + 1);
    &text[start..end]
}

/// A text without white space around it, and without byte-order marks before it.
fn without_mark(text: &[u8]) -> &[u8] {
    let mut text = text.trim_ascii();
    while let Some(unmarked) = text.strip_prefix(MARK) {
        text = unmarked.trim_ascii_start();
    }
    text
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
    fn h8_an_incomplete_array_is_refused_as_a_whole() {
        for body in [
            "[",
            "[1",
            "[1,",
            "[1,]",
            "[,1]",
            "[1,,2]",
            "[1]]",
            "[1]x",
            "[1],",
            "[{]}",
            "[{\"a\":1]",
            "[\"x]",
        ] {
            assert_eq!(texts(body, 9), Err(Refusal::BodyMalformed), "{body:?}");
        }
    }

    #[test]
    fn c2_invalid_json_between_two_commas_is_the_fault_of_one_record() {
        let good = r#"{"slug":"a"}"#;
        for wrong in [
            &b"1 2"[..],
            b"tru",
            b"01",
            b"1.",
            b"\x0b1",
            b"{}{}",
            b"\"\\q\"",
            b"1;2",
            b"}",
            b"{\"slug\":\"\xe9\"}",
            b"{\"slug\":\"\xff\xfe\"}",
            b"{\"slug\":\"a\",\"query\":\"\\ud83d\"}",
            b"{\"slug\":\"a\",\"query\":\"\\udc00\\ud83d\"}",
            b"{\"slug\":\"a\",\"user_agent\":\"a\nb\"}",
            b"{\"slug\":\"a\",\"user_agent\":\"\0\"}",
            b"{\"slug\":\"\\u00g0\"}",
            b"\xe9",
        ] {
            let body = [b"[", good.as_bytes(), b" ,", wrong, b", ", good.as_bytes(), b"]"].concat();
            let records = BodyFormat::Json.records(&body, 9).unwrap();
            let parsed: Vec<_> = records.iter().map(|record| parse(record).is_ok()).collect();
            assert_eq!(parsed, [true, false, true], "{:?}", String::from_utf8_lossy(wrong));
        }
    }

    #[test]
    fn i6_byte_order_marks_before_a_body_or_a_line_are_left_out() {
        for (format, body) in [
            (BodyFormat::Json, "\u{feff}{\"slug\":\"a\"}"),
            (BodyFormat::Json, " \u{feff}\u{feff} [{\"slug\":\"a\"}]"),
            (BodyFormat::JsonLines, "\u{feff}{\"slug\":\"a\"}\n\u{feff}\n"),
            (BodyFormat::JsonLines, "\n\u{feff} {\"slug\":\"a\"}\r\n"),
        ] {
            let records = format.records(body.as_bytes(), 9).unwrap();
            let slugs: Vec<_> = records.iter().map(|it| parse(it).unwrap().slug).collect();
            assert_eq!(slugs, ["a"], "{body:?}");
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
        fn f10_each_record_has_its_own_verdict_whatever_bytes_are_in_one_of_its_texts(
            texts in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 0..9), 1..9)
        ) {
            let mut body = b"[".to_vec();
            for (at, text) in texts.iter().enumerate() {
                // A quote ends the text, and a backslash may guard one.
                let text = text.iter().filter(|byte| !matches!(byte, b'"' | b'\\'));
                body.extend_from_slice([&b","[..], b""][usize::from(at == 0)]);
                body.extend_from_slice(b"{\"slug\":\"");
                body.extend(text);
                body.extend_from_slice(b"\"}");
            }
            body.push(b']');
            let records = BodyFormat::Json.records(&body, 9).unwrap();
            prop_assert_eq!(records.len(), texts.len());
            for record in records {
                let inner = &record[9..record.len() - 2];
                let good = std::str::from_utf8(inner).is_ok() && inner.iter().all(|it| *it >= b' ');
                prop_assert_eq!(parse(record).is_ok(), good, "{:?}", record);
            }
        }

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
