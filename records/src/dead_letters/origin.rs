//! The origin of a dead letter: the record that failed first, whichever of its redriven copies fails
//! later. Pure.

use std::fmt;
use std::str::FromStr;

use sha2::{Digest as _, Sha256};

use crate::flow::block::Record;
use crate::flow::origin_headers::OriginHeaders;

/// Topic, partition, offset and log time of a record that failed first.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Origin {
    /// Topic.
    pub topic: String,
    /// Partition.
    pub partition: u32,
    /// Offset.
    pub offset: u64,
    /// When the broker appended it, milliseconds since 1970.
    pub logged_at_ms: i64,
}

/// A text that names no origin.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is not topic:partition:offset:log time, such as clicks.raw.v1:3:41:1764000000000")]
pub struct InvalidOrigin(String);

impl Origin {
    /// The bits of the event id that a repair sets: two repairs of one record at any times set the same
    /// id, so that its copies are one click.
    pub fn id_bits(&self) -> [u8; 16] {
        let mut bits = [0; 16];
        bits.copy_from_slice(&Sha256::digest(self.to_string())[..16]);
        bits
    }
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { topic, partition, offset, logged_at_ms } = self;
        write!(f, "{topic}:{partition}:{offset}:{logged_at_ms}")
    }
}

impl FromStr for Origin {
    type Err = InvalidOrigin;

    fn from_str(text: &str) -> Result<Self, InvalidOrigin> {
        let invalid = || InvalidOrigin(text.chars().take(300).collect());
        let mut parts = text.split(':');
        let mut next = || parts.next().ok_or_else(invalid);
        let origin = Self {
            topic: next()?.to_owned(),
            partition: next()?.parse().map_err(|_| invalid())?,
            offset: next()?.parse().map_err(|_| invalid())?,
            logged_at_ms: next()?.parse().map_err(|_| invalid())?,
        };
        if origin.topic.is_empty() || parts.next().is_some() {
            return Err(invalid());
        }
        Ok(origin)
    }
}

/// The origin that a record names, and the number of its redrive; `None` for a record that no redrive
/// sent. A record that names no origin costs nothing.
pub fn redriven(record: Record<'_>) -> Option<(Origin, u32)> {
    record.names_origin().then(|| origin_of(record.origin_headers()))?
}

/// As [`redriven`], for a record with these headers.
pub fn origin_of(headers: OriginHeaders<'_>) -> Option<(Origin, u32)> {
    let redrive = headers.redrives()?.parse().ok().filter(|number| *number > 0)?;
    Some((headers.origin()?.parse().ok()?, redrive))
}

/// The log time by which a record is judged, milliseconds since 1970: of a redriven copy, that of its
/// origin, unless the copy has an earlier one. The clocks of two brokers differ, and a sender may forge an
/// origin: neither moves the bounds of a click's time forward.
pub fn first_logged_at_ms(origin: Option<&Origin>, logged_at_ms: i64) -> i64 {
    origin.map_or(logged_at_ms, |origin| origin.logged_at_ms.min(logged_at_ms))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::flow::block::{Block, Header, RecordMetadata};
    use schemas::headers as names;

    #[test]
    fn an_origin_is_read_as_it_was_written_or_refused() {
        let text = "clicks.raw.v1:3:41:1764000000000";
        let origin: Origin = text.parse().unwrap();
        assert_eq!((origin.partition, origin.offset), (3, 41));
        assert_eq!(origin.to_string(), text);
        for bad in ["", ":1:2:3", "t:1:2", "t:1:2:3:4", "t:-1:2:3", "t:1:-2:3", "t:x:2:3", "t:1:2:"]
        {
            assert!(bad.parse::<Origin>().is_err(), "{bad}");
        }
    }

    #[test]
    fn a_record_is_redriven_by_a_valid_origin_and_judged_by_the_earlier_time() {
        let origin = "t:0:7:1000";
        for (value, redrive, logged_at_ms, is_redriven, judged_by) in [
            (Some(origin), Some("1"), 1000, true, 1000),
            (Some(origin), Some("4294967295"), 5000, true, 1000),
            (Some(origin), Some("0"), 5000, false, 5000),
            (Some(origin), Some("-1"), 5000, false, 5000),
            (Some(origin), None, 5000, false, 5000),
            (None, Some("1"), 5000, false, 5000),
            (Some("t:0:7"), Some("1"), 5000, false, 5000),
            // The broker of the copy has another clock, or the origin is forged.
            (Some(origin), Some("1"), 999, true, 999),
        ] {
            let metadata = RecordMetadata { partition: 0, offset: 9, epoch: 1, logged_at_ms };
            let of = |name, value: Option<&'static str>| {
                value.map(|value| Header { name, value: Some(value.as_bytes()) })
            };
            let headers =
                [of(names::DEAD_LETTER_ORIGIN, value), of(names::DEAD_LETTER_REDRIVES, redrive)];
            let mut block = Block::default();
            block.push(metadata, None, None, headers.into_iter().flatten());
            let found = redriven(block.records().next().unwrap());
            assert_eq!(found.is_some(), is_redriven, "{value:?} {redrive:?} {logged_at_ms}");
            let origin = found.map(|(origin, _)| origin);
            assert_eq!(first_logged_at_ms(origin.as_ref(), logged_at_ms), judged_by);
        }
    }
}
