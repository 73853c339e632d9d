//! Decoders by schema id, only for schemas of the topic's subject.
//!
//! A registry that does not answer is an error to retry, never a dead letter. The subject may get an id
//! that it does not have yet: the processors decide its records again until [`WAIT`] has passed, while
//! all other records go on ([`SchemaCache::settle`]). So each id has its own wait, whatever other
//! senders write. A block of unknown ids costs at most two requests a second to each registry, and
//! [`ASKED_MAX`] requests at the end, which give an id of another subject its own error code.
#![expect(clippy::disallowed_methods, reason = "asks for an id until a deadline")]

#[cfg(test)]
mod tests;

use std::collections::BTreeSet;
use std::sync::Mutex;
use std::time::Duration;

use broker::{REFRESH_EVERY, Registry, SchemaAnswer, SchemaLookup, SchemaRefusal, ServerError};
use futures_util::future::join_all;
use records::decode::cached_schema::{CachedSchema, Schemas};
use schemas::SchemaId;
use service::lock::lock;
use tokio::sync::Semaphore;
use tokio::time::Instant;

use crate::metrics::processor::ProcessorMetrics;

/// How long the cache looks up an id that the subject does not have, before it refuses the id. A
/// registry may get an id late.
const WAIT: Duration = Duration::from_secs(5);
/// How long a block waits for the registry.
const ASK_MAX: Duration = Duration::from_secs(1);
/// How long a refusal waits to know whether an id is of another subject.
const OWNER_MAX: Duration = Duration::from_secs(5);
/// How long blocks do not ask the registry after one got no answer.
const PAUSE: Duration = Duration::from_secs(20);
/// Ids that are looked up in other subjects at once, by all blocks.
const ASKED_MAX: usize = 32;
/// Maximum of cached decoders. A subject has a few.
const DECODERS_MAX: usize = 1_000;
/// How often refused ids are logged.
const LOG_EVERY: Duration = Duration::from_secs(60);

/// The cache of the process.
#[derive(Debug)]
pub struct SchemaCache {
    registry: Registry,
    metrics: ProcessorMetrics,
    decoders: Mutex<Schemas>,
    /// One block asks the registry at a time.
    lookup: tokio::sync::Mutex<SchemaLookup>,
    /// When the registry began to answer; `None` while it does not answer.
    answering_since: Mutex<Option<Instant>>,
    /// Until then blocks do not ask the registry.
    paused_until: Mutex<Option<Instant>>,
    /// Held by each request for an id of another subject.
    asking: Semaphore,
    logged_at: Mutex<Option<Instant>>,
}

impl SchemaCache {
    /// An empty cache of the schemas of `subject`.
    pub fn new(registry: Registry, subject: String, metrics: ProcessorMetrics) -> Self {
        let lookup = SchemaLookup::new(registry.clone(), subject).into();
        let (decoders, answering_since, paused_until, logged_at) = Default::default();
        let asking = Semaphore::new(ASKED_MAX);
        Self {
            registry,
            metrics,
            decoders,
            lookup,
            answering_since,
            paused_until,
            asking,
            logged_at,
        }
    }

    /// The schemas of `ids`, for a block that others follow: where the registry does not answer, the ids
    /// that are not cached are open. Takes [`ASK_MAX`] at most, and not again within [`PAUSE`].
    ///
    /// # Errors
    /// Only fatal ones.
    pub(crate) async fn get_or_open(
        &self,
        ids: &BTreeSet<SchemaId>,
    ) -> Result<Schemas, ServerError> {
        let mut found = Schemas::new();
        let others = self.take_cached(ids, &mut found);
        if others.is_empty() {
            return Ok(found);
        }
        let is_paused = lock(&self.paused_until).is_some_and(|until| Instant::now() < until);
        if !is_paused {
            match tokio::time::timeout(ASK_MAX, self.get(&others)).await {
                Ok(Ok(answers)) => {
                    found.extend(answers);
                    return Ok(found);
                }
                Ok(Err(error)) if !error.is_retryable() => return Err(error),
                Ok(Err(_)) | Err(_) => {
                    self.note_answer(false);
                    *lock(&self.paused_until) = Some(Instant::now() + PAUSE);
                }
            }
        }
        // Some may have become known, although the lookup of others failed.
        let others = self.take_cached(&others, &mut found);
        found.extend(others.into_iter().map(|id| (id, CachedSchema::Open)));
        Ok(found)
    }

