//! Records for the topic of links, generated from a seed. Pure.
//!
//! None has the id or the slug of an honest link: a client that may write to the topic may change every
//! link.

use schemas::{LinkEncoder, RawLink, SchemaId};

use super::click_variants::{around, bytes, flipped};
use crate::raw_produce::BatchRecord;
use crate::seeded_random::SeededRandom;

/// Bytes from which a record is refused.
const LINK_BYTES: usize = 16 << 10;

/// Generates the records.
#[derive(Debug)]
pub(super) struct LinkVariants {
    encoder: LinkEncoder,
}

impl LinkVariants {
    /// For a topic whose newest schema has this id.
    pub(super) fn new(id: SchemaId) -> Self {
        Self { encoder: LinkEncoder::new(id).expect("the released schema parses") }
    }

    /// A record.
    pub(super) fn record(&self, random: &mut SeededRandom) -> BatchRecord {
        let id = format!("hostile-{:016x}", random.bits());
        let target = "x".repeat(around(random, &[LINK_BYTES, 2_048, 5]));
        let version = i64::try_from(random.between(0, 5)).expect("a few");
        let slug = format!("h{}", random.index(1_000));
        let link = RawLink {
            id: &id,
            version: random.one(&[version, -1, i64::MAX, i64::MIN, 1, 2]),
            domain: "",
            slug: &slug,
            target: if random.once_in(3) { &target } else { "https://hostile.example/" },
            status: random.one(&[302, 301, 0, -1, i32::MAX]),
            disabled: random.once_in(4),
            expires_at: random.one(&[None, Some(0), Some(i64::MAX), Some(i64::MIN)]),
            pass_query: random.once_in(2),
            opt_out: random.once_in(2),
            deleted: random.once_in(4),
            changed_at: random.one(&[0, i64::MAX, i64::MIN]),
        };
        let mut good = Vec::new();
        self.encoder.encode(&link, &mut good).expect("every link can be written");
        let value = match random.index(7) {
            0 => None,
            1 => Some(bytes(random, 40)),
            2 => Some(flipped(random, good)),
            3 => Some(good[..random.index(good.len())].to_vec()),
            4 => Some([good, bytes(random, 50)].concat()),
            _ => Some(good),
        };
        let key = match random.index(5) {
            0 => Some(vec![0xff; around(random, &[16, 70_000])]),
            _ => Some(id.into_bytes()),
        };
        BatchRecord { key, value, headers: Vec::new() }
    }
}
