//! A writer's schema that decodes any datum at a bounded cost.
//!
//! Each type of such a schema takes at least one byte of the datum. So a datum of [`DATUM_BYTES_MAX`]
//! bytes, the longest that it accepts, takes at most `DATUM_BYTES_MAX * (DEPTH_MAX + 1)` steps, for any
//! lengths that it claims: a sequence cannot have more items than the datum has bytes. A schema with a type
//! of no bytes (a null outside a union, a `fixed` of size 0, a record without fields) is refused: with
//! such a type, an array of a billion items has six bytes.

use std::marker::PhantomData;

use serde::Deserialize;
use serde::de::DeserializeSeed;
use serde_avro_fast::Schema;
use serde_avro_fast::de::read::SliceRead;
use serde_avro_fast::de::{DeserializerConfig, DeserializerState};
use serde_avro_fast::schema::{RegularType, SchemaKey, SchemaMut};

use crate::decode_error::DecodeError;

/// Bytes of the longest datum that it accepts. The texts of a click have 19 KiB at most.
pub const DATUM_BYTES_MAX: usize = 64 * 1024;
/// Bytes of the longest schema that it parses. That of clicks has 8 KiB.
pub const SCHEMA_BYTES_MAX: usize = 64 * 1024;
/// Types inside each other, from the record down to a value. Clicks and links have three.
pub const DEPTH_MAX: usize = 8;
/// Items of one array or map of a field that this version does not know.
pub const ITEMS_MAX: usize = 1_000;

/// A writer's schema.
#[derive(Debug)]
pub(crate) struct WriterSchema(Schema);

impl WriterSchema {
    /// Parses Avro JSON.
    ///
    /// # Errors
    /// As [`checked`].
    pub(crate) fn parse(text: &str) -> Result<Self, DecodeError> {
        checked(text).and_then(Self::freeze)
    }

    /// A schema that was [`checked`].
    ///
    /// # Errors
    /// [`DecodeError::Avro`]: it has a type that contains itself without end.
    pub(crate) fn freeze(schema: SchemaMut) -> Result<Self, DecodeError> {
        schema.freeze().map(Self).map_err(DecodeError::avro)
    }

    /// Reads one datum, which must fill `datum` to its last byte.
    ///
    /// # Errors
    /// It is too long, does not follow the schema, or ends before its bytes do.
    pub(crate) fn read<'a, T: Deserialize<'a>>(&self, datum: &'a [u8]) -> Result<T, DecodeError> {
        if datum.len() > DATUM_BYTES_MAX {
            return Err(DecodeError::DatumTooLong(datum.len()));
        }
        let (value, trailing) = self.read_with(datum, PhantomData);
        match (value?, trailing) {
            (value, 0) => Ok(value),
            (_, trailing) => Err(DecodeError::TrailingBytes(trailing)),
        }
    }

    /// Reads one datum of at most [`DATUM_BYTES_MAX`] bytes, and returns how many bytes it did not read.
    pub(crate) fn read_with<'a, S: DeserializeSeed<'a>>(
        &self,
        datum: &'a [u8],
        seed: S,
    ) -> (Result<S::Value, DecodeError>, usize) {
        debug_assert!(datum.len() <= DATUM_BYTES_MAX);
        let mut config = DeserializerConfig::new(&self.0);
        config.max_seq_size = ITEMS_MAX;
        config.allowed_depth = DEPTH_MAX;
        let mut state = DeserializerState::with_config(SliceRead::new(datum), config);
        let value = seed.deserialize(state.deserializer()).map_err(DecodeError::avro);
        (value, remaining(state.into_reader()))
    }
}

/// Parses Avro JSON.
///
/// # Errors
/// [`DecodeError::Avro`]: it does not parse, is too long, or has a type of no bytes.
pub(crate) fn checked(text: &str) -> Result<SchemaMut, DecodeError> {
    if text.len() > SCHEMA_BYTES_MAX {
        let bytes = text.len();
        return Err(DecodeError::avro(format_args!(
            "the schema has {bytes} bytes, more than {SCHEMA_BYTES_MAX}"
        )));
    }
    let schema: SchemaMut = text.parse().map_err(DecodeError::avro)?;
    if let Some(what) = empty_type(&schema) {
        return Err(DecodeError::avro(format_args!(
            "the schema has {what}, which takes no byte of a datum"
        )));
    }
    Ok(schema)
}

fn remaining(mut reader: SliceRead<'_>) -> usize {
    use std::io::BufRead as _;
    reader.fill_buf().map_or(0, <[u8]>::len)
}

