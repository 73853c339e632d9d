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
            let now = Instant::now();
            if !self.doubt.spend(id, now.duration_since(began), now) {
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
    /// While less was spent, an unknown id is asked for again; then once, so that a schema that is new
    /// is found among any number of unknown ids.
    const PATIENT: Duration = Duration::from_secs(8);
    /// When so much was spent, no id is asked for until the minute is over.
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

    /// Spends the time of a request for an unknown id; `false` where it is not to be asked for again, and
    /// the refusal is believed.
    fn spend(&mut self, id: SchemaId, asked: Duration, now: Instant) -> bool {
        self.spent += asked;
        if self.spent < Self::PATIENT {
            self.spent += PAUSE;
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

    /// What the registry takes for an answer.
    const ANSWER: Duration = Duration::from_millis(2);

    /// Time that unknown `ids` cost from `start` on, each asked for until it is refused.
    fn cost(doubt: &mut Doubt, start: Instant, ids: std::ops::Range<u32>) -> Duration {
        let mut now = start;
        for id in ids.map(SchemaId) {
            while !doubt.is_refused(id, now) {
                now += ANSWER;
                if !doubt.spend(id, ANSWER, now) {
                    break;
                }
                now += PAUSE;
            }
        }
        now - start
    }

    #[test]
    fn h4_any_number_of_unknown_ids_costs_ten_seconds_of_a_minute() {
        let start = Instant::now();
        let mut doubt = Doubt::new(start);
        let first = cost(&mut doubt, start, 0..1);
        assert!((Doubt::PATIENT..Doubt::PATIENT + PAUSE * 2).contains(&first), "{first:?}");
        let known = SchemaId(1_000_000);
        assert!(!doubt.is_refused(known, start + first), "a schema that is new is asked for");
        let all = first + cost(&mut doubt, start + first, 0..20_000);
        assert!(all <= Doubt::SPENT_MAX + ANSWER, "{all:?}");
        assert!(doubt.is_refused(known, start + all), "for the rest of the minute");
        let later = start + Doubt::MINUTE;
        assert_eq!(cost(&mut doubt, later, 0..1), Duration::ZERO, "the refusal is remembered");
        assert!(cost(&mut doubt, later, 30_000..60_000) <= Doubt::SPENT_MAX + ANSWER);
        let much_later = later + Doubt::BELIEVED + Doubt::MINUTE;
        assert!(!doubt.is_refused(SchemaId(0), much_later), "and not forever");
    }

    #[test]
    fn h4_refusals_are_remembered_within_a_bound() {
        let mut now = Instant::now();
        let mut doubt = Doubt::new(now);
        for id in 0..30_000 {
            now += Doubt::MINUTE;
            doubt.spend(SchemaId(id), Doubt::PATIENT, now);
            assert!(doubt.refused.len() <= Doubt::REFUSED_MAX);
        }
        assert!(doubt.is_refused(SchemaId(29_999), now + Doubt::MINUTE));
    }
}
