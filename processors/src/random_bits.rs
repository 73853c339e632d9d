//! Random bits of job ids.
#![expect(clippy::disallowed_methods, reason = "random bits are read here")]

/// The random bits of one id; six of its 128 bits are those of a random UUID's version.
pub fn random_bits() -> [u8; 16] {
    uuid::Uuid::new_v4().into_bytes()
}
