//! The text that an operator edits: a click as a JSON object, one field a line, with comments. Pure.
//!
//! A line that begins with `#` is a comment. No JSON value spans two lines, so no value has such a line.

use jiff::Timestamp;
use schemas::writer_schema::DATUM_BYTES_MAX;
use schemas::{EditableClick, PartialDatum, SchemaId, unframe};
use serde_json::{Map, Value};

use crate::dead_letters::record_schema::RecordSchema;
use crate::dead_letters::repair::RepairInput;
use crate::dead_letters::shown_text::{json_line, shown};

const ERROR: &str = "# ERROR: ";

/// The form of a value, as far as it can be read; `heading` names the dead letter and its fault.
pub fn form<'s>(
    heading: &str,
    input: &RepairInput<'_>,
    schema: impl Fn(SchemaId) -> Option<&'s RecordSchema>,
) -> String {
    let (datum, mut notes) = read(input, schema);
    let (click, changed) = EditableClick::of(&datum);
    if !changed.is_empty() {
        notes.push(format!(
            "A click of this version cannot hold these fields as the record has them: {}.",
            changed.join(", ")
        ));
    }
    let (_, occurred_at) = click.key_facts();
    notes.push(format!(
        "occurred_at is {}; the record was logged at {}.",
        time(occurred_at.unwrap_or_default()),
        time(input.logged_at_ms.saturating_mul(1000))
    ));
    let mut text = format!("# {}\n", shown(heading));
    for line in [
        "Lines that begin with # are ignored. A file that is not changed changes nothing.",
        "event_id and occurred_at identify the click, so a valid one cannot be changed. If one is the",
        "fault, null sets it: event_id to a new id, occurred_at to the log time.",
    ] {
        text.push_str(&format!("# {line}\n"));
    }
    for note in notes {
        text.push_str(&format!("# {}\n", shown(&note)));
    }
    let fields =
        click.json_fields().map(|(name, json)| format!("  \"{name}\": {}", json_line(&json)));
    let fields: Vec<String> = fields.collect();
    text.push_str(&format!("{{\n{}\n}}\n", fields.join(",\n")));
    text
}

/// The fields of a value, and what a reader of them must know.
fn read<'s>(
    input: &RepairInput<'_>,
    schema: impl Fn(SchemaId) -> Option<&'s RecordSchema>,
) -> (PartialDatum, Vec<String>) {
    let mut notes = Vec::new();
    let (id, datum) = match unframe(input.value) {
        Ok(framed) => framed,
        Err(error) => {
            notes.push(format!("All fields have their defaults: {error}."));
            return (PartialDatum::default(), notes);
        }
    };
    let own = schema(id);
    if own.is_none() {
        notes.push(format!(
            "The subject has no schema {id}; the fields are read by the newest schema, {}.",
            input.newest
        ));
    }
    let Some(known) = own.or_else(|| schema(input.newest)) else {
        return (PartialDatum::default(), notes);
    };
    let partial = known.partial.decode(datum);
    match &partial.stopped {
        Some((field, why)) => notes.push(format!(
            "The record cannot be read from the field {field} on ({why}); the fields from there on \
             have their defaults."
        )),
        None if partial.read_bytes < datum.len() => {
            let trailing = datum.len() - partial.read_bytes;
            notes.push(format!("{trailing} bytes follow the datum; an edited record has none."));
        }
        None => debug_assert!(datum.len() <= DATUM_BYTES_MAX),
    }
    (partial, notes)
}

fn time(us: i64) -> String {
    Timestamp::from_microsecond(us).map_or_else(|_| format!("{us} µs"), |time| time.to_string())
}

/// The object in an edited form. A time may be a number of microseconds, or RFC 3339.
///
/// # Errors
/// It is not a JSON object, or its time is none.
pub fn object(form: &str) -> Result<Map<String, Value>, String> {
    let is_comment = |line: &&str| line.trim_start().starts_with('#');
    // A comment becomes an empty line, so that an error names the line of the file.
    let lines = form.lines().map(|line| if is_comment(&line) { "" } else { line });
    let json = lines.collect::<Vec<_>>().join("\n");
    if json.trim().is_empty() {
        return Err("the file has no object".to_owned());
    }
    let mut object: Map<String, Value> =
        serde_json::from_str(&json).map_err(|error| format!("not a JSON object: {error}"))?;
    if let Some(Value::String(text)) = object.get("occurred_at") {
        let time: Timestamp =
            text.parse().map_err(|error| format!("occurred_at is no time: {error}"))?;
        object.insert("occurred_at".to_owned(), time.as_microsecond().into());
    }
    Ok(object)
}

