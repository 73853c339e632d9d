//! Bytes to click by the schema that they were written with, and a click with the registry's frame.
//!
//! `serde_avro_fast` reads because it borrows from the record and, unlike others, refuses a record
//! that is cut short; that nothing may follow the datum is checked here, because no Avro decoder
//! checks it.

use serde::Deserialize;
use serde_avro_fast::Schema;
use serde_avro_fast::de::{DeserializerState, read::SliceRead};
use thiserror::Error;

use crate::click::{ContractError, RawClick};
use crate::frame::{SchemaId, frame};

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
    Contract(#[from] ContractError),
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
    /// Any [`DecodeError`]; the same bytes fail the same way each time.
    pub fn decode<'a>(&self, datum: &'a [u8]) -> Result<RawClick<'a>, DecodeError> {
        let mut state = DeserializerState::from_slice(datum, &self.writer);
        let click = RawClick::deserialize(state.deserializer())
            .map_err(|error| DecodeError::Avro(error.to_string()))?;
        let trailing = remaining(state.into_reader());
        if trailing > 0 {
            return Err(DecodeError::TrailingBytes(trailing));
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
#[derive(Debug, Clone, Copy)]
pub struct Encoder(SchemaId);

impl Encoder {
    /// An encoder that frames with the id which the registry gave [`crate::NEWEST`].
    pub fn new(id: SchemaId) -> Self {
        Self(id)
    }

    /// Writes the framed click into `buffer`, replacing what was there.
    ///
    /// # Errors
    /// A click that breaks its [`ContractError`]; nothing of it may be sent.
    pub fn encode(self, click: &RawClick<'_>, buffer: &mut Vec<u8>) -> Result<(), ContractError> {
        frame(self.0, buffer);
        click.write_datum(buffer)
    }
}
