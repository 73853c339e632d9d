//! The schema lookup of readers that wait for no single record: a registry that does not answer is waited
//! for, and an id that it does not know is asked for during ten seconds of a minute, all ids together.

use std::collections::BTreeMap;
use std::time::Duration;

use schemas::SchemaId;
use tokio::time::Instant;

use crate::error::ServerError;
use crate::registry::Registry;

/// Time between two requests for an id that the registry does not know.
const PAUSE: Duration = Duration::from_millis(500);

/// Looks up schemas by id, and remembers which ids the registry does not know.
#[derive(Debug)]
pub struct SchemaLookup {
    registry: Registry,
    doubt: Doubt,
}

impl SchemaLookup {
    /// A lookup that knows of no id.
    pub fn new(registry: Registry) -> Self {
        Self { registry, doubt: Doubt::new(Instant::now()) }
    }

    /// The schema of an id, or `None` where there is none: the registry did not know it for as long as it
    /// may be doubted.
    ///
    /// # Errors
    /// Retryable: the registry does not answer.
    pub async fn schema(&mut self, id: SchemaId) -> Result<Option<String>, ServerError> {
        loop {
            let began = Instant::now();
            if self.doubt.is_refused(id, began) {
                return Ok(None);
            }
            if let Some(schema) = self.registry.schema(id).await? {
                return Ok(Some(schema));
            }
            // Also an answer costs its time.
            if !self.doubt.spend(id, began, Instant::now() + PAUSE) {
                return Ok(None);
            }
            tokio::time::sleep(PAUSE).await;
        }
    }
}

/// Which ids are believed to be unknown, and how long the registry may still be doubted.
#[derive(Debug)]
struct Doubt {
    /// When each refusal was given.
    refused: BTreeMap<SchemaId, Instant>,
    minute_began: Instant,
    /// Time of this minute that was spent on ids that the registry does not know.
    spent: Duration,
}

impl Doubt {
    const SPENT_MAX: Duration = Duration::from_secs(10);
    const MINUTE: Duration = Duration::from_secs(60);
    /// How long a refusal is believed.
    const BELIEVED: Duration = Duration::from_secs(300);
    /// Ids that are remembered; beyond that, all are forgotten.
    const REFUSED_MAX: usize = 10_000;

    fn new(now: Instant) -> Self {
        Self { refused: BTreeMap::new(), minute_began: now, spent: Duration::ZERO }
    }

    /// Whether the registry is not to be asked for `id`.
    fn is_refused(&mut self, id: SchemaId, now: Instant) -> bool {
        if now.duration_since(self.minute_began) >= Self::MINUTE {
            (self.minute_began, self.spent) = (now, Duration::ZERO);
        }
        let given = self.refused.get(&id);
        given.is_some_and(|given| now.duration_since(*given) < Self::BELIEVED)
            || self.spent >= Self::SPENT_MAX
    }

    /// Spends the time from `began` to `now` on an unknown id; `false` where no more is left, and the
    /// refusal is believed.
    fn spend(&mut self, id: SchemaId, began: Instant, now: Instant) -> bool {
        self.spent += now.duration_since(began);
        if self.spent < Self::SPENT_MAX {
            return true;
        }
        if self.refused.len() >= Self::REFUSED_MAX {
            self.refused.clear();
        }
        self.refused.insert(id, now);
        false
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Time that `ids` cost from `start` on, each asked for until it is refused.
    fn cost(doubt: &mut Doubt, start: Instant, ids: std::ops::Range<u32>) -> Duration {
        let mut now = start;
        for id in ids.map(SchemaId) {
            while !doubt.is_refused(id, now) {
                let began = now;
                now += PAUSE;
                if !doubt.spend(id, began, now) {
                    break;
                }
            }
        }
        now - start
    }

    #[test]
    fn h4_any_number_of_unknown_ids_costs_ten_seconds_of_a_minute() {
        let start = Instant::now();
        let mut doubt = Doubt::new(start);
        assert_eq!(cost(&mut doubt, start, 0..1), Doubt::SPENT_MAX);
        assert_eq!(cost(&mut doubt, start + Doubt::SPENT_MAX, 0..20_000), Duration::ZERO);
        let later = start + Doubt::MINUTE;
        assert_eq!(cost(&mut doubt, later, 0..1), Duration::ZERO, "the refusal is remembered");
        assert_eq!(cost(&mut doubt, later, 7..20_000), Doubt::SPENT_MAX);
        let much_later = start + Doubt::BELIEVED + Doubt::MINUTE;
        assert_eq!(cost(&mut doubt, much_later, 0..1), Doubt::SPENT_MAX, "and not forever");
    }

    #[test]
    fn h4_refusals_are_remembered_within_a_bound() {
        let mut now = Instant::now();
        let mut doubt = Doubt::new(now);
        for id in 0..30_000 {
            now += Doubt::SPENT_MAX;
            doubt.spend(SchemaId(id), now, now + Doubt::SPENT_MAX);
            assert!(doubt.refused.len() <= Doubt::REFUSED_MAX);
        }
        assert!(doubt.is_refused(SchemaId(29_999), now + Doubt::MINUTE));
    }
}
