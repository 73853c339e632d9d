//! The refused schema ids, by which no record is decoded: each for some minutes, and a bounded number.
//!
//! Pure: the caller gives the time.

use std::collections::HashMap;
use std::time::Duration;

use schemas::{SchemaId, SchemaRefusal};
use tokio::time::Instant;

/// Ids of one generation; there are two.
pub(crate) const GENERATION_MAX: usize = 8_192;
/// How long a refusal lasts. An id that the subject gets meanwhile is found within a second.
const TTL: Duration = Duration::from_secs(300);

/// A full newer generation replaces the older one.
#[derive(Debug, Default)]
pub(crate) struct RefusedIds {
    newer: HashMap<SchemaId, (SchemaRefusal, Instant)>,
    older: HashMap<SchemaId, (SchemaRefusal, Instant)>,
}

impl RefusedIds {
    /// Why the id is refused, if it is.
    pub(crate) fn get(&self, id: SchemaId, now: Instant) -> Option<SchemaRefusal> {
        let (refusal, expires_at) = self.newer.get(&id).or_else(|| self.older.get(&id))?;
        (now < *expires_at).then_some(*refusal)
    }

    /// Refuses the id from `now` on.
    pub(crate) fn insert(&mut self, id: SchemaId, refusal: SchemaRefusal, now: Instant) {
        if self.newer.len() >= GENERATION_MAX {
            self.older = std::mem::take(&mut self.newer);
        }
        self.newer.insert(id, (refusal, now + TTL));
    }

    /// Ends a refusal: the subject has the id.
    pub(crate) fn remove(&mut self, id: SchemaId) {
        self.newer.remove(&id);
        self.older.remove(&id);
    }
}

#[cfg(test)]
#[expect(clippy::disallowed_methods, reason = "a test starts at the time of its runtime")]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn h5_refused_ids_are_bounded_and_forgotten() {
        let (now, mut refused) = (Instant::now(), RefusedIds::default());
        for id in 0..100_000 {
            refused.insert(SchemaId(id), SchemaRefusal::Unknown, now);
            assert_eq!(refused.get(SchemaId(id), now), Some(SchemaRefusal::Unknown));
            assert!(refused.newer.len() + refused.older.len() <= 2 * GENERATION_MAX);
        }
        assert_eq!(refused.get(SchemaId(0), now), None, "the oldest is gone");
        assert_eq!(refused.get(SchemaId(99_999), now + TTL), None, "a refusal ends");
        refused.insert(SchemaId(7), SchemaRefusal::OtherSubject, now);
        refused.remove(SchemaId(7));
        assert_eq!(refused.get(SchemaId(7), now), None);
    }
}