/// An edited form with the error in front of it, instead of an earlier error.
pub fn with_error(form: &str, error: &str) -> String {
    let rest = form.lines().filter(|line| !line.starts_with(ERROR));
    let mut text = format!("{ERROR}{}\n", shown(error));
    for line in rest {
        text.push_str(line);
        text.push('\n');
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use schemas::{Encoder, NEWEST, RawClick};
    use uuid::Uuid;

    const ID: SchemaId = SchemaId(1);

    fn value() -> Vec<u8> {
        let query = Some("a\n# \u{202e}b");
        let id = Uuid::from_u128(7);
        let click = RawClick { query, ..RawClick::new(id, 1_764_000_000_000_000, "spring") };
        let mut value = Vec::new();
        Encoder::new(ID).encode(&click, &mut value).unwrap();
        value
    }

    fn form_of(value: &[u8]) -> String {
        let known = RecordSchema::new(NEWEST).unwrap();
        let logged_at_ms = 1_764_000_001_000;
        let input = RepairInput { value, logged_at_ms, random: [0; 16], newest: ID, fixed: None };
        form("t:0:7:1000: event_id_nil: a\nb", &input, |id| (id == ID).then_some(&known))
    }

    #[test]
    fn a_form_has_every_field_and_is_read_as_it_was_written() {
        let text = form_of(&value());
        assert!(text.starts_with("# t:0:7:1000: event_id_nil: a\\nb\n"), "{text}");
        assert!(text.contains("# occurred_at is 2025-11-24T16:00:00Z; the record was logged at"));
        assert!(text.contains("\n  \"slug\": \"spring\",\n"), "{text}");
        assert!(!text.contains('\u{202e}'), "{text}");
        let click = EditableClick::of_json(object(&text).unwrap()).unwrap();
        assert_eq!(click.click().unwrap().query, Some("a\n# \u{202e}b"));
        assert_eq!(click.key_facts(), (Some(Uuid::from_u128(7)), Some(1_764_000_000_000_000)));
    }

    #[test]
    fn a_form_states_what_of_the_record_it_does_not_have() {
        let good = value();
        for (value, note) in [
            (good[..36].to_vec(), "# The record cannot be read from the field slug on ("),
            ([good.clone(), vec![1, 2]].concat(), "# 2 bytes follow the datum"),
            (b"{}".to_vec(), "# All fields have their defaults: magic byte is 123"),
            (Vec::new(), "# All fields have their defaults: 0 bytes are too few"),
            ([&[0, 0, 0, 0, 9], &good[5..]].concat(), "# The subject has no schema 9;"),
        ] {
            let text = form_of(&value);
            assert!(text.contains(note), "{note}: {text}");
            assert!(object(&text).is_ok(), "{text}");
        }
    }

    #[test]
    fn an_error_is_a_comment_that_replaces_the_one_before() {
        let text = with_error("# a\n{}\n", "first\nline");
        assert_eq!(text, "# ERROR: first\\nline\n# a\n{}\n");
        assert_eq!(with_error(&text, "second"), "# ERROR: second\n# a\n{}\n");
    }

    #[test]
    fn a_time_may_be_a_text_and_a_wrong_line_is_named() {
        let time = |json: &str| object(json).map(|object| object["occurred_at"].clone());
        let text = "# a\n{\"occurred_at\": \"2025-11-24T16:00:00Z\"}";
        assert_eq!(time(text), Ok(1_764_000_000_000_000_i64.into()));
        assert!(time(r#"{"occurred_at": "soon"}"#).unwrap_err().contains("occurred_at is no time"));
        let error = object("# a\n# b\n{\n  \"slug\": \"a\"\n  \"query\": null\n}").unwrap_err();
        assert!(error.contains("line 5"), "{error}");
        for bad in ["", "# a\n", "[]", "{} {}"] {
            assert!(object(bad).is_err(), "{bad}");
        }
    }
}
