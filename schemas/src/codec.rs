//! Bytes to click and back, by the schema that the bytes were written with.
//!
//! `serde_avro_fast` does the work because it borrows from the record and,
//! unlike others, refuses a record that is cut short; that nothing may follow
//! the datum is checked here, because no Avro decoder checks it.

use serde::{Deserialize, Serialize};
use serde_avro_fast::Schema;
use serde_avro_fast::de::{DeserializerState, read::SliceRead};
use serde_avro_fast::ser::{SerializerConfig, SerializerState};
use thiserror::Error;

use crate::{Contract, NEWEST, RawClick, SchemaId, frame};

/// Why a datum is not a click.
#[derive(Debug, Error)]
pub enum DecodeError {
    /// The bytes do not follow the writer's schema, or the writer's schema is not a click's.
    #[error("not a click by its writer's schema: {0}")]
    Avro(String),
    /// The datum ends before the bytes do.
    #[error("{0} bytes follow the datum")]
    TrailingBytes(usize),
    /// The types fit, a promise of the schema is broken.
    #[error(transparent)]
    Contract(#[from] Contract),
}

/// Why a schema or click cannot be written.
#[derive(Debug, Error)]
#[error("{0}")]
pub struct EncodeError(String);

impl EncodeError {
    pub(crate) fn new(error: impl std::fmt::Display) -> Self {
        Self(error.to_string())
    }
}

/// Reads clicks of one writer's schema. Make one for each schema id and keep it.
#[derive(Debug)]
pub struct Decoder {
    writer: Schema,
}

impl Decoder {
    /// A decoder for what was written with `schema` (Avro JSON).
    ///
    /// # Errors
    /// [`DecodeError::Avro`] when the schema does not parse.
    pub fn new(schema: &str) -> Result<Self, DecodeError> {
        let writer = schema.parse().map_err(|error| DecodeError::Avro(format!("{error}")))?;
        Ok(Self { writer })
    }

    /// Decodes one datum, which must fill `datum` to its last byte.
    ///
    /// # Errors
    /// Any [`DecodeError`]; the same bytes fail the same way for ever.
    pub fn decode<'a>(&self, datum: &'a [u8]) -> Result<RawClick<'a>, DecodeError> {
        let mut state = DeserializerState::from_slice(datum, &self.writer);
        let click = RawClick::deserialize(state.deserializer())
            .map_err(|error| DecodeError::Avro(error.to_string()))?;
        match remaining(state.into_reader()) {
            0 => {}
            trailing => return Err(DecodeError::TrailingBytes(trailing)),
        }
        click.check()?;
        Ok(click)
    }
}

pub(crate) fn remaining(mut reader: SliceRead<'_>) -> usize {
    use std::io::BufRead as _;
    reader.fill_buf().map_or(0, <[u8]>::len)
}

/// Writes clicks by the newest schema.
#[derive(Debug)]
pub struct Encoder {
    schema: Schema,
    id: SchemaId,
}

impl Encoder {
    /// An encoder that frames with the id which the registry gave [`NEWEST`].
    ///
    /// # Errors
    /// Only when the released schema itself does not parse.
    pub fn new(id: SchemaId) -> Result<Self, EncodeError> {
        let schema = NEWEST.parse().map_err(|error| EncodeError(format!("{error}")))?;
        Ok(Self { schema, id })
    }

    /// Writes the framed click into `buffer`, replacing what was there.
    ///
    /// # Errors
    /// A click that breaks its [`Contract`]; nothing of it may be sent.
    pub fn encode(&self, click: &RawClick<'_>, buffer: &mut Vec<u8>) -> Result<(), EncodeError> {
        click.check().map_err(|error| EncodeError(error.to_string()))?;
        frame(self.id, buffer);
        let mut config = SerializerConfig::new(&self.schema);
        let mut state = SerializerState::from_writer(buffer, &mut config);
        click.serialize(state.serializer()).map_err(|error| EncodeError(error.to_string()))
    }
}