/// The first type that takes no byte of a datum.
fn empty_type(schema: &SchemaMut) -> Option<&'static str> {
    let is_null = |key: SchemaKey| {
        schema.get(key).is_some_and(|node| matches!(node.type_, RegularType::Null))
    };
    let of_node = |kind: &RegularType| match kind {
        RegularType::Array(array) if is_null(array.items) => Some("an array of nulls"),
        RegularType::Map(map) if is_null(map.values) => Some("a map of nulls"),
        RegularType::Record(record) if record.fields.is_empty() => Some("a record without fields"),
        RegularType::Record(record) if record.fields.iter().any(|field| is_null(field.type_)) => {
            Some("a field that is always null")
        }
        RegularType::Fixed(fixed) if fixed.size == 0 => Some("a fixed of size 0"),
        RegularType::Null
        | RegularType::Boolean
        | RegularType::Int
        | RegularType::Long
        | RegularType::Float
        | RegularType::Double
        | RegularType::Bytes
        | RegularType::String
        | RegularType::Array(_)
        | RegularType::Map(_)
        | RegularType::Union(_)
        | RegularType::Record(_)
        | RegularType::Enum(_)
        | RegularType::Fixed(_) => None,
    };
    schema.nodes().iter().find_map(|node| of_node(&node.type_))
}

#[cfg(test)]
mod tests {
    use serde::de::IgnoredAny;

    use super::*;

    /// A record with a field `x` of this type (Avro JSON).
    fn with_field(kind: &str) -> String {
        format!(r#"{{"type":"record","name":"R","fields":[{{"name":"x","type":{kind}}}]}}"#)
    }

    #[test]
    fn h7_a_schema_with_a_type_of_no_bytes_is_refused() {
        let empty = r#"{"type":"record","name":"E","fields":[]}"#;
        let zero = r#"{"type":"fixed","name":"Z","size":0}"#;
        let deep =
            format!(r#"{{"type":"record","name":"D","fields":[{{"name":"e","type":{empty}}}]}}"#);
        for kind in [
            r#""null""#.to_owned(),
            r#"{"type":"array","items":"null"}"#.to_owned(),
            r#"{"type":"array","items":{"type":"array","items":"null"}}"#.to_owned(),
            r#"{"type":"map","values":"null"}"#.to_owned(),
            r#"["null",{"type":"array","items":"null"}]"#.to_owned(),
            empty.to_owned(),
            zero.to_owned(),
            deep.clone(),
            format!(r#"{{"type":"array","items":{empty}}}"#),
            format!(r#"{{"type":"array","items":{zero}}}"#),
            format!(r#"{{"type":"map","values":{deep}}}"#),
            format!(r#"{{"type":"array","items":["null",{zero}]}}"#),
            r#"{"type":"fixed","name":"Z","size":0,"logicalType":"decimal","precision":1}"#
                .to_owned(),
        ] {
            let parsed = WriterSchema::parse(&with_field(&kind));
            assert!(matches!(parsed, Err(DecodeError::Avro(_))), "{kind}: {parsed:?}");
        }
        assert!(WriterSchema::parse(r#"{"type":"array","items":"null"}"#).is_err(), "the root too");
        let long = " ".repeat(SCHEMA_BYTES_MAX);
        assert!(WriterSchema::parse(&(long + r#""string""#)).is_err(), "a long text");
    }

    #[test]
    fn h7_a_datum_longer_than_any_click_is_refused_unread() {
        let schema = WriterSchema::parse(&with_field(r#""bytes""#)).unwrap();
        let read = schema.read::<IgnoredAny>(&vec![0; DATUM_BYTES_MAX + 1]);
        assert!(matches!(read, Err(DecodeError::DatumTooLong(_))), "{read:?}");
        assert!(schema.read::<IgnoredAny>(&[4, 1, 2]).is_ok());
    }

    #[test]
    fn h7_a_sequence_has_a_bound_and_a_depth() {
        let schema = WriterSchema::parse(&with_field(r#"{"type":"array","items":"boolean"}"#));
        let schema = schema.unwrap();
        let of = |items: &[u8]| schema.read::<IgnoredAny>(&[&[0xd0, 0x0f][..], items].concat());
        assert!(of(&[[1_u8; ITEMS_MAX].as_slice(), &[0]].concat()).is_ok(), "1,000 items");
        assert!(of(&[[1_u8; ITEMS_MAX].as_slice(), &[2, 1, 0]].concat()).is_err(), "one more");
        let list = r#"{"type":"record","name":"L","fields":[{"name":"next","type":["null","L"]}]}"#;
        let list = WriterSchema::parse(&with_field(list)).unwrap();
        assert!(list.read::<IgnoredAny>(&[2, 2, 0]).is_ok(), "a short list");
        assert!(
            list.read::<IgnoredAny>(&[[2_u8; 60].as_slice(), &[0]].concat()).is_err(),
            "a long one"
        );
    }
}
