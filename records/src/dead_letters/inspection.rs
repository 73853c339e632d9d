//! The value of a dead letter as far as it decodes with each known schema. Pure.
//!
//! The time is bounded by that of [`PartialDecoder`]; the output by a few times the bytes of the value.

use schemas::{FieldValue, FrameError, PartialDecoder, SchemaId, unframe};
use serde::Serialize;
use serde_json::Value;

use crate::dead_letters::hex_dump::hex_digits;

/// A schema to decode with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KnownSchema {
    /// Where it is from, such as the subject and its version, or a released file.
    pub name: String,
    /// Its id, where a registry gave one.
    pub id: Option<SchemaId>,
    /// Avro JSON.
    pub text: String,
}

/// What a value is.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Inspection {
    /// Schema id in the frame.
    pub frame_schema_id: Option<u32>,
    /// Why it has no frame.
    pub frame_error: Option<String>,
    /// One for each schema; for a value with another first byte than 0, one without a head and one with
    /// a head.
    pub readings: Vec<Reading>,
    /// The first byte that no schema decodes.
    pub rest: usize,
}

/// What one schema decodes.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Reading {
    /// Where the schema is from.
    pub schema: String,
    /// Its id.
    pub schema_id: Option<u32>,
    /// Whether the frame names this id.
    pub is_of_frame: bool,
    /// Byte of the value at which the datum begins.
    pub begins: usize,
    /// The fields that decode, in the order of the schema.
    pub fields: Vec<ReadField>,
    /// Where decoding stops; `None`: the datum decodes, and no byte follows it.
    pub stop: Option<Stop>,
}

/// A field that decodes.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct ReadField {
    /// Its name.
    pub name: String,
    /// Its value; bytes are hexadecimal digits.
    pub value: Value,
    /// The value of an event id, a time or an address in its usual form.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub text: Option<String>,
}

/// Where decoding stops.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Stop {
    /// The field that does not decode; empty: all fields do, or the schema cannot be used.
    pub field: String,
    /// Byte of the value at which this field begins, or the bytes after the datum.
    pub byte: usize,
    /// Why.
    pub cause: String,
}

/// Bytes of the frame's head: magic byte and schema id.
const HEAD: usize = 5;

/// Decodes `value` with each schema.
pub fn inspect(value: &[u8], schemas: &[KnownSchema]) -> Inspection {
    let (frame, begins) = match unframe(value) {
        Ok((id, _)) => (Ok(id), &[HEAD][..]),
        // The magic byte alone may be wrong, or the value may have been written without a frame.
        Err(error @ FrameError::BadMagic(_)) if value.len() > HEAD => (Err(error), &[0, HEAD][..]),
        Err(error) => (Err(error), &[][..]),
    };
    let id = frame.ok();
    let readings: Vec<Reading> = schemas
        .iter()
        .flat_map(|schema| begins.iter().map(move |begins| reading(value, *begins, schema, id)))
        .collect();
    let with_fields = readings.iter().filter(|reading| !reading.fields.is_empty());
    let ends =
        with_fields.map(|reading| reading.stop.as_ref().map_or(value.len(), |stop| stop.byte));
    // Without a frame, a schema decodes some bytes of any value by chance.
    let rest = if id.is_some() { ends.max().unwrap_or(HEAD) } else { 0 };
    Inspection {
        frame_schema_id: id.map(|id| id.0),
        frame_error: frame.err().map(|error| error.to_string()),
        readings,
        rest,
    }
}

fn reading(value: &[u8], begins: usize, schema: &KnownSchema, frame: Option<SchemaId>) -> Reading {
    let datum = value.get(begins..).unwrap_or_default();
    let (fields, stop) = match PartialDecoder::new(&schema.text) {
        Ok(decoder) => read(&decoder, datum),
        Err(error) => {
            let cause = format!("the schema cannot be used: {error}");
            (Vec::new(), Some(Stop { field: String::new(), byte: 0, cause }))
        }
    };
    Reading {
        schema: schema.name.clone(),
        schema_id: schema.id.map(|id| id.0),
        is_of_frame: schema.id.is_some() && schema.id == frame,
        begins,
        fields,
        stop: stop.map(|stop| Stop { byte: stop.byte + begins, ..stop }),
    }
}

