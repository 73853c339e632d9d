//! The schemas of the subject of a topic, for commands: each is requested once.

use std::collections::{BTreeMap, BTreeSet};

use broker::{Registry, SchemaAnswer, SchemaLookup, ServerError};
use records::dead_letters::record_schema::RecordSchema;
use schemas::{NEWEST, SchemaId};

/// Schemas by id.
#[derive(Debug)]
pub struct SubjectSchemas {
    registry: Registry,
    subject: String,
    lookup: SchemaLookup,
    /// `None`: the subject has no such id, or its schema is not one of clicks.
    known: BTreeMap<SchemaId, Option<RecordSchema>>,
}

impl SubjectSchemas {
    /// No schema yet; sends no request.
    pub fn new(registry: Registry, subject: String) -> Self {
        let lookup = SchemaLookup::new(registry.clone(), subject.clone());
        Self { registry, subject, lookup, known: BTreeMap::new() }
    }

    /// The id of the newest schema that this version knows, which is then loaded.
    ///
    /// # Errors
    /// Retryable: the registry does not answer. Fatal: `setup` has not registered the schema.
    pub async fn newest(&mut self) -> Result<SchemaId, ServerError> {
        let Some(id) = self.registry.lookup(&self.subject, NEWEST).await? else {
            let text =
                format!("subject {} has no such schema: run `processors setup`", self.subject);
            return Err(ServerError::fatal("schema_unregistered", text));
        };
        self.known.entry(id).or_insert_with(|| RecordSchema::new(NEWEST).ok());
        Ok(id)
    }

    /// Loads the schema of an id, if the subject has it; waits for no id.
    ///
    /// # Errors
    /// Retryable: the registry does not answer.
    pub async fn load(&mut self, id: SchemaId) -> Result<(), ServerError> {
        if self.known.contains_key(&id) {
            return Ok(());
        }
        let mut answers = self.lookup.answers(&BTreeSet::from([id])).await?;
        let schema = match answers.remove(&id) {
            Some(SchemaAnswer::Schema(text)) => RecordSchema::new(&text).ok(),
            Some(SchemaAnswer::Failed(error)) => return Err(error),
            Some(SchemaAnswer::Refused(_) | SchemaAnswer::Open) | None => None,
        };
        self.known.insert(id, schema);
        Ok(())
    }

    /// The schema of an id that was loaded; `None` if the subject has no such schema of clicks.
    pub fn get(&self, id: SchemaId) -> Option<&RecordSchema> {
        self.known.get(&id)?.as_ref()
    }
}
