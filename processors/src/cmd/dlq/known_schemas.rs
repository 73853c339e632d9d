//! The schemas with which `processors dlq show` decodes a value.

use broker::{Registry, ServerError};
use records::dead_letters::inspection::KnownSchema;
use schemas::{RELEASED, SchemaId};

/// Every schema of `subject`, and that of the frame; the released schemas and the reason, if the registry
/// does not answer or has none.
pub(super) async fn known_schemas(
    registry: &Registry,
    subject: &str,
    frame: Option<SchemaId>,
) -> (Vec<KnownSchema>, Option<String>) {
    match registered(registry, subject, frame).await {
        Ok(schemas) if schemas.is_empty() => {
            (released(), Some(format!("the registry has no schema of subject {subject}")))
        }
        Ok(schemas) => (schemas, None),
        Err(error) => (released(), Some(error.to_string())),
    }
}

async fn registered(
    registry: &Registry,
    subject: &str,
    frame: Option<SchemaId>,
) -> Result<Vec<KnownSchema>, ServerError> {
    let mut known = Vec::new();
    for (index, text) in registry.versions(subject).await?.into_iter().enumerate() {
        let id = registry.lookup(subject, &text).await?;
        known.push(KnownSchema { name: format!("{subject} schema {}", index + 1), id, text });
    }
    let is_known = |id: &SchemaId| known.iter().any(|schema| schema.id == Some(*id));
    if let Some(id) = frame.filter(|id| !is_known(id))
        && let Some(text) = registry.schema(id).await?
    {
        let name = "schema of another subject, or deleted from this one".to_owned();
        known.push(KnownSchema { name, id: Some(id), text });
    }
    Ok(known)
}

fn released() -> Vec<KnownSchema> {
    let schema = |(name, text): &(&str, &str)| KnownSchema {
        name: format!("released {name}"),
        id: None,
        text: (*text).to_owned(),
    };
    RELEASED.iter().map(schema).collect()
}
