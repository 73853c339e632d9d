//! Decoders by schema id, of the topic's subject alone.
//!
//! A registry that does not answer is an error to retry, never a dead letter. A registry that does not
//! know an id is asked again for some seconds, for all ids of a block at once, before the answer counts
//! (`unknown_wait`). What a block of unknown ids costs at most: two requests, and
//! [`ASKED_MAX`] at once, by which an id of another subject gets its own name.

#[cfg(test)]
mod tests;

use std::collections::{BTreeSet, HashMap};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use broker::{Registry, ServerError};
use futures_util::future::try_join_all;
use schemas::{Decoder, SchemaId};
use service::lock::lock;
use tokio::time::Instant;

use crate::decode::refused_ids::RefusedIds;
use crate::decode::schema_refusal::SchemaRefusal;
use crate::decode::subject_ids::SubjectIds;
use crate::decode::unknown_wait::UnknownWait;
use crate::error::RecordError;
use crate::metrics::processor::ProcessorMetrics;

/// Time between two requests for the ids of the subject, while some are waited for or refused.
const REFRESH_EVERY: Duration = Duration::from_secs(1);
/// The same after the registry did not answer: refused ids do not wait for it.
const AFTER_OUTAGE: Duration = Duration::from_secs(60);
/// Ids of a block that are looked for in other subjects.
const ASKED_MAX: usize = 32;
/// Decoders that are kept. A subject has a few.
const DECODERS_MAX: usize = 1_000;
/// How often refused ids are logged.
const LOG_EVERY: Duration = Duration::from_secs(60);

/// What the registry has for a schema id.
#[derive(Debug, Clone)]
pub enum CachedSchema {
    /// The decoder of records that were written with it.
    Decoder(Arc<Decoder>),
    /// No record is decoded by this id.
    Refused(SchemaRefusal),
    /// The schema of this id is not one of clicks.
    Unusable(Arc<str>),
}

impl CachedSchema {
    /// A schema of another record parses too; its records then fail one by one, with the decoder's
    /// error.
    pub(crate) fn parsed(text: &str) -> Self {
        match Decoder::new(text) {
            Ok(decoder) => Self::Decoder(Arc::new(decoder)),
            Err(error) => Self::Unusable(error.to_string().into()),
        }
    }

    /// The decoder.
    ///
    /// # Errors
    /// Why a record with this id cannot be decoded.
    pub fn decoder(&self, id: SchemaId) -> Result<&Decoder, RecordError> {
        match self {
            Self::Decoder(decoder) => Ok(decoder),
            Self::Refused(refusal) => Err(refusal.error(id)),
            Self::Unusable(why) => Err(RecordError::SchemaUnusable(id, why.to_string())),
        }
    }
}

/// Schemas by id.
pub(crate) type Schemas = HashMap<SchemaId, CachedSchema>;

/// The cache of the process.
#[derive(Debug)]
pub struct SchemaCache {
    registry: Registry,
    metrics: ProcessorMetrics,
    known: Mutex<Known>,
    /// One block asks the registry at a time.
    asking: tokio::sync::Mutex<Asking>,
}

/// What was answered.
#[derive(Debug, Default)]
struct Known {
    decoders: Schemas,
    refused: RefusedIds,
    /// Refused ids are believed until then.
    refresh_at: Option<Instant>,
}

/// What the next question depends on.
#[derive(Debug)]
struct Asking {
    subject: SubjectIds,
    wait: UnknownWait,
    logged_at: Option<Instant>,
}

/// The ids of a block, as the cache has them.
#[derive(Debug, Default)]
struct Sorted {
    found: Schemas,
    /// Ids that are refused, which may be the subject's by now.
    refused: Vec<SchemaId>,
    /// Ids of which nothing is known.
    open: Vec<SchemaId>,
}

impl SchemaCache {
    /// An empty cache of the schemas of `subject`.
    pub fn new(registry: Registry, subject: String, metrics: ProcessorMetrics) -> Self {
        let asking = Asking {
            subject: SubjectIds::new(subject),
            wait: UnknownWait::default(),
            logged_at: None,
        };
        Self { registry, metrics, known: Mutex::default(), asking: asking.into() }
    }

    /// The schemas of `ids`, each from the cache, else from the registry.
    ///
    /// # Errors
    /// Retryable: the registry does not answer. This is not cached.
    pub(crate) async fn get(&self, ids: &BTreeSet<SchemaId>) -> Result<Schemas, ServerError> {
        let sorted = lock(&self.known).sorted(ids, Instant::now());
        if sorted.open.is_empty() && sorted.refused.is_empty() {
            return Ok(sorted.found);
        }
        let mut asking = self.asking.lock().await;
        // Another block may have asked meanwhile.
        let Sorted { mut found, refused, open } = lock(&self.known).sorted(ids, Instant::now());
        if open.is_empty() && refused.is_empty() {
            return Ok(found);
        }
        let is_decided = open.is_empty();
        let answers = match self.ask(&mut asking, open, &refused).await {
            Ok(answers) => answers,
            Err(error) => {
                asking.wait.reset();
                if !is_decided {
                    return Err(error);
                }
                lock(&self.known).refresh_at = Some(Instant::now() + AFTER_OUTAGE);
                return Ok(found);
            }
        };
        let mut known = lock(&self.known);
        for (id, schema) in answers {
            known.insert(id, schema.clone());
            found.insert(id, schema);
        }
        Ok(found)
    }

