//! Decodes a click by its writer's schema, and encodes a click with the registry's frame.
//!
//! The reader is `serde_avro_fast`: it borrows from the record and, unlike others, refuses a truncated
//! record. The check that nothing follows the datum is here, because no Avro decoder has it.

use crate::click::{ContractError, RawClick};
use crate::decode_error::DecodeError;
use crate::frame::{SchemaId, frame};
use crate::writer_schema::WriterSchema;

/// Reads clicks of one writer's schema. Callers keep one for each schema id.
#[derive(Debug)]
pub struct Decoder {
    writer: WriterSchema,
}

impl Decoder {
    /// A decoder of records that were written with `schema` (Avro JSON).
    ///
    /// # Errors
    /// [`DecodeError::Avro`]: the schema does not parse, or allows a datum of unbounded cost.
    pub fn new(schema: &str) -> Result<Self, DecodeError> {
        WriterSchema::parse(schema).map(|writer| Self { writer })
    }

    /// Decodes one datum, which must fill `datum` to its last byte.
    ///
    /// # Errors
    /// Any [`DecodeError`]; the same bytes always fail with the same error.
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
    /// An encoder that frames with `id`, the registry's id of [`crate::NEWEST`].
    pub fn new(id: SchemaId) -> Self {
        Self(id)
    }

    /// Replaces the content of `buffer` with the framed click.
    ///
    /// # Errors
    /// The click breaks a rule of the schema ([`ContractError`]); the caller sends nothing of it.
    pub fn encode(self, click: &RawClick<'_>, buffer: &mut Vec<u8>) -> Result<(), ContractError> {
        frame(self.0, buffer);
        click.write_datum(buffer)
    }
}
