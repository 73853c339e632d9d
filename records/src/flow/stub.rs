//! A stub: what is kept of a record that is larger than a dead letter may be, and of a batch that the
//! library cannot read. Pure.

use sha2::{Digest as _, Sha256};

/// Maximum bytes of a value that is kept whole. A click has a few KiB, and a topic refuses an
/// incompressible value of 1 MiB.
pub const VALUE_BYTES_MAX: usize = 1 << 20;
/// Maximum bytes of a key that is kept whole.
pub const KEY_BYTES_MAX: usize = 16 << 10;
/// Maximum bytes of all names and values of headers that are kept whole.
pub const HEADER_BYTES_MAX: usize = 32 << 10;
/// Maximum of headers that are kept whole.
pub const HEADERS_MAX: usize = 1_000;

/// What was cut.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Stub {
    /// Parts of a record.
    Record(CutParts),
    /// All records of a batch that the library cannot read.
    Batch {
        /// Offset of the last one.
        last_offset: i64,
    },
}

/// The parts of a record that were cut.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct CutParts {
    /// Its value.
    pub value: Option<CutBytes>,
    /// Its key.
    pub key: Option<CutBytes>,
    /// Its headers.
    pub headers: Option<CutHeaders>,
}

/// The replacement of headers that were cut.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CutHeaders {
    /// Number of headers.
    Count(usize),
    /// The library does not read the headers.
    Unreadable,
}

impl CutParts {
    /// Whether nothing was cut.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

/// The replacement of bytes that were cut.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CutBytes {
    /// Number of bytes.
    pub bytes: usize,
    /// Their SHA-256.
    pub sha256: [u8; 32],
}

impl CutBytes {
    /// The replacement of `bytes`.
    pub fn of(bytes: &[u8]) -> Self {
        Self { bytes: bytes.len(), sha256: Sha256::digest(bytes).into() }
    }

    /// The hash as text.
    pub fn sha256_hex(&self) -> String {
        self.sha256.iter().map(|byte| format!("{byte:02x}")).collect()
    }
}