fn read(decoder: &PartialDecoder, datum: &[u8]) -> (Vec<ReadField>, Option<Stop>) {
    let partial = decoder.decode(datum);
    let stop = match partial.stopped {
        Some((field, cause)) => {
            let byte = end_of_fields(decoder, datum, partial.fields.len());
            Some(Stop { field, byte, cause })
        }
        None if partial.read_bytes < datum.len() => {
            let trailing = datum.len() - partial.read_bytes;
            let cause = format!("{trailing} bytes follow the datum");
            Some(Stop { field: String::new(), byte: partial.read_bytes, cause })
        }
        None => None,
    };
    (partial.fields.into_iter().map(|(name, value)| shown_field(name, value)).collect(), stop)
}

/// Where the first `fields` fields end: the shortest part of the datum in which all of them decode. Each
/// field takes at least one byte, so a longer part never decodes fewer of them.
fn end_of_fields(decoder: &PartialDecoder, datum: &[u8], fields: usize) -> usize {
    let decodes = |bytes: usize| decoder.decode(&datum[..bytes]).fields.len() >= fields;
    let (mut low, mut high) = (0, datum.len());
    while low < high {
        let middle = low.midpoint(high);
        if decodes(middle) {
            high = middle;
        } else {
            low = middle + 1;
        }
    }
    low
}

fn shown_field(name: String, value: FieldValue) -> ReadField {
    let text = match (name.as_str(), &value) {
        ("event_id", FieldValue::Bytes(bytes)) => {
            uuid::Uuid::from_slice(bytes).ok().map(|id| id.to_string())
        }
        ("occurred_at", FieldValue::Number(us)) => {
            jiff::Timestamp::from_microsecond(*us).ok().map(|time| time.to_string())
        }
        ("client_ip", FieldValue::Bytes(bytes)) => address(bytes),
        _ => None,
    };
    let value = match value {
        FieldValue::Null => Value::Null,
        FieldValue::Boolean(value) => value.into(),
        FieldValue::Number(value) => value.into(),
        // JSON has no NaN and no infinity.
        FieldValue::Real(value) if !value.is_finite() => value.to_string().into(),
        FieldValue::Real(value) => value.into(),
        FieldValue::Text(text) => text.into(),
        FieldValue::Bytes(bytes) => hex_digits(&bytes).into(),
        FieldValue::Other => "…".into(),
    };
    ReadField { name, value, text }
}

