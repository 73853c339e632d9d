//! Confluent wire format: magic byte 0, four bytes of schema id, the datum.

use thiserror::Error;

const MAGIC: u8 = 0;
const HEAD: usize = 5;

/// Id that the registry gave a schema; stored in the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct SchemaId(pub u32);

impl std::fmt::Display for SchemaId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.fmt(f)
    }
}

/// Why bytes are not a framed datum.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum FrameError {
    /// Fewer than the five bytes of the head (0 is a tombstone or an empty value).
    #[error("{0} bytes are too few for a frame, whose head has 5 bytes")]
    TooShort(usize),
    /// The first byte is not 0: the writer did not use the registry's framing.
    #[error("magic byte is {0}, not 0: the value is not in the registry's wire format")]
    BadMagic(u8),
}

/// Clears `buffer` and starts a framed value in it; the caller appends the datum.
pub fn frame(id: SchemaId, buffer: &mut Vec<u8>) {
    buffer.clear();
    buffer.push(MAGIC);
    buffer.extend_from_slice(&id.0.to_be_bytes());
}

/// Splits a framed value into schema id and datum.
///
/// # Errors
/// [`FrameError`]: there is no head of the registry's wire format.
pub fn unframe(value: &[u8]) -> Result<(SchemaId, &[u8]), FrameError> {
    match value {
        [MAGIC, a, b, c, d, datum @ ..] => {
            Ok((SchemaId(u32::from_be_bytes([*a, *b, *c, *d])), datum))
        }
        [magic, ..] if *magic != MAGIC => Err(FrameError::BadMagic(*magic)),
        short => {
            debug_assert!(short.len() < HEAD);
            Err(FrameError::TooShort(short.len()))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_head_that_is_not_ours_is_named() {
        assert_eq!(unframe(&[]), Err(FrameError::TooShort(0)));
        assert_eq!(unframe(&[0, 0, 0, 1]), Err(FrameError::TooShort(4)));
        assert_eq!(unframe(b"{}"), Err(FrameError::BadMagic(b'{')));
        assert_eq!(unframe(&[0, 0, 0, 1, 2]), Ok((SchemaId(258), &[][..])));
    }

    proptest! {
        #[test]
        fn what_is_framed_comes_back(id: u32, datum: Vec<u8>) {
            let mut buffer = vec![9; 3];
            frame(SchemaId(id), &mut buffer);
            buffer.extend_from_slice(&datum);
            prop_assert_eq!(unframe(&buffer), Ok((SchemaId(id), &datum[..])));
        }
    }
}