    /// Puts a schema into the cache, without the registry.
    pub fn insert(&self, id: SchemaId, schema: &str) {
        lock(&self.known).insert(id, CachedSchema::parsed(schema));
    }

    /// Asks the registry about `open` ids, and whether `refused` ones are the subject's by now.
    async fn ask(
        &self,
        asking: &mut Asking,
        open: Vec<SchemaId>,
        refused: &[SchemaId],
    ) -> Result<Vec<(SchemaId, CachedSchema)>, ServerError> {
        self.refresh(&mut asking.subject).await?;
        let mut answers = Vec::new();
        let again = refused.iter().filter(|id| asking.subject.contains(**id));
        self.take_own(&asking.subject, &mut again.copied().collect(), &mut answers).await?;
        let mut open = open;
        self.take_own(&asking.subject, &mut open, &mut answers).await?;
        self.take_others(&asking.subject, &mut open, &mut answers).await?;
        while !open.is_empty()
            && let Some(deadline) = asking.wait.deadline(Instant::now())
        {
            self.log(asking, &open, "the registry does not know schema ids; asking again");
            tokio::time::sleep_until(deadline.min(Instant::now() + REFRESH_EVERY)).await;
            self.refresh(&mut asking.subject).await?;
            self.take_own(&asking.subject, &mut open, &mut answers).await?;
        }
        let unknown = CachedSchema::Refused(SchemaRefusal::Unknown);
        answers.extend(open.into_iter().map(|id| (id, unknown.clone())));
        let refused: Vec<SchemaId> = answers
            .iter()
            .filter(|(_, schema)| matches!(schema, CachedSchema::Refused(_)))
            .map(|(id, _)| *id)
            .collect();
        if !refused.is_empty() {
            self.metrics.schema_ids_refused.inc_by(refused.len() as u64);
            self.log(asking, &refused, "no record is decoded by schema ids");
        }
        Ok(answers)
    }

    async fn refresh(&self, subject: &mut SubjectIds) -> Result<(), ServerError> {
        subject.refresh(&self.registry).await?;
        lock(&self.known).refresh_at = Some(Instant::now() + REFRESH_EVERY);
        Ok(())
    }

    /// Moves the ids of the subject whose schemas the registry has from `open` to `answers`.
    async fn take_own(
        &self,
        subject: &SubjectIds,
        open: &mut Vec<SchemaId>,
        answers: &mut Vec<(SchemaId, CachedSchema)>,
    ) -> Result<(), ServerError> {
        let mut unknown = Vec::new();
        for id in open.drain(..) {
            let text = if subject.contains(id) { self.registry.schema(id).await? } else { None };
            match text {
                Some(text) => answers.push((id, CachedSchema::parsed(&text))),
                None => unknown.push(id),
            }
        }
        *open = unknown;
        Ok(())
    }

    /// Moves ids that another subject has from `open` to `answers`.
    async fn take_others(
        &self,
        subject: &SubjectIds,
        open: &mut Vec<SchemaId>,
        answers: &mut Vec<(SchemaId, CachedSchema)>,
    ) -> Result<(), ServerError> {
        let asked: Vec<SchemaId> =
            open.iter().copied().filter(|id| !subject.contains(*id)).take(ASKED_MAX).collect();
        let texts = try_join_all(asked.iter().copied().map(|id| self.registry.schema(id))).await?;
        let of_others: BTreeSet<SchemaId> = asked
            .into_iter()
            .zip(texts)
            .filter(|(_, text)| text.is_some())
            .map(|(id, _)| id)
            .collect();
        open.retain(|id| !of_others.contains(id));
        let refused = CachedSchema::Refused(SchemaRefusal::OtherSubject);
        answers.extend(of_others.into_iter().map(|id| (id, refused.clone())));
        Ok(())
    }

    fn log(&self, asking: &mut Asking, ids: &[SchemaId], what: &str) {
        let now = Instant::now();
        if asking.logged_at.is_some_and(|logged_at| now < logged_at + LOG_EVERY) {
            return;
        }
        asking.logged_at = Some(now);
        let (count, first) = (ids.len(), ids.first().map(|id| id.0));
        tracing::warn!(code = "schema_unknown", ids = count, first, "{what}");
    }
}

impl Known {
    fn sorted(&self, ids: &BTreeSet<SchemaId>, now: Instant) -> Sorted {
        let is_fresh = self.refresh_at.is_some_and(|at| now < at);
        let mut sorted = Sorted::default();
        for &id in ids {
            if let Some(decoder) = self.decoders.get(&id) {
                sorted.found.insert(id, decoder.clone());
            } else if let Some(refusal) = self.refused.get(id, now) {
                sorted.found.insert(id, CachedSchema::Refused(refusal));
                sorted.refused.extend((!is_fresh).then_some(id));
            } else {
                sorted.open.push(id);
            }
        }
        sorted
    }

    fn insert(&mut self, id: SchemaId, schema: CachedSchema) {
        match schema {
            CachedSchema::Refused(refusal) => self.refused.insert(id, refusal, Instant::now()),
            CachedSchema::Decoder(_) | CachedSchema::Unusable(_) => {
                if self.decoders.len() >= DECODERS_MAX {
                    self.decoders.clear();
                }
                self.refused.remove(id);
                self.decoders.insert(id, schema);
            }
        }
    }
}
