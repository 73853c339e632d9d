//! The schemas that the registry has for a topic: decoders for the loop, and their text for commands.

pub mod schema_cache;
pub mod subject_schemas;
