//! What is known of a schema id, by which its records are decoded or refused. Pure.

use std::collections::HashMap;
use std::sync::Arc;

use schemas::{Decoder, SchemaId, SchemaRefusal};

use crate::error::RecordError;

/// What the registry has for a schema id.
#[derive(Debug, Clone)]
pub enum CachedSchema {
    /// The decoder of records that were written with it.
    Decoder(Arc<Decoder>),
    /// Records with this id are refused.
    Refused(SchemaRefusal),
    /// The schema of this id is not one of clicks.
    Unusable(Arc<str>),
    /// The subject does not have this id yet, or the registry does not answer.
    Open,
}

impl CachedSchema {
    /// The schema of another record parses, too; its records then fail one by one, with the decoder's
    /// error.
    pub fn parsed(text: &str) -> Self {
        match Decoder::new(text) {
            Ok(decoder) => Self::Decoder(Arc::new(decoder)),
            Err(error) => Self::Unusable(error.to_string().into()),
        }
    }

    /// The decoder.
    ///
    /// # Errors
    /// Why a record with this id cannot be decoded.
    pub fn decoder(&self, id: SchemaId) -> Result<&Decoder, RecordError> {
        match self {
            Self::Decoder(decoder) => Ok(decoder),
            Self::Unusable(why) => Err(RecordError::SchemaUnusable(id, why.to_string())),
            Self::Refused(refusal) => Err(Self::refusal(*refusal, id)),
            Self::Open => Err(RecordError::SchemaUnknown(id)),
        }
    }

    /// Why records with a refused id cannot be decoded.
    pub fn refusal(refusal: SchemaRefusal, id: SchemaId) -> RecordError {
        match refusal {
            SchemaRefusal::OtherSubject => RecordError::SchemaOfOtherSubject(id),
            SchemaRefusal::Unknown => RecordError::SchemaUnknown(id),
        }
    }
}

/// Schemas by id.
pub type Schemas = HashMap<SchemaId, CachedSchema>;
