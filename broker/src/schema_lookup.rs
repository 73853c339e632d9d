//! The schema lookup: schemas by id, of the subject of one topic alone. With a schema of another subject,
//! a record of a few bytes may cost any time.
//!
//! An answer of the registry about an id is valid for a second, whether the registry has the id or not. If
//! it does not answer, an unknown id is an error to retry, and a refused id stays refused. Requests for
//! refused ids take at most a tenth of the time.
#![expect(clippy::disallowed_methods, reason = "asks for an id until a deadline")]

#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use schemas::{SchemaId, SchemaRefusal};
use tokio::time::Instant;

use crate::error::ServerError;
use crate::refused_ids::RefusedIds;
use crate::registry::Registry;
use crate::subject_ids::SubjectIds;
use crate::unknown_wait::UnknownWait;

/// Time between two requests for the ids of the subject.
pub const REFRESH_EVERY: Duration = Duration::from_secs(1);
/// Longest wait for the ids of the subject if all requested ids are refused.
const REFUSED_WAIT: Duration = Duration::from_secs(2);
/// After such a wait without an answer, the lookup pauses for so many times the wait.
const PAUSE_FACTOR: u32 = 10;

/// The answer of the registry about a schema id.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SchemaAnswer {
    /// The subject's schema of this id.
    Schema(String),
    /// The id is refused.
    Refused(SchemaRefusal),
    /// The subject has no such id; it may get it soon.
    Open,
    /// The subject has the id, but no registry that has it answers now: an error to retry.
    Failed(ServerError),
}

/// Looks up schemas by id, and holds the refused ids.
#[derive(Debug)]
pub struct SchemaLookup {
    subject: SubjectIds,
    refused: RefusedIds,
    /// Until then the ids of the subject are valid.
    fresh_until: Option<Instant>,
    /// No registry answered: until then every lookup has this error.
    failed_until: Option<(Instant, ServerError)>,
    /// The registry did not answer: until then it is not asked for refused ids.
    paused_until: Option<Instant>,
    wait: UnknownWait,
}

impl SchemaLookup {
    /// A lookup of the schemas of `subject`; sends no request.
    pub fn new(registry: Registry, subject: String) -> Self {
        Self {
            subject: SubjectIds::new(registry, subject),
            refused: RefusedIds::default(),
            fresh_until: None,
            failed_until: None,
            paused_until: None,
            wait: UnknownWait::default(),
        }
    }

    /// The answer of the registry about each of `ids`; waits for no id.
    ///
    /// # Errors
    /// Retryable: no registry answers, or none that has one of `ids`.
    pub async fn answers(
        &mut self,
        ids: &BTreeSet<SchemaId>,
    ) -> Result<BTreeMap<SchemaId, SchemaAnswer>, ServerError> {
        let now = Instant::now();
        let refused = ids.iter().filter_map(|id| Some((*id, self.refused.get(*id, now)?)));
        let refused: BTreeMap<SchemaId, SchemaRefusal> = refused.collect();
        if refused.len() < ids.len() {
            self.refresh(now).await?;
        } else {
            self.refresh_for_refused(now).await;
        }
        let (mut answers, mut failed) = (BTreeMap::new(), None);
        let mut all_failed = true;
        for &id in ids {
            let answer = match (self.subject.schema(id).await, refused.get(&id)) {
                (Ok(Some(text)), _) => {
                    self.refused.remove(id);
                    SchemaAnswer::Schema(text)
                }
                (Ok(None), Some(refusal)) => SchemaAnswer::Refused(*refusal),
                (Ok(None), None) => SchemaAnswer::Open,
                (Err(error), _) => SchemaAnswer::Failed(failed.insert(error).clone()),
            };
            all_failed &= matches!(answer, SchemaAnswer::Failed(_));
            answers.insert(id, answer);
        }
        failed.filter(|_| all_failed).map_or(Ok(answers), Err)
    }

    /// Refuses an id for some minutes, or until the subject has it; returns false if it was refused
    /// before.
    pub fn refuse(&mut self, id: SchemaId, refusal: SchemaRefusal) -> bool {
        let now = Instant::now();
        let is_new = self.refused.get(id, now).is_none();
        self.refused.insert(id, refusal, now);
        is_new
    }

    /// The subject's schema of an id; `None` if there is none. Before it refuses an id that the subject does
    /// not have, it asks for it repeatedly, for five seconds of any minute in all.
    ///
    /// # Errors
    /// Retryable: the registry does not answer.
    pub async fn schema(&mut self, id: SchemaId) -> Result<Option<String>, ServerError> {
        loop {
            let answers = self.answers(&BTreeSet::from([id])).await;
            match answers.map(|mut answers| answers.remove(&id)) {
                Ok(Some(SchemaAnswer::Schema(text))) => return Ok(Some(text)),
                Ok(Some(SchemaAnswer::Refused(_))) => return Ok(None),
                Ok(Some(SchemaAnswer::Open) | None) => {}
                Ok(Some(SchemaAnswer::Failed(error))) | Err(error) => {
                    self.wait.reset();
                    return Err(error);
                }
            }
            let now = Instant::now();
            let Some(deadline) = self.wait.deadline(now) else {
                self.refuse(id, SchemaRefusal::Unknown);
                return Ok(None);
            };
            tokio::time::sleep_until(deadline.min(now + REFRESH_EVERY)).await;
        }
    }

    async fn refresh(&mut self, now: Instant) -> Result<(), ServerError> {
        if self.fresh_until.is_some_and(|until| now < until) {
            return Ok(());
        }
        if let Some((until, error)) = &self.failed_until
            && now < *until
        {
            return Err(error.clone());
        }
        if let Err(error) = self.subject.refresh().await {
            self.failed_until = Some((Instant::now() + REFRESH_EVERY, error.clone()));
            return Err(error);
        }
        self.fresh_until = Some(Instant::now() + REFRESH_EVERY);
        self.paused_until = None;
        Ok(())
    }

    async fn refresh_for_refused(&mut self, now: Instant) {
        if self.paused_until.is_some_and(|until| now < until) {
            return;
        }
        let refreshed = tokio::time::timeout(REFUSED_WAIT, self.refresh(now)).await;
        if !matches!(refreshed, Ok(Ok(()))) {
            let ended = Instant::now();
            let pause = REFRESH_EVERY.max((ended - now) * PAUSE_FACTOR);
            self.paused_until = Some(ended + pause);
        }
    }
}
