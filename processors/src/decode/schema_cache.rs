//! Decoders by schema id. A schema is cached forever, an unknown id for minutes.
//!
//! A registry that does not answer is an error to retry, never a dead letter. A registry that does not
//! know an id is asked for ten seconds more before the answer counts.
#![expect(clippy::disallowed_methods, reason = "caches a refusal for a time")]

use broker::{Registry, ServerError};
use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use schemas::{Decoder, SchemaId};

use crate::error::RecordError;
use service::lock::lock;

const RETRY_FOR: Duration = Duration::from_secs(10);
const RETRY_EVERY: Duration = Duration::from_secs(1);
const UNKNOWN_TTL: Duration = Duration::from_secs(300);

/// What the registry has for a schema id.
#[derive(Debug, Clone)]
pub enum CachedSchema {
    /// The decoder of records that were written with it.
    Decoder(Arc<Decoder>),
    /// The registry has no such id.
    Unknown,
    /// The schema of this id is not Avro.
    Unusable(Arc<str>),
}

impl CachedSchema {
    /// Requests the schema of `id`, once.
    ///
    /// # Errors
    /// Retryable: the registry does not answer.
    pub async fn fetch(registry: &Registry, id: SchemaId) -> Result<Self, ServerError> {
        Ok(registry.schema(id).await?.map_or(Self::Unknown, |text| parsed(&text)))
    }

    /// The decoder.
    ///
    /// # Errors
    /// Why a record with this id cannot be decoded.
    pub fn decoder(&self, id: SchemaId) -> Result<&Decoder, RecordError> {
        match self {
            Self::Decoder(decoder) => Ok(decoder),
            Self::Unknown => Err(RecordError::SchemaUnknown(id)),
            Self::Unusable(why) => Err(RecordError::SchemaUnusable(id, why.to_string())),
        }
    }
}

/// The cache of the process.
#[derive(Debug)]
pub struct SchemaCache {
    registry: Registry,
    schemas: Mutex<HashMap<SchemaId, (CachedSchema, Option<Instant>)>>,
}

impl SchemaCache {
    /// An empty cache.
    pub fn new(registry: Registry) -> Self {
        Self { registry, schemas: Mutex::default() }
    }

    /// The schema of `id`, from the cache, else from the registry.
    ///
    /// # Errors
    /// Retryable: the registry does not answer. This is not cached.
    pub async fn get(&self, id: SchemaId) -> Result<CachedSchema, ServerError> {
        if let Some(known) = self.cached(id) {
            return Ok(known);
        }
        let deadline = Instant::now() + RETRY_FOR;
        let known = loop {
            match CachedSchema::fetch(&self.registry, id).await? {
                CachedSchema::Unknown if Instant::now() < deadline => {
                    tokio::time::sleep(RETRY_EVERY).await;
                }
                known @ (CachedSchema::Decoder(_)
                | CachedSchema::Unknown
                | CachedSchema::Unusable(_)) => break known,
            }
        };
        let expires_at = match known {
            CachedSchema::Decoder(_) | CachedSchema::Unusable(_) => None,
            CachedSchema::Unknown => Some(Instant::now() + UNKNOWN_TTL),
        };
        let mut all = lock(&self.schemas);
        all.insert(id, (known.clone(), expires_at));
        Ok(known)
    }

    /// Puts a schema into the cache, without the registry.
    pub fn insert(&self, id: SchemaId, schema: &str) {
        let mut all = lock(&self.schemas);
        all.insert(id, (parsed(schema), None));
    }

    fn cached(&self, id: SchemaId) -> Option<CachedSchema> {
        let all = lock(&self.schemas);
        let (known, expires_at) = all.get(&id)?;
        expires_at.is_none_or(|expires_at| Instant::now() < expires_at).then(|| known.clone())
    }
}

/// A schema of another record parses too; its records then fail one by one, with the decoder's error.
fn parsed(text: &str) -> CachedSchema {
    match Decoder::new(text) {
        Ok(decoder) => CachedSchema::Decoder(Arc::new(decoder)),
        Err(error) => CachedSchema::Unusable(error.to_string().into()),
    }
}
