//! A schema as repairs and commands need it: with the rules of processing, and without them. Pure.

use schemas::{DecodeError, Decoder, PartialDecoder};

/// A schema of the subject of the topic.
#[derive(Debug)]
pub struct RecordSchema {
    /// Decodes as processing does.
    pub decoder: Decoder,
    /// Decodes as far as possible.
    pub partial: PartialDecoder,
}

impl RecordSchema {
    /// The schema of this text (Avro JSON).
    ///
    /// # Errors
    /// As [`Decoder::new`].
    pub fn new(text: &str) -> Result<Self, DecodeError> {
        Ok(Self { decoder: Decoder::new(text)?, partial: PartialDecoder::new(text)? })
    }
}
