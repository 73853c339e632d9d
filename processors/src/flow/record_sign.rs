//! What a record is a sign of, for the storm breaker. Pure.

use std::hash::{DefaultHasher, Hash as _, Hasher as _};

/// The source of a click, in few bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct SourceHash(u64);

impl SourceHash {
    /// That of this source.
    pub fn of(source: &str) -> Self {
        let mut hasher = DefaultHasher::new();
        source.hash(&mut hasher);
        Self(hasher.finish())
    }
}

/// What a record says of the schema, the registry and the topic that it is read by.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RecordSign {
    /// They are right: it was decoded.
    Good,
    /// Nothing: what it holds is wrong, whatever it is read by. One sender may write any number of
    /// these.
    Content,
    /// Its time is ahead of its log time: the clock of this source is wrong, or the broker's.
    Clock {
        /// The source.
        source: SourceHash,
        /// When the click occurred, microseconds since 1970.
        occurred_at_us: i64,
    },
    /// They may be wrong: it cannot be decoded.
    Schema,
}

impl RecordSign {
    /// Whether it waits for the storm breaker before it becomes a dead letter.
    pub fn is_suspect(self) -> bool {
        matches!(self, Self::Clock { .. } | Self::Schema)
    }
}
