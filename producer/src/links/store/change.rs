//! What may be done to a link, and what it then is.
//!
//! Pure but for the transaction that it asks. A slug belongs to one id for ever, also after it was
//! deleted: versions of one slug then have one order, which a topic keeps by its key.

use serde::Deserialize;
use thiserror::Error;

use crate::links::link_entry::{Entry, LinkCause, Status};
use crate::links::link_entry::{expires, named};
use crate::links::store::error::StoreError;
use crate::links::target;

/// A change of one link.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Change {
    /// Make it; it must not be there.
    Add(Entry),
    /// Make it, or make it so.
    Put(Entry),
    /// Change what the edit names.
    Edit {
        /// Which link.
        id: String,
        /// What.
        edit: Edit,
    },
    /// Delete it; its id and its versions stay.
    Delete {
        /// Which link.
        id: String,
    },
}

/// What to change of a link; what is not named stays.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Edit {
    /// Destination.
    pub url: Option<String>,
    /// 302 or 301.
    pub status: Option<u16>,
    /// Switched off.
    pub disabled: Option<bool>,
    /// A time such as `2027-01-31T12:00:00Z`, or `never`.
    pub expires: Option<String>,
    /// Whether the visitor's query is appended to the target's.
    pub pass_query: Option<bool>,
    /// Whether its clicks say nothing of their visitors.
    pub opt_out: Option<bool>,
}

/// What a change came to: the link as it is now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// It was not there.
    Added(Entry),
    /// It was otherwise.
    Changed(Entry),
    /// It is as it was.
    Same(Entry),
}

/// Why a change cannot be made. The same change may be possible another day.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[expect(missing_docs, reason = "each variant's message says what it is")]
pub enum Refused {
    #[error(transparent)]
    Cause(#[from] LinkCause),
    #[error("there is no link {0:?}: `links list` shows all ids")]
    NoSuch(String),
    #[error("link {0:?} is there already: change it with `links set`")]
    Exists(String),
    #[error("slug {slug:?} is, or was, that of link {id:?}: name that id, or take another slug")]
    Name { slug: String, id: String },
    #[error("id {id:?} is, or was, that of slug {slug:?}: take another id")]
    Id { id: String, slug: String },
}

/// One transaction. What is found is held against others until its end.
pub trait Tx {
    /// The link of an id, tombstones too.
    ///
    /// # Errors
    /// The database's.
    fn by_id(&mut self, id: &str) -> Result<Option<Entry>, StoreError>;

    /// The link of a domain and slug, tombstones too.
    ///
    /// # Errors
    /// The database's.
    fn by_name(&mut self, domain: &str, slug: &str) -> Result<Option<Entry>, StoreError>;

    /// Writes the link and queues it for the relay.
    ///
    /// # Errors
    /// The database's.
    fn write(&mut self, entry: &Entry) -> Result<(), StoreError>;
}

impl Outcome {
    /// The link as it is now.
    pub fn entry(&self) -> &Entry {
        match self {
            Self::Added(entry) | Self::Changed(entry) | Self::Same(entry) => entry,
        }
    }
}

impl Change {
    /// Makes the change within a transaction, at `now`.
    ///
    /// # Errors
    /// It cannot be made, or the database's.
    pub(super) fn apply(&self, tx: &mut dyn Tx, now: i64) -> Result<Outcome, StoreError> {
        let (before, mut next) = match self {
            Self::Add(entry) | Self::Put(entry) => {
                let before = known(tx, entry)?;
                let mut next = entry.clone();
                if let Some(before) = &before {
                    next.id.clone_from(&before.id);
                }
                (before, next)
            }
            Self::Edit { id, edit } => {
                let before = living(tx, id)?;
                let next = edit.of(before.clone())?;
                (Some(before), next)
            }
            Self::Delete { id } => {
                let before = living(tx, id)?;
                let next = Entry { target: String::new(), deleted: true, ..before.clone() };
                (Some(before), next)
            }
        };
        let lived = before.as_ref().filter(|before| !before.deleted);
        match (self, lived) {
            (Self::Add(_), Some(before)) => return Err(Refused::Exists(before.id.clone()).into()),
            (_, Some(before)) if before.says_the_same(&next) => {
                return Ok(Outcome::Same(before.clone()));
            }
            _ => {}
        }
        let added = lived.is_none();
        // A version that is named may run ahead, never back.
        let least = before.as_ref().map_or(1, |before| before.version + 1);
        let asked = if matches!(self, Self::Add(_) | Self::Put(_)) { next.version } else { 0 };
        next.version = asked.max(least);
        next.changed_at = now;
        tx.write(&next)?;
        Ok(if added { Outcome::Added(next) } else { Outcome::Changed(next) })
    }
}

impl Edit {
    fn of(&self, mut entry: Entry) -> Result<Entry, Refused> {
        if let Some(url) = &self.url {
            entry.target = target::check(url, &entry.domain).map_err(LinkCause::from)?;
        }
        if let Some(status) = self.status {
            entry.status = Status::parse(status)?;
        }
        match self.expires.as_deref() {
            None => {}
            Some("never") => entry.expires_at = None,
            Some(time) => entry.expires_at = Some(expires(time)?),
        }
        entry.disabled = self.disabled.unwrap_or(entry.disabled);
        entry.pass_query = self.pass_query.unwrap_or(entry.pass_query);
        entry.opt_out = self.opt_out.unwrap_or(entry.opt_out);
        Ok(entry)
    }
}

fn living(tx: &mut dyn Tx, id: &str) -> Result<Entry, StoreError> {
    let found = tx.by_id(id)?.filter(|entry| !entry.deleted);
    found.ok_or_else(|| Refused::NoSuch(id.to_owned()).into())
}

/// The link that has the entry's slug. An entry that names no id of its own takes that link's.
fn known(tx: &mut dyn Tx, entry: &Entry) -> Result<Option<Entry>, StoreError> {
    let Entry { id, domain, slug, .. } = entry;
    if let Some(found) = tx.by_name(domain, slug)? {
        return match found.id == *id || *id == named(domain, slug) {
            true => Ok(Some(found)),
            false => Err(Refused::Name { slug: slug.clone(), id: found.id }.into()),
        };
    }
    match tx.by_id(id)? {
        None => Ok(None),
        // Somebody made it between the two questions.
        Some(found) if found.domain == *domain && found.slug == *slug => Ok(Some(found)),
        Some(found) => Err(Refused::Id { id: id.clone(), slug: found.slug }.into()),
    }
}
