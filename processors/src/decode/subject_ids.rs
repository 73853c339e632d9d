//! The schema ids of the topic's subject: by these, and by no others, records are decoded.

use std::collections::BTreeMap;

use broker::{Registry, ServerError};
use schemas::SchemaId;

/// The ids of one subject, as the registry had them last.
#[derive(Debug)]
pub(crate) struct SubjectIds {
    subject: String,
    /// By version.
    ids: BTreeMap<u64, SchemaId>,
}

impl SubjectIds {
    /// Of `subject`, of which nothing is known yet.
    pub(crate) fn new(subject: String) -> Self {
        Self { subject, ids: BTreeMap::new() }
    }

    /// Whether the id was one of the subject's.
    pub(crate) fn contains(&self, id: SchemaId) -> bool {
        self.ids.values().any(|own| *own == id)
    }

    /// Asks the registry: two requests, and one more for each new version.
    ///
    /// # Errors
    /// Retryable: the registry does not answer.
    pub(crate) async fn refresh(&mut self, registry: &Registry) -> Result<(), ServerError> {
        self.ids = registry.subject_ids(&self.subject, &self.ids).await?;
        Ok(())
    }
}
