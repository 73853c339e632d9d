//! Random ids of queries, in the form of a UUID, and tags of exceptions.
#![expect(clippy::disallowed_methods, reason = "ids and tags are random")]

use std::hash::{BuildHasher as _, RandomState};
use std::time::Instant;

/// A random id in the form of a UUID; the standard library's hash seeds are random enough.
pub(crate) fn random_id(now: Instant) -> String {
    let half = || RandomState::new().hash_one(now);
    let id = (u128::from(half()) << 64 | u128::from(half())) & !(0xf << 76) & !(0b11 << 62)
        | 4 << 76
        | 0b10 << 62;
    let hex = format!("{id:032x}");
    [&hex[..8], &hex[8..12], &hex[12..16], &hex[16..20], &hex[20..]].join("-")
}

/// Sixteen random letters, ClickHouse's length for the tag of an exception.
pub(crate) fn random_tag(now: Instant) -> String {
    let digits =
        random_id(now).into_bytes().into_iter().filter(u8::is_ascii_hexdigit).rev().take(16);
    digits.map(|digit| char::from(b'a' + digit % 26)).collect()
}
