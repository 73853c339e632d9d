//! Why the link store refuses a change or fails.

use std::io;

use thiserror::Error;

use crate::exit::{self, Failure};
use crate::links::link_entry::LinkError;

/// Why a change is refused. The same change may be possible later.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[expect(missing_docs, reason = "the message of each variant describes it")]
pub enum ChangeRefused {
    #[error(transparent)]
    Cause(#[from] LinkError),
    #[error("there is no link {0:?}: `links list` shows all ids")]
    NoSuch(String),
    #[error("link {0:?} exists already: change it with `links set`")]
    Exists(String),
    #[error(
        "slug {slug:?} belongs to link {id:?}, which may be deleted: use that id, or another slug"
    )]
    Name { slug: String, id: String },
    #[error(
        "link {id:?} has version {version} in the store or the topic, which is the last possible one: no change can follow it"
    )]
    LastVersion { id: String, version: i64 },
    #[error(
        "slug {slug:?} differs from that of link {id:?} ({other:?}) only in case, which --slug-case insensitive ignores: use another slug"
    )]
    Case { slug: String, other: String, id: String },
    #[error("id {id:?} belongs to slug {slug:?}, whose link may be deleted: use another id")]
    Id { id: String, slug: String },
}

/// Why the store refuses a change or fails. Then nothing has changed.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum StoreError {
    /// The change is refused.
    #[error(transparent)]
    Refused(#[from] ChangeRefused),
    /// Each attempt conflicted with another change of the same link.
    #[error("other changes of the same link conflicted with this one: try again")]
    Conflict,
    /// The database is unreachable, locked or full, or its disk fails; waiting may help.
    #[error("the link database does not answer: {0}")]
    Unreachable(String),
    /// The database cannot be used.
    #[error("the link database cannot be used: {0}")]
    Unusable(String),
    /// The broker or the registry did not accept the links.
    #[error("the links cannot be published: {0}")]
    Unpublished(String),
}

impl StoreError {
    /// An I/O error, with the name of the file.
    pub fn of_io(file: &str, error: &io::Error) -> Self {
        let cause = format!("{file}: {error}");
        if exit::may_pass(error) { Self::Unreachable(cause) } else { Self::Unusable(cause) }
    }

    /// Stable name: log field, field of the API's errors, and heading in the RUNBOOK.
    pub fn code(&self) -> &'static str {
        match self {
            Self::Refused(_) => "link_refused",
            Self::Conflict => "link_conflict",
            Self::Unreachable(_) => "links_db_away",
            Self::Unusable(_) => "links_db_broken",
            Self::Unpublished(_) => "links_unpublished",
        }
    }
}

impl From<StoreError> for Failure {
    fn from(error: StoreError) -> Self {
        match error {
            StoreError::Refused(_) => Self::data(error),
            StoreError::Conflict | StoreError::Unreachable(_) | StoreError::Unpublished(_) => {
                Self::unavailable(error)
            }
            StoreError::Unusable(_) => Self::configuration(error),
        }
    }
}
