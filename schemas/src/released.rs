//! The released versions of the click schema.

/// Released versions of the click schema, oldest first. A released file is never edited; producers
/// write the newest.
pub const RELEASED: &[(&str, &str)] = &[
    ("clicks.raw.v1.avsc", include_str!("../avro/clicks.raw.v1.avsc")),
    ("clicks.raw.v1.r2.avsc", include_str!("../avro/clicks.raw.v1.r2.avsc")),
];

/// The schema that producers write: the newest of [`RELEASED`].
pub const NEWEST: &str = RELEASED[RELEASED.len() - 1].1;
