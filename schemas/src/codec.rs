//! Bytes to click by the schema that they were written with, and a click with the registry's frame.
//!
//! `serde_avro_fast` reads because it borrows from the record and, unlike others, refuses a record
//! that is cut short; that nothing may follow the datum is checked here, because no Avro decoder
//! checks it.

use crate::click::{ContractError, RawClick};
use crate::decode_error::DecodeError;
use crate::frame::{SchemaId, frame};
use crate::writer_schema::WriterSchema;

/// Reads clicks of one writer's schema. Make one for each schema id and keep it.
#[derive(Debug)]
pub struct Decoder {
    writer: WriterSchema,
}

impl Decoder {
    /// A decoder for what was written with `schema` (Avro JSON).
    ///
    /// # Errors
    /// [`DecodeError::Avro`] when the schema does not parse, or would allow a datum of unbounded
    /// cost.
    pub fn new(schema: &str) -> Result<Self, DecodeError> {
        WriterSchema::parse(schema).map(|writer| Self { writer })
    }

    /// Decodes one datum, which must fill `datum` to its last byte.
    ///
    /// # Errors
    /// Any [`DecodeError`]; the same bytes fail the same way each time.
    pub fn decode<'a>(&self, datum: &'a [u8]) -> Result<RawClick<'a>, DecodeError> {
        let click: RawClick<'_> = self.writer.read(datum)?;
        click.check()?;
        click.check_lengths()?;
        Ok(click)
    }
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
