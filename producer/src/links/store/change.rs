//! A change of a link, applied within a transaction.
//!
//! Pure but for the transaction. A slug belongs to one id forever, also after the link was deleted:
//! so the versions of a slug have one order, which the topic keeps by its key.

use schemas::LINK_VERSION_MAX;
use serde::Deserialize;

use crate::links::link_entry::{LinkEntry, LinkError, Status};
use crate::links::link_entry::{expires, named, next_version};
use crate::links::slug_case::SlugCase;
use crate::links::store::error::{ChangeRefused, StoreError};
use crate::links::target;
use crate::links::topic_versions::TopicVersions;

/// A change of one link.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Change {
    /// Make it; it must not be there.
    Add(LinkEntry),
    /// Make it, or change it to this.
    Put(LinkEntry),
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
    /// Whether its clicks record nothing about their visitors.
    pub opt_out: Option<bool>,
}

/// The result of a change: the link as it is now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// It was not there.
    Added(LinkEntry),
    /// It was otherwise.
    Changed(LinkEntry),
    /// It is as it was.
    Same(LinkEntry),
}

/// One transaction. What is found is held against others until its end.
pub trait LinkTransaction {
    /// The link of an id, tombstones too.
    ///
    /// # Errors
    /// The database's.
    fn by_id(&mut self, id: &str) -> Result<Option<LinkEntry>, StoreError>;

    /// The link of a domain and slug, tombstones too.
    ///
    /// # Errors
    /// The database's.
    fn by_name(&mut self, domain: &str, slug: &str) -> Result<Option<LinkEntry>, StoreError>;

    /// A link that is not deleted and whose slug differs from this one in case alone.
    ///
    /// # Errors
    /// The database's.
    fn by_folded_name(&mut self, domain: &str, slug: &str)
    -> Result<Option<LinkEntry>, StoreError>;

    /// Makes the index of slugs in small letters, where there is none.
    ///
    /// # Errors
    /// The database's.
    fn index_folded(&mut self) -> Result<(), StoreError>;

    /// Writes the link and queues it for the relay.
    ///
    /// # Errors
    /// The database's.
    fn write(&mut self, entry: &LinkEntry) -> Result<(), StoreError>;
}

impl Outcome {
    /// The link as it is now.
    pub fn entry(&self) -> &LinkEntry {
        match self {
            Self::Added(entry) | Self::Changed(entry) | Self::Same(entry) => entry,
        }
    }
}

impl Change {
    /// Refuses a link whose slug is another one's but for case, where case distinguishes none.
    ///
    /// # Errors
    /// [`ChangeRefused::Case`], or the database's.
    pub(super) fn check_case(
        &self,
        transaction: &mut dyn LinkTransaction,
        slug_case: SlugCase,
    ) -> Result<(), StoreError> {
        let (Self::Add(entry) | Self::Put(entry), SlugCase::Insensitive) = (self, slug_case) else {
            return Ok(());
        };
        match transaction.by_folded_name(&entry.domain, &entry.slug)? {
            None => Ok(()),
            Some(other) => {
                let slug = entry.slug.clone();
                Err(ChangeRefused::Case { slug, other: other.slug, id: other.id }.into())
            }
        }
    }

    /// Makes the change within a transaction, at `now`. Its version comes after that of the store, and
    /// after that of the topic as far as it is known.
    ///
    /// # Errors
    /// It cannot be made, or the database's.
    pub(super) fn apply(
        &self,
        transaction: &mut dyn LinkTransaction,
        now: i64,
        topic: &dyn TopicVersions,
    ) -> Result<Outcome, StoreError> {
        let (before, mut next) = match self {
            Self::Add(entry) | Self::Put(entry) => {
                let before = known(transaction, entry)?;
                let mut next = entry.clone();
                if let Some(before) = &before {
                    next.id.clone_from(&before.id);
                }
                (before, next)
            }
            Self::Edit { id, edit } => {
                let before = existing(transaction, id)?;
                let next = edit.of(before.clone())?;
                (Some(before), next)
            }
            Self::Delete { id } => {
                let before = existing(transaction, id)?;
                let next = LinkEntry { target: String::new(), deleted: true, ..before.clone() };
                (Some(before), next)
            }
        };
        let existing = before.as_ref().filter(|before| !before.deleted);
        match (self, existing) {
            (Self::Add(_), Some(before)) => {
                return Err(ChangeRefused::Exists(before.id.clone()).into());
            }
            // What followers do not have is written again.
            (_, Some(before))
                if before.redirects_like(&next) && topic.superseding(before).is_none() =>
            {
                return Ok(Outcome::Same(before.clone()));
            }
            _ => {}
        }
        let added = existing.is_none();
        // A requested version may skip numbers, never go back.
        let least = match &before {
            None => 1,
            Some(before) => after(before, before.version)?,
        };
        let requested = if matches!(self, Self::Add(_) | Self::Put(_)) { next.version } else { 0 };
        if requested > LINK_VERSION_MAX {
            return Err(ChangeRefused::from(LinkError::Version(requested)).into());
        }
        next.version = requested.max(least);
        if let Some(newer) = topic.superseding(&next) {
            next.version = after(&next, newer)?;
        }
        next.changed_at = now;
        transaction.write(&next)?;
        Ok(if added { Outcome::Added(next) } else { Outcome::Changed(next) })
    }
}

impl Edit {
    fn of(&self, mut entry: LinkEntry) -> Result<LinkEntry, ChangeRefused> {
        if let Some(url) = &self.url {
            entry.target =
                target::check(url, &entry.domain, &entry.slug).map_err(LinkError::from)?;
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

/// The version after `version` for a link, unless that is the last one.
fn after(link: &LinkEntry, version: i64) -> Result<i64, ChangeRefused> {
    let last = || ChangeRefused::LastVersion { id: link.id.clone(), version };
    next_version(version).ok_or_else(last)
}

fn existing(transaction: &mut dyn LinkTransaction, id: &str) -> Result<LinkEntry, StoreError> {
    let found = transaction.by_id(id)?.filter(|entry| !entry.deleted);
    found.ok_or_else(|| ChangeRefused::NoSuch(id.to_owned()).into())
}

/// The link that has the entry's slug. An entry that names no id of its own takes that link's.
fn known(
    transaction: &mut dyn LinkTransaction,
    entry: &LinkEntry,
) -> Result<Option<LinkEntry>, StoreError> {
    let LinkEntry { id, domain, slug, .. } = entry;
    if let Some(found) = transaction.by_name(domain, slug)? {
        if found.id == *id || *id == named(domain, slug) {
            return Ok(Some(found));
        }
        return Err(ChangeRefused::Name { slug: slug.clone(), id: found.id }.into());
    }
    match transaction.by_id(id)? {
        None => Ok(None),
        // Another transaction made it between the two queries.
        Some(found) if found.domain == *domain && found.slug == *slug => Ok(Some(found)),
        Some(found) => Err(ChangeRefused::Id { id: id.clone(), slug: found.slug }.into()),
    }
}
