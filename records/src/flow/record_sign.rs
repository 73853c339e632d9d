//! What the decoding of a record indicates, for the storm breaker. Pure.

use std::hash::{DefaultHasher, Hash as _, Hasher as _};

/// A hash of the source of a click.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct SourceHash(u64);

impl SourceHash {
    /// The hash of this source.
    pub fn of(source: &str) -> Self {
        let mut hasher = DefaultHasher::new();
        source.hash(&mut hasher);
        Self(hasher.finish())
    }
}

/// What a record indicates about the schema, the registry and the topic.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RecordSign {
    /// They are right: the record was decoded.
    Good,
    /// Nothing: the content of the record is wrong, whatever the schema. One sender may write any number
    /// of these.
    Content,
    /// The time of the click is ahead of the log time: the clock of this source or that of the broker is
    /// wrong.
    Clock {
        /// The source.
        source: SourceHash,
        /// When the click occurred, microseconds since 1970.
        occurred_at_us: i64,
    },
    /// They may be wrong: the record cannot be decoded.
    Schema,
}

impl RecordSign {
    /// Whether it waits for the storm breaker before it becomes a dead letter.
    pub fn is_suspect(self) -> bool {
        matches!(self, Self::Clock { .. } | Self::Schema)
    }
}
