//! Key, headers and value of a record for an operator, as lines and as JSON. Pure.

use serde_json::{Value, json};

use crate::dead_letters::hex_dump::{hex_digits, hex_dump};
use crate::dead_letters::inspection::{Inspection, Reading};
use crate::dead_letters::redriven_copy::RecordBytes;
use crate::dead_letters::shown_text::shown;

/// A record, and what decodes of its value.
#[derive(Debug, Clone, Copy)]
pub struct RecordReport<'a> {
    /// The record.
    pub bytes: &'a RecordBytes,
    /// Bytes of its value in the log.
    pub value_bytes: u64,
    /// Whether value, key or headers in the log are longer.
    pub is_cut: bool,
    /// Whether the dead letter leaves out parts of the record.
    pub is_stub: bool,
    /// What decodes.
    pub inspection: Option<&'a Inspection>,
    /// The most bytes of the rest of the value that are reported.
    pub rest_max: usize,
}

impl RecordReport<'_> {
    /// The report as lines without hidden characters.
    pub fn lines(&self) -> Vec<String> {
        let RecordBytes { key, value, headers } = self.bytes;
        let mut lines = vec![format!("headers: {}", headers.len())];
        for (name, value) in headers {
            lines.push(format!("  {}: {}", shown(name), shown_bytes(value.as_deref())));
        }
        lines.push(format!("key: {}", shown_bytes(key.as_deref())));
        let Some(value) = value else {
            lines.push(if self.is_stub && self.value_bytes > 0 {
                format!("value: {} bytes, which the dead letter leaves out", self.value_bytes)
            } else {
                "value: none".to_owned()
            });
            return lines;
        };
        lines.push(format!("value: {} bytes", self.value_bytes));
        if self.is_cut {
            let kept = value.len();
            lines.push(format!(
                "  The table keeps part of the record ({kept} bytes of the value); --all reads the \
                 dead-letter topic."
            ));
        }
        let inspected = self.inspection.into_iter();
        lines.extend(inspected.flat_map(|found| inspection_lines(found, value, self.rest_max)));
        lines
    }

    /// The report as JSON.
    pub fn object(&self) -> Value {
        let RecordBytes { key, value, headers } = self.bytes;
        let header = |(name, value): &(String, Option<Vec<u8>>)| {
            let (text, hex) = text_or_hex(value.as_deref());
            json!({ "name": name, "text": text, "hex": hex })
        };
        let headers: Vec<Value> = headers.iter().map(header).collect();
        let (text, hex) = text_or_hex(key.as_deref());
        let value = value.as_deref();
        let rest = value.zip(self.inspection).map(|(value, inspection)| {
            let rest = value.get(inspection.rest..).unwrap_or_default();
            let shown = &rest[..rest.len().min(self.rest_max)];
            json!({ "byte": inspection.rest, "bytes": rest.len(), "hex": hex_digits(shown) })
        });
        json!({
            "headers": headers,
            "key": { "text": text, "hex": hex },
            "value": {
                "is_null": value.is_none(),
                "bytes": self.value_bytes,
                "kept_bytes": value.map_or(0, <[u8]>::len),
                "inspection": self.inspection,
                "rest": rest,
            },
            "is_cut": self.is_cut,
        })
    }
}

fn inspection_lines(found: &Inspection, value: &[u8], rest_max: usize) -> Vec<String> {
    let frame = match (found.frame_schema_id, found.frame_error.as_deref()) {
        (Some(id), _) => format!("schema id {id}"),
        (None, error) => shown(error.unwrap_or("none")),
    };
    let mut lines = vec![format!("frame: {frame}")];
    for reading in &found.readings {
        lines.push(heading(reading, found.frame_schema_id.is_some()));
        let width = reading.fields.iter().map(|field| field.name.len()).max().unwrap_or_default();
        for field in &reading.fields {
            let text = field.text.as_ref().map(|text| format!("  ({text})")).unwrap_or_default();
            let value = shown(&field.value.to_string());
            lines.push(format!("  {:width$}  {value}{text}", shown(&field.name)));
        }
        if let Some(stop) = &reading.stop {
            let field = match stop.field.as_str() {
                "" => String::new(),
                field => format!(", field {}", shown(field)),
            };
            lines.push(format!("  stops at byte {}{field}: {}", stop.byte, shown(&stop.cause)));
        }
    }
    let rest = value.get(found.rest..).unwrap_or_default();
    if !rest.is_empty() {
        lines.push(format!("bytes from byte {}:", found.rest));
        let dump = hex_dump(rest, found.rest, rest_max);
        lines.extend(dump.into_iter().map(|line| format!("  {line}")));
    }
    lines
}

