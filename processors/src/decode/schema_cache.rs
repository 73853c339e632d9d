//! Decoders by schema id: a success is kept for ever, nothing else is for long.
//!
//! A registry that is away is waited for and never makes a dead letter; one that
//! says "no such id" is asked for ten seconds more, then believed for minutes.
#![expect(clippy::disallowed_methods, reason = "remembers a refusal for a time")]

use broker::{Registry, ServerError};
use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use schemas::{Decoder, SchemaId};

use crate::error::RecordError;
use service::lock::lock;

const ASK_FOR: Duration = Duration::from_secs(10);
const ASK_EVERY: Duration = Duration::from_secs(1);
const BELIEVE_FOR: Duration = Duration::from_secs(300);

/// What is known of a schema id.
#[derive(Debug, Clone)]
pub enum Known {
    /// How to read what was written with it.
    Decoder(Arc<Decoder>),
    /// The registry has no such id.
    Unknown,
    /// It is the id of something that is not Avro.
    Unusable(Arc<str>),
}

impl Known {
    /// What the registry says of `id`, asked once.
    ///
    /// # Errors
    /// Retryable: the registry is away.
    pub async fn ask(registry: &Registry, id: SchemaId) -> Result<Self, ServerError> {
        Ok(registry.schema(id).await?.map_or(Self::Unknown, |text| known(&text)))
    }

    /// The decoder.
    ///
    /// # Errors
    /// What to say of a record with this id when there is none.
    pub fn decoder(&self, id: SchemaId) -> Result<&Decoder, RecordError> {
        match self {
            Self::Decoder(decoder) => Ok(decoder),
            Self::Unknown => Err(RecordError::SchemaUnknown(id)),
            Self::Unusable(why) => Err(RecordError::SchemaUnusable(id, why.to_string())),
        }
    }
}

/// All decoders of the process.
#[derive(Debug)]
pub struct Decoders {
    registry: Registry,
    known: Mutex<HashMap<SchemaId, (Known, Option<Instant>)>>,
}

impl Decoders {
    /// None yet.
    pub fn new(registry: Registry) -> Self {
        Self { registry, known: Mutex::default() }
    }

    /// What is known of `id`, asking the registry when nothing is.
    ///
    /// # Errors
    /// Retryable: the registry is away. Nothing is remembered of that.
    pub async fn get(&self, id: SchemaId) -> Result<Known, ServerError> {
        if let Some(known) = self.remembered(id) {
            return Ok(known);
        }
        let give_up = Instant::now() + ASK_FOR;
        let known = loop {
            match Known::ask(&self.registry, id).await? {
                Known::Unknown if Instant::now() < give_up => tokio::time::sleep(ASK_EVERY).await,
                known @ (Known::Decoder(_) | Known::Unknown | Known::Unusable(_)) => break known,
            }
        };
        let until = match known {
            Known::Decoder(_) | Known::Unusable(_) => None,
            Known::Unknown => Some(Instant::now() + BELIEVE_FOR),
        };
        let mut all = lock(&self.known);
        all.insert(id, (known.clone(), until));
        Ok(known)
    }

    /// Takes a schema for known without asking anyone.
    pub fn learn(&self, id: SchemaId, schema: &str) {
        let mut all = lock(&self.known);
        all.insert(id, (known(schema), None));
    }

    fn remembered(&self, id: SchemaId) -> Option<Known> {
        let all = lock(&self.known);
        let (known, until) = all.get(&id)?;
        until.is_none_or(|until| Instant::now() < until).then(|| known.clone())
    }
}

/// A schema that is another record's parses all the same; its records then fail one by one,
/// with the decoder's own words.
fn known(text: &str) -> Known {
    match Decoder::new(text) {
        Ok(decoder) => Known::Decoder(Arc::new(decoder)),
        Err(error) => Known::Unusable(error.to_string().into()),
    }
}
