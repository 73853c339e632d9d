//! Why the store did not do what it was asked.

use thiserror::Error;

use crate::links::store::change::Refused;

/// Why the store did not do what it was asked. Nothing has changed then.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum StoreError {
    /// The change cannot be made as it was entered.
    #[error(transparent)]
    Refused(#[from] Refused),
    /// Another change of the same link came at the same moment, again and again.
    #[error("others change the same link all the time: try again")]
    Conflict,
    /// The database is away, locked or full; waiting may help.
    #[error("the link database does not answer: {0}")]
    Away(String),
    /// The database cannot be used.
    #[error("the link database cannot be used: {0}")]
    Broken(String),
    /// The broker or the registry did not take the links.
    #[error("links are not published: {0}")]
    Unpublished(String),
}

impl StoreError {
    /// Stable name: log field, field of the API's errors, and heading in the RUNBOOK.
    pub fn code(&self) -> &'static str {
        match self {
            Self::Refused(_) => "link_refused",
            Self::Conflict => "link_conflict",
            Self::Away(_) => "links_db_away",
            Self::Broken(_) => "links_db_broken",
            Self::Unpublished(_) => "links_unpublished",
        }
    }
}
