//! A datum as far as it can be read, for operators who look for what is wrong with it.
//!
//! It is read field by field, with the bounds of the other decoders. A text may have bytes that are not
//! UTF-8, and the contract of a click is not checked. Pure.

use std::cell::RefCell;
use std::collections::BTreeSet;
use std::fmt;

use serde::Deserializer;
use serde::de::{DeserializeSeed, MapAccess, Visitor};
use serde_avro_fast::schema::{RegularType, SchemaKey, SchemaMut};

use crate::decode_error::DecodeError;
use crate::field_value::FieldValue;
use crate::writer_schema::{DATUM_BYTES_MAX, WriterSchema, checked};

/// The fields of a datum up to the one that cannot be read.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct PartialDatum {
    /// Names and values, in the order of the writer's schema.
    pub fields: Vec<(String, FieldValue)>,
    /// Bytes that were read. Where the datum was read to its end, all others follow it; else the field
    /// that cannot be read begins before or at this byte.
    pub read_bytes: usize,
    /// The field that cannot be read, and why. It is empty in a schema that is not of a record.
    pub stopped: Option<(String, String)>,
}

impl PartialDatum {
    /// The value of a field that was read.
    pub fn field(&self, name: &str) -> Option<&FieldValue> {
        self.fields.iter().find(|(own, _)| own == name).map(|(_, value)| value)
    }
}

/// Reads datums of one writer's schema as far as they can be read.
#[derive(Debug)]
pub struct PartialDecoder {
    writer: WriterSchema,
    /// Fields that the schema declares as strings.
    texts: BTreeSet<String>,
}

impl PartialDecoder {
    /// A decoder of records that were written with `schema` (Avro JSON).
    ///
    /// # Errors
    /// [`DecodeError::Avro`]: the schema does not parse, or allows a datum of unbounded cost.
    pub fn new(schema: &str) -> Result<Self, DecodeError> {
        let mut schema = checked(schema)?;
        let texts = text_fields(&schema);
        // A string that is not UTF-8 has the same encoding as bytes, which are read.
        for node in schema.nodes_mut() {
            if matches!(node.type_, RegularType::String) {
                (node.type_, node.logical_type) = (RegularType::Bytes, None);
            }
        }
        let writer = WriterSchema::freeze(schema)?;
        Ok(Self { writer, texts })
    }

    /// Reads at most the first 64 KiB of `datum`.
    pub fn decode(&self, datum: &[u8]) -> PartialDatum {
        let datum = &datum[..datum.len().min(DATUM_BYTES_MAX)];
        let reading = RefCell::default();
        let fields = Fields { reading: &reading, texts: &self.texts };
        let (outcome, remaining) = self.writer.read_with(datum, fields);
        let Reading { fields, current } = reading.into_inner();
        let stopped = outcome.err().map(|error| (current, error.to_string()));
        PartialDatum { fields, read_bytes: datum.len() - remaining, stopped }
    }
}

/// The fields of the root whose type is a string, or a union with one.
fn text_fields(schema: &SchemaMut) -> BTreeSet<String> {
    let RegularType::Record(record) = &schema.root().type_ else { return BTreeSet::new() };
    let of = |key: SchemaKey| schema.get(key).map(|node| &node.type_);
    let is_text = |key: SchemaKey| matches!(of(key), Some(RegularType::String));
    let has_text = |key: SchemaKey| match of(key) {
        Some(RegularType::Union(union)) => union.variants.iter().any(|variant| is_text(*variant)),
        _ => is_text(key),
    };
    let fields = record.fields.iter().filter(|field| has_text(field.type_));
    fields.map(|field| field.name.clone()).collect()
}

/// What was read until an error, which the error itself cannot return.
#[derive(Default)]
struct Reading {
    fields: Vec<(String, FieldValue)>,
    current: String,
}

struct Fields<'a> {
    reading: &'a RefCell<Reading>,
    texts: &'a BTreeSet<String>,
}