    /// The schemas of `ids`, each from the cache, else from the registry; waits for no id.
    ///
    /// # Errors
    /// Retryable: the registry does not answer about one of them. This is not cached; the other schemas
    /// are.
    pub(crate) async fn get(&self, ids: &BTreeSet<SchemaId>) -> Result<Schemas, ServerError> {
        let mut found = Schemas::new();
        if self.take_cached(ids, &mut found).is_empty() {
            return Ok(found);
        }
        let mut lookup = self.lookup.lock().await;
        // Another block may have asked meanwhile.
        let others = self.take_cached(ids, &mut found);
        if others.is_empty() {
            return Ok(found);
        }
        let answers = lookup.answers(&others).await;
        self.note_answer(answers.is_ok());
        let mut failed = None;
        for (id, answer) in answers? {
            let schema = match answer {
                SchemaAnswer::Schema(text) => self.insert(id, &text),
                SchemaAnswer::Refused(refusal) => CachedSchema::Refused(refusal),
                SchemaAnswer::Open => CachedSchema::Open,
                SchemaAnswer::Failed(error) => {
                    failed = Some(error);
                    continue;
                }
            };
            found.insert(id, schema);
        }
        failed.map_or(Ok(found), Err)
    }

    /// As [`SchemaCache::get`]; asks for the ids that are open until [`WAIT`] after `since`, and then
    /// refuses them. The wait begins when the registry begins to answer, also for ids that were not asked
    /// for: after an outage it may not know its ids yet.
    ///
    /// # Errors
    /// Retryable: the registry does not answer.
    pub(crate) async fn settle(
        &self,
        ids: &BTreeSet<SchemaId>,
        since: Instant,
    ) -> Result<Schemas, ServerError> {
        loop {
            let mut found = self.get(ids).await?;
            let answering_since = *lock(&self.answering_since);
            let deadline = answering_since.unwrap_or_else(Instant::now).max(since) + WAIT;
            let is_open =
                |(_, schema): &(&SchemaId, &CachedSchema)| matches!(schema, CachedSchema::Open);
            let open: BTreeSet<_> = found.iter().filter(is_open).map(|(id, _)| *id).collect();
            let now = Instant::now();
            if open.is_empty() || now >= deadline {
                found.extend(self.refuse(&open).await);
                return Ok(found);
            }
            self.log(&open, "the registry does not have schema ids; looking them up again");
            tokio::time::sleep_until(deadline.min(now + REFRESH_EVERY)).await;
        }
    }

    fn note_answer(&self, has_answered: bool) {
        let mut since = lock(&self.answering_since);
        *since = has_answered.then(|| since.unwrap_or_else(Instant::now));
    }

    /// Puts a schema into the cache, without the registry.
    pub fn insert(&self, id: SchemaId, schema: &str) -> CachedSchema {
        let schema = CachedSchema::parsed(schema);
        let mut decoders = lock(&self.decoders);
        if decoders.len() >= DECODERS_MAX {
            decoders.clear();
        }
        decoders.insert(id, schema.clone());
        schema
    }

    /// Moves those of `ids` that are cached to `found`; returns the others.
    fn take_cached(&self, ids: &BTreeSet<SchemaId>, found: &mut Schemas) -> BTreeSet<SchemaId> {
        let decoders = lock(&self.decoders);
        let mut others = BTreeSet::new();
        for &id in ids {
            if let Some(schema) = decoders.get(&id) {
                found.insert(id, schema.clone());
            } else {
                others.insert(id);
            }
        }
        others
    }

    /// Refuses ids that stayed open. Only the error code depends on the subject of an id, so a request that
    /// fails does not begin the wait again.
    async fn refuse(&self, open: &BTreeSet<SchemaId>) -> Schemas {
        let asked: Vec<SchemaId> = open.iter().copied().take(ASKED_MAX).collect();
        let has = join_all(asked.iter().copied().map(|id| self.has(id))).await;
        let answers = asked.into_iter().zip(has);
        let of_others = answers.filter(|(_, has)| *has).map(|(id, _)| id);
        let of_others: BTreeSet<_> = of_others.collect();
        let (mut refused, mut count) = (Schemas::new(), 0);
        let mut lookup = self.lookup.lock().await;
        for &id in open {
            let is_of_other = of_others.contains(&id);
            let refusal =
                if is_of_other { SchemaRefusal::OtherSubject } else { SchemaRefusal::Unknown };
            count += u64::from(lookup.refuse(id, refusal));
            refused.insert(id, CachedSchema::Refused(refusal));
        }
        drop(lookup);
        self.metrics.schema_ids_refused.inc_by(count);
        if count > 0 {
            self.log(open, "records with these schema ids are refused");
        }
        refused
    }

    /// Whether the registry has an id, if it answers in time.
    async fn has(&self, id: SchemaId) -> bool {
        let has = async {
            let _permit = self.asking.acquire().await;
            self.registry.has(id).await
        };
        matches!(tokio::time::timeout(OWNER_MAX, has).await, Ok(Ok(true)))
    }

    fn log(&self, ids: &BTreeSet<SchemaId>, what: &str) {
        let (now, mut logged_at) = (Instant::now(), lock(&self.logged_at));
        if logged_at.is_some_and(|logged_at| now < logged_at + LOG_EVERY) {
            return;
        }
        *logged_at = Some(now);
        let (count, first) = (ids.len(), ids.first().map(|id| id.0));
        tracing::warn!(code = "schema_unknown", ids = count, first, "{what}");
    }
}
