//! A click as a JSON object that a person edits: every field of the record, without loss. Pure.
//!
//! It has the form of the published examples, except that a status may be any number, a visitor id is
//! hexadecimal, and an address may be any bytes.

use serde_json::{Map, Value};
use thiserror::Error;
use uuid::Uuid;

use crate::click::RawClick;
use crate::click_field::FieldSpec;
use crate::field_value::FieldValue;
use crate::partial_datum::PartialDatum;

const EVENT_ID: &str = "event_id";
const OCCURRED_AT: &str = "occurred_at";

/// Why a JSON object is not a click.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum EditError {
    /// A name that no field has.
    #[error("a click has no field {0}")]
    UnknownField(String),
    /// A field has another type.
    #[error("{field} must be {expected}")]
    Invalid {
        /// Which one.
        field: &'static str,
        /// What it must be.
        expected: String,
    },
    /// A key fact is null.
    #[error("{0} must not be null")]
    Null(&'static str),
}

/// The fields of a click in the order of the newest schema.
#[derive(Debug, Clone, PartialEq)]
pub struct EditableClick(Vec<(&'static str, FieldValue)>);

impl EditableClick {
    /// The fields of a datum; those that were not read have their defaults. The second part names the
    /// fields whose value is not the one of the datum, or that no click has.
    pub fn of(datum: &PartialDatum) -> (Self, Vec<String>) {
        let mut changed = Vec::new();
        let of_field = |spec: &FieldSpec| {
            let Some(value) = datum.field(spec.name) else {
                return (spec.name, spec.default_value());
            };
            if spec.is_nullable && *value == FieldValue::Null {
                return (spec.name, FieldValue::Null);
            }
            let nearest = spec.form.nearest(value);
            if nearest.as_ref() != Some(value) {
                changed.push(spec.name.to_owned());
            }
            (spec.name, nearest.unwrap_or_else(|| spec.default_value()))
        };
        let fields = RawClick::FIELDS.iter().map(of_field).collect();
        let is_known = |name: &str| RawClick::FIELDS.iter().any(|spec| spec.name == name);
        let unknown = datum.fields.iter().filter(|(name, _)| !is_known(name));
        changed.extend(unknown.map(|(name, _)| name.clone()));
        (Self(fields), changed)
    }

    /// The fields of the object, in the order of the schema.
    pub fn json_fields(&self) -> impl Iterator<Item = (&'static str, Value)> {
        self.0.iter().map(|(own, value)| {
            let spec = RawClick::FIELDS.iter().find(|spec| spec.name == *own);
            (*own, spec.map_or(Value::Null, |spec| spec.form.json(value)))
        })
    }

    /// The click of an object. A field that is absent has its default; a key fact that is absent or null
    /// must be set with [`EditableClick::set_key_facts`].
    ///
    /// # Errors
    /// The first field that no click has, or whose value has another type.
    pub fn of_json(mut object: Map<String, Value>) -> Result<Self, EditError> {
        let mut fields = Vec::with_capacity(RawClick::FIELDS.len());
        for &FieldSpec { name: field, form, is_nullable } in RawClick::FIELDS {
            let json = object.remove(field).unwrap_or_default();
            let value = if !json.is_null() {
                let value = form.of_json(json);
                value.map_err(|expected| EditError::Invalid { field, expected })?
            } else if is_nullable || [EVENT_ID, OCCURRED_AT].contains(&field) {
                FieldValue::Null
            } else {
                form.default_value()
            };
            fields.push((field, value));
        }
        match object.into_iter().next() {
            Some((name, _)) => Err(EditError::UnknownField(name)),
            None => Ok(Self(fields)),
        }
    }

    /// The key facts; each is `None` where it is null.
    pub fn key_facts(&self) -> (Option<Uuid>, Option<i64>) {
        let of = |field| self.0.iter().find(|(name, _)| *name == field).map(|(_, value)| value);
        let id = of(EVENT_ID).and_then(FieldValue::bytes);
        (id.and_then(|id| Uuid::from_slice(id).ok()), of(OCCURRED_AT).and_then(FieldValue::number))
    }

    /// Sets both key facts.
    pub fn set_key_facts(&mut self, event_id: Uuid, occurred_at: i64) {
        for (name, value) in &mut self.0 {
            match *name {
                EVENT_ID => *value = FieldValue::Bytes(event_id.into_bytes().into()),
                OCCURRED_AT => *value = FieldValue::Number(occurred_at),
                _ => {}
            }
        }
    }

    /// The click.
    ///
    /// # Errors
    /// A key fact is null.
    pub fn click(&self) -> Result<RawClick<'_>, EditError> {
        let get = |field| self.0.iter().find(|(name, _)| *name == field).map(|(_, value)| value);
        RawClick::of_fields(get).map_err(EditError::Null)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Encoder, Example, NEWEST, PartialDecoder, RELEASED, SchemaId};

    fn datum(click: &RawClick<'_>) -> Vec<u8> {
        let mut value = Vec::new();
        Encoder::new(SchemaId(1)).encode(click, &mut value).unwrap();
        value.split_off(5)
    }

    fn read(json: &str) -> Result<EditableClick, EditError> {
        EditableClick::of_json(serde_json::from_str(json).unwrap())
    }

    /// Through the datum, its fields, and their JSON, to the same bytes.
    fn assert_comes_back(click: &RawClick<'_>, what: &str) {
        let datum = datum(click);
        let partial = PartialDecoder::new(NEWEST).unwrap().decode(&datum);
        let (edited, changed) = EditableClick::of(&partial);
        assert!(changed.is_empty() && partial.stopped.is_none(), "{what}: {changed:?}");
        let object: Map<_, _> =
            edited.json_fields().map(|(name, json)| (name.to_owned(), json)).collect();
        let json = Value::Object(object).to_string();
        let back = read(&json).unwrap();
        assert_eq!(back, edited, "{what}: {json}");
        assert_eq!(back.click().as_ref(), Ok(click), "{what}: {json}");
    }

    #[test]
    fn every_example_comes_back_from_the_json_that_is_edited() {
        let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/examples/clicks.raw/1");
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            let example: Example =
                serde_json::from_str(&std::fs::read_to_string(&path).unwrap()).unwrap();
            let ip = example.client_ip_bytes();
            assert_comes_back(&example.click(ip.as_deref()), &path.display().to_string());
        }
    }

    #[test]
    fn values_that_no_example_has_come_back_too() {
        let click = RawClick {
            status: -1,
            link_version: Some(i64::MIN),
            visitor_id: Some(u64::MAX.to_be_bytes()),
            client_ip: Some(&[0; 16]),
            query: Some("\u{0}\n\"\\ \u{1f600}"),
            ..RawClick::new(Uuid::from_u128(1), i64::MAX, "")
        };
        assert_comes_back(&click, "hostile values");
    }

    #[test]
    fn what_a_datum_lacks_has_its_default_and_what_changes_is_named() {
        let oldest = PartialDecoder::new(RELEASED[0].1).unwrap();
        let mut datum = datum(&RawClick::new(Uuid::from_u128(1), 5, "spring"));
        let at = datum.windows(6).position(|six| six == b"spring").unwrap();
        datum[at] = 0xff;
        let (edited, changed) = EditableClick::of(&oldest.decode(&datum));
        assert_eq!(changed, ["slug"]);
        assert_eq!(edited.click().unwrap().slug, "\u{fffd}pring");
        let (edited, changed) = EditableClick::of(&PartialDatum::default());
        assert!(changed.is_empty());
        assert_eq!(edited.click(), Ok(RawClick::new(Uuid::nil(), 0, "")));
        let newer = PartialDatum {
            fields: vec![("newer".to_owned(), FieldValue::Null)],
            ..PartialDatum::default()
        };
        assert_eq!(EditableClick::of(&newer).1, ["newer"]);
    }

    #[test]
    fn a_key_fact_that_is_null_must_be_set_and_other_fields_are_checked() {
        let mut edited = read(r#"{"slug":"a","event_id":null}"#).unwrap();
        assert_eq!(edited.key_facts(), (None, None));
        assert_eq!(edited.click(), Err(EditError::Null("event_id")));
        edited.set_key_facts(Uuid::from_u128(7), 9);
        assert_eq!(edited.key_facts(), (Some(Uuid::from_u128(7)), Some(9)));
        assert_eq!(edited.click(), Ok(RawClick::new(Uuid::from_u128(7), 9, "a")));
        for (json, expected) in [
            (r#"{"slog":"a"}"#, "a click has no field slog"),
            (r#"{"slug":7}"#, "slug must be a text"),
            (r#"{"method":"PUT"}"#, "method must be one of OTHER, GET, HEAD, POST"),
        ] {
            assert_eq!(read(json).unwrap_err().to_string(), expected);
        }
    }
}
