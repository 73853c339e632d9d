//! Why a decoder refuses a datum.

use thiserror::Error;

use crate::click::ContractError;

/// Longest text of an error, bytes: a library's text may repeat the record.
const TEXT_BYTES_MAX: usize = 512;

/// Why a datum is not a click or a link.
#[derive(Debug, Error)]
pub enum DecodeError {
    /// The bytes do not follow the writer's schema, or the writer's schema is not a click's.
    #[error("not a click by its writer's schema: {0}")]
    Avro(String),
    /// The datum ends before the bytes do.
    #[error("{0} bytes follow the datum")]
    TrailingBytes(usize),
    /// The datum is longer than any click or link.
    #[error("the datum has {0} bytes, more than any click")]
    DatumTooLong(usize),
    /// The types fit, but the click breaks a rule of the schema.
    #[error(transparent)]
    Contract(#[from] ContractError),
}

impl DecodeError {
    /// [`DecodeError::Avro`] with the start of `cause`.
    pub(crate) fn avro(cause: impl std::fmt::Display) -> Self {
        let mut text = cause.to_string();
        if text.len() > TEXT_BYTES_MAX {
            text.truncate(text.floor_char_boundary(TEXT_BYTES_MAX));
            text.push('…');
        }
        Self::Avro(text)
    }
}