fn address(bytes: &[u8]) -> Option<String> {
    let four = <[u8; 4]>::try_from(bytes).map(|four| std::net::IpAddr::from(four).to_string());
    four.or_else(|_| <[u8; 16]>::try_from(bytes).map(|it| std::net::IpAddr::from(it).to_string()))
        .ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use schemas::{Encoder, RELEASED, RawClick};
    use uuid::Uuid;

    fn known() -> Vec<KnownSchema> {
        let schema = |(index, (name, text)): (usize, &(&str, &str))| KnownSchema {
            name: (*name).to_owned(),
            id: Some(SchemaId(7 + u32::try_from(index).unwrap())),
            text: (*text).to_owned(),
        };
        RELEASED.iter().enumerate().map(schema).collect()
    }

    /// A click of the newest schema, whose id is 8.
    fn value() -> Vec<u8> {
        let click = RawClick {
            client_ip: Some(&[127, 0, 0, 1]),
            ..RawClick::new(Uuid::from_u128(1), 1_764_000_000_000_000, "spring")
        };
        let mut value = Vec::new();
        Encoder::new(SchemaId(8)).encode(&click, &mut value).unwrap();
        value
    }

    #[test]
    fn a_whole_click_decodes_with_its_schema_and_shows_its_facts() {
        let found = inspect(&value(), &known());
        assert_eq!((found.frame_schema_id, found.rest), (Some(8), value().len()));
        let [old, newest] = &found.readings[..] else { panic!("{found:?}") };
        assert!(newest.is_of_frame && !old.is_of_frame);
        assert_eq!((newest.begins, &newest.stop), (5, &None));
        assert!(old.stop.is_some(), "the older schema leaves bytes: {old:?}");
        let of = |name: &str| newest.fields.iter().find(|field| field.name == name).unwrap();
        assert_eq!(of("slug").value, "spring");
        assert_eq!(of("event_id").text, Some(Uuid::from_u128(1).to_string()));
        assert_eq!(of("occurred_at").text.as_deref(), Some("2025-11-24T16:00:00Z"));
        assert_eq!(of("client_ip").text.as_deref(), Some("127.0.0.1"));
    }

    #[test]
    fn decoding_stops_at_the_first_byte_of_the_field_that_is_cut_or_damaged() {
        let value = value();
        let slug = value.windows(6).position(|six| six == b"spring").unwrap();
        let stop = |value: &[u8]| {
            let found = inspect(value, &known());
            let stop = found.readings[1].stop.clone().unwrap();
            assert_eq!(found.readings[1].fields.len(), if stop.field == "slug" { 5 } else { 2 });
            (stop.field, stop.byte)
        };
        // The length of the slug is one byte before it.
        assert_eq!(stop(&value[..slug + 3]), ("slug".to_owned(), slug - 1));
        let mut long = value.clone();
        long[slug - 1] = 0xfe;
        long.truncate(slug + 6);
        assert_eq!(stop(&long), ("slug".to_owned(), slug - 1));
        let mut symbol = value;
        symbol[slug - 4] = 0x7e;
        assert_eq!(stop(&symbol), ("origin".to_owned(), slug - 4));
    }

    #[test]
    fn trailing_bytes_a_missing_frame_and_an_unusable_schema_are_named() {
        let whole = value();
        let found = inspect(&[&whole[..], &[9, 9]].concat(), &known());
        let stop = found.readings[1].stop.clone().unwrap();
        assert_eq!((stop.field.as_str(), stop.byte), ("", whole.len()));
        assert_eq!(stop.cause, "2 bytes follow the datum");
        assert_eq!(found.rest, whole.len());

        let found = inspect(&[&b"{"[..], &whole[1..]].concat(), &known());
        assert_eq!((found.readings.len(), found.rest), (4, 0));
        assert!(found.frame_error.is_some());
        let begins: Vec<usize> = found.readings.iter().map(|reading| reading.begins).collect();
        assert_eq!(begins, [0, 5, 0, 5]);
        assert_eq!(found.readings[3].stop, None, "only the magic byte is wrong");

        for short in [&[][..], &[0], &[0, 0, 0, 1], b"{"] {
            let found = inspect(short, &known());
            assert!(found.readings.is_empty() && found.frame_error.is_some(), "{short:?}");
        }
        let broken = KnownSchema { text: "{".to_owned(), ..known()[0].clone() };
        let found = inspect(&whole, &[broken]);
        assert!(found.readings[0].stop.as_ref().unwrap().cause.contains("cannot be used"));
        assert_eq!(found.rest, 5);
    }

    proptest! {
        #[test]
        fn any_value_is_inspected_within_its_bounds(
            noise in prop::collection::vec(any::<u8>(), 0..200),
            cut in 0_usize..200,
            at in 0_usize..200,
        ) {
            let whole = value();
            let mut value = whole[..cut.min(whole.len())].to_vec();
            value.splice(at.min(value.len()).., noise);
            let found = inspect(&value, &known());
            prop_assert!(found.rest <= value.len().max(5));
            for reading in &found.readings {
                let end = reading.stop.as_ref().map_or(value.len(), |stop| stop.byte);
                prop_assert!((reading.begins..=value.len()).contains(&end), "{reading:?}");
            }
            let json = serde_json::to_string(&found).unwrap();
            prop_assert!(json.len() < 20_000 + 40 * value.len(), "{} bytes", json.len());
        }
    }
}
