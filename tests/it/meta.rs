//! Checks of the source tree itself.

pub(crate) mod dependencies;
pub(crate) mod document_links;
pub(crate) mod documents;
pub(crate) mod folders;
pub(crate) mod imports;
pub(crate) mod impure_calls;
pub(crate) mod setting_tables;
pub(crate) mod source;
pub(crate) mod tidy;
pub(crate) mod vocabulary;