impl<'de> DeserializeSeed<'de> for Fields<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Fields<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a record")
    }

    fn visit_map<M: MapAccess<'de>>(self, mut map: M) -> Result<(), M::Error> {
        while let Some(name) = map.next_key::<String>()? {
            self.reading.borrow_mut().current.clone_from(&name);
            let mut value = map.next_value::<FieldValue>()?;
            if self.texts.contains(&name)
                && let Some(text) = value.bytes().and_then(|bytes| std::str::from_utf8(bytes).ok())
            {
                value = FieldValue::Text(text.to_owned());
            }
            self.reading.borrow_mut().fields.push((name, value));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Encoder, NEWEST, RawClick, SchemaId};
    use uuid::Uuid;

    /// The datum of a click; its slug is at byte 31.
    fn datum() -> Vec<u8> {
        let click = RawClick {
            client_ip: Some(&[127, 0, 0, 1]),
            latency_us: Some(7),
            ..RawClick::new(Uuid::from_u128(1), 1_764_000_000_000_000, "spring")
        };
        let mut value = Vec::new();
        Encoder::new(SchemaId(1)).encode(&click, &mut value).unwrap();
        value.split_off(5)
    }

    #[test]
    fn a_whole_datum_is_read_and_what_follows_it_is_left() {
        let decoder = PartialDecoder::new(NEWEST).unwrap();
        let whole = decoder.decode(&datum());
        assert_eq!((whole.read_bytes, &whole.stopped), (datum().len(), &None));
        assert_eq!(whole.field("slug"), Some(&FieldValue::Text("spring".into())));
        assert_eq!(whole.field("client_ip"), Some(&FieldValue::Bytes(vec![127, 0, 0, 1])));
        assert_eq!(whole.field("outcome"), Some(&FieldValue::Text("unknown".into())));
        assert_eq!(whole.field("domain"), Some(&FieldValue::Null));
        assert_eq!(whole.field("dnt"), Some(&FieldValue::Boolean(false)));
        assert_eq!(whole.field("latency_us"), Some(&FieldValue::Number(7)));
        assert_eq!(whole.field("agent_kind"), Some(&FieldValue::Text("unknown".into())));
        assert_eq!(decoder.decode(&[datum(), vec![7; 9]].concat()), whole, "trailing bytes");
        assert_eq!(decoder.decode(&[datum(), vec![7; 1 << 17]].concat()), whole, "many of them");
    }

    #[test]
    fn a_datum_cut_anywhere_is_read_up_to_its_cut_field() {
        let decoder = PartialDecoder::new(NEWEST).unwrap();
        let (datum, mut fields_before) = (datum(), 0);
        for cut in 0..datum.len() {
            let part = decoder.decode(&datum[..cut]);
            assert!(part.fields.len() >= fields_before && part.read_bytes <= cut, "{cut}");
            let (field, why) = part.stopped.unwrap();
            assert!(!field.is_empty() && !why.is_empty(), "{cut}");
            assert!(part.fields.iter().all(|(name, _)| *name != field), "{cut}: {field}");
            fields_before = part.fields.len();
        }
        let part = decoder.decode(&datum[..20]);
        assert_eq!(part.fields.len(), 1);
        assert_eq!(part.stopped.unwrap().0, "occurred_at");
    }

    #[test]
    fn a_text_that_is_not_utf_8_is_read_as_bytes_and_reading_continues() {
        let mut datum = datum();
        let at = datum.windows(6).position(|six| six == b"spring").unwrap();
        datum[at] = 0xff;
        let read = PartialDecoder::new(NEWEST).unwrap().decode(&datum);
        assert_eq!(read.field("slug"), Some(&FieldValue::Bytes(b"\xffpring".to_vec())));
        assert_eq!((read.read_bytes, read.stopped), (datum.len(), None));
    }

    #[test]
    fn a_field_that_no_click_has_is_named_and_skipped() {
        let schema = r#"{"type":"record","name":"R","fields":[
            {"name":"a","type":{"type":"array","items":"string"}},
            {"name":"r","type":"double"},
            {"name":"u","type":["null",{"type":"string","logicalType":"uuid"}]}]}"#;
        let decoder = PartialDecoder::new(schema).unwrap();
        let datum = [&[2, 2, b'x', 0][..], &1.5_f64.to_le_bytes(), &[2, 2, b'y']].concat();
        let read = decoder.decode(&datum);
        let values: Vec<String> = read.fields.iter().map(|(_, value)| value.to_string()).collect();
        assert_eq!(values, ["…", "1.5", "\"y\""]);
        let endless = r#"{"type":"array","items":"null"}"#;
        assert!(PartialDecoder::new(endless).is_err(), "a type of no bytes");
        let text = PartialDecoder::new(r#""string""#).unwrap().decode(&[2, b'x']);
        assert!(text.fields.is_empty() && text.stopped.is_some());
    }
}