fn heading(reading: &Reading, is_framed: bool) -> String {
    let id = reading.schema_id.map(|id| format!(", id {id}")).unwrap_or_default();
    let named = if reading.is_of_frame { ", named by the frame" } else { "" };
    let begins = match (is_framed, reading.begins) {
        (true, _) => "",
        (false, 0) => ", as a datum without a frame",
        (false, _) => ", as a frame with a wrong first byte",
    };
    let outcome = if reading.stop.is_some() { "does not decode" } else { "decodes" };
    format!("{}{id}{named}{begins}: {outcome}", shown(&reading.schema))
}

/// Bytes as a quoted text where they are UTF-8, else as hexadecimal digits.
fn shown_bytes(bytes: Option<&[u8]>) -> String {
    match text_or_hex(bytes) {
        (Some(text), _) => format!("\"{}\"", shown(text)),
        (None, Some(hex)) => format!("0x{hex}"),
        (None, None) => "none".to_owned(),
    }
}

fn text_or_hex(bytes: Option<&[u8]>) -> (Option<&str>, Option<String>) {
    let Some(bytes) = bytes else { return (None, None) };
    match std::str::from_utf8(bytes) {
        Ok(text) => (Some(text), None),
        Err(_) => (None, Some(hex_digits(bytes))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dead_letters::inspection::inspect;

    fn record(value: Option<&[u8]>) -> RecordBytes {
        RecordBytes {
            key: Some(vec![0, 0xff]),
            value: value.map(<[u8]>::to_vec),
            headers: vec![
                ("a\u{1b}[2J".to_owned(), Some(b"b\x07".to_vec())),
                ("null".to_owned(), None),
            ],
        }
    }

    #[test]
    fn a_record_without_a_frame_is_reported_with_its_bytes_within_the_bound() {
        let value = [b'x'; 5000];
        let bytes = record(Some(&value));
        let inspection = inspect(&value, &[]);
        let report = RecordReport {
            bytes: &bytes,
            value_bytes: 1_048_000,
            is_cut: true,
            is_stub: false,
            inspection: Some(&inspection),
            rest_max: 32,
        };
        let lines = report.lines();
        assert_eq!(lines[1..4], ["  a\\u{1b}[2J: \"b\\u{7}\"", "  null: none", "key: 0x00ff"]);
        assert_eq!(lines[4], "value: 1048000 bytes");
        assert_eq!(lines[7], "bytes from byte 0:");
        assert_eq!(lines[10], "  … and 4968 bytes");
        let object = report.object();
        assert_eq!(object["value"]["rest"]["hex"].as_str().map(str::len), Some(64));
        assert_eq!(object["headers"][1]["text"], Value::Null);
        assert_eq!((&object["key"]["hex"], &object["is_cut"]), (&json!("00ff"), &json!(true)));
    }

    #[test]
    fn a_tombstone_is_reported_without_a_value() {
        let bytes = record(None);
        let report = RecordReport {
            bytes: &bytes,
            value_bytes: 0,
            is_cut: false,
            is_stub: false,
            inspection: None,
            rest_max: 32,
        };
        assert_eq!(report.lines().last().map(String::as_str), Some("value: none"));
        assert_eq!(report.object()["value"]["is_null"], true);
        let stub = RecordReport { value_bytes: 5_242_880, is_stub: true, ..report };
        let last = stub.lines().pop();
        assert_eq!(last.as_deref(), Some("value: 5242880 bytes, which the dead letter leaves out"));
    }
}
