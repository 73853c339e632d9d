//! Clicks as Avro data by the newest schema, before the registry's id of it is known.

use schemas::{EncodeError, Encoder, RawClick, SchemaId, unframe};

/// Writes clicks; the relay frames them when it knows the id.
#[derive(Debug)]
pub struct DatumEncoder(Encoder);

impl DatumEncoder {
    /// An encoder of the newest schema.
    ///
    /// # Errors
    /// Only when the released schema itself does not parse.
    pub fn new() -> Result<Self, EncodeError> {
        Encoder::new(SchemaId(0)).map(Self)
    }

    /// The datum of a click; `buffer` is overwritten.
    ///
    /// # Errors
    /// A click that breaks its contract; nothing of it may be sent.
    pub fn encode<'a>(
        &self,
        click: &RawClick<'_>,
        buffer: &'a mut Vec<u8>,
    ) -> Result<&'a [u8], EncodeError> {
        self.0.encode(click, buffer)?;
        Ok(unframe(buffer).map_or(&[], |(_, datum)| datum))
    }
}
