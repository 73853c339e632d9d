//! A change of a link, applied within a transaction.
//!
//! Pure except for the transaction. A slug belongs to one id forever, also after its link is deleted: so the
//! versions of a slug have one order, which the topic keeps by its key.

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
    /// Create it; it must not exist.
    Add(LinkEntry),
    /// Create it, or change it to this.
    Put(LinkEntry),
    /// Change the fields that the edit sets.
    Edit {
        /// Which link.
        id: String,
        /// The fields to change.
        edit: Edit,
    },
    /// Delete it; its id and its versions stay.
    Delete {
        /// Which link.
        id: String,
    },
}

/// The fields of a link to change; others stay.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Edit {
    /// Target of the redirect.
    pub url: Option<String>,
    /// Status of the redirect: 302 or 301.
    pub status: Option<u16>,
    /// Whether it is switched off.
    pub disabled: Option<bool>,
    /// Time at which it stops redirecting, such as `2027-01-31T12:00:00Z`, or `never`.
    pub expires: Option<String>,
    /// Whether the visitor's query is appended to the query of the target.
    pub pass_query: Option<bool>,
    /// Whether clicks on it record nothing about their visitors.
    pub opt_out: Option<bool>,
}

/// The result of a change, with the current link.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// The link is new.
    Added(LinkEntry),
    /// The link has changed.
    Changed(LinkEntry),
    /// The link was the same before.
    Same(LinkEntry),
}

/// One transaction. It locks the links that it finds until its end.
pub trait LinkTransaction {
    /// The link of an id, also a tombstone.
    ///
    /// # Errors
    /// An error of the database.
    fn by_id(&mut self, id: &str) -> Result<Option<LinkEntry>, StoreError>;

    /// The link of a domain and slug, also a tombstone.
    ///
    /// # Errors
    /// An error of the database.
    fn by_name(&mut self, domain: &str, slug: &str) -> Result<Option<LinkEntry>, StoreError>;

    /// A link that is not deleted and whose slug differs from this one only in case.
    ///
    /// # Errors
    /// An error of the database.
    fn by_folded_name(&mut self, domain: &str, slug: &str)
    -> Result<Option<LinkEntry>, StoreError>;

    /// Creates the index of slugs in small letters, unless it exists.
    ///
    /// # Errors
    /// An error of the database.
    fn index_folded(&mut self) -> Result<(), StoreError>;

    /// Writes the link, and queues it for the publisher.
    ///
    /// # Errors
    /// An error of the database.
    fn write(&mut self, entry: &LinkEntry) -> Result<(), StoreError>;
}

impl Outcome {
    /// The current link.
    pub fn entry(&self) -> &LinkEntry {
        match self {
            Self::Added(entry) | Self::Changed(entry) | Self::Same(entry) => entry,
        }
    }
}

impl Change {
    /// If slugs are case-insensitive, refuses a link whose slug differs from another one only in case.
    ///
    /// # Errors
    /// [`ChangeRefused::Case`], or an error of the database.
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

    /// Makes the change at `now` within a transaction. Its version comes after that of the store, and after
    /// the known version of the topic.
    ///
    /// # Errors
    /// The change is refused, or an error of the database.
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
            // A link that followers do not have is written again.
            (_, Some(before))
                if before.redirects_like(&next) && topic.superseding(before).is_none() =>
            {
                return Ok(Outcome::Same(before.clone()));
            }
            _ => {}
        }
        let added = existing.is_none();
        // A requested version may skip numbers, but not go back.
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

/// The version of a link after `version`, unless that is the last possible one.
fn after(link: &LinkEntry, version: i64) -> Result<i64, ChangeRefused> {
    let last = || ChangeRefused::LastVersion { id: link.id.clone(), version };
    next_version(version).ok_or_else(last)
}

fn existing(transaction: &mut dyn LinkTransaction, id: &str) -> Result<LinkEntry, StoreError> {
    let found = transaction.by_id(id)?.filter(|entry| !entry.deleted);
    found.ok_or_else(|| ChangeRefused::NoSuch(id.to_owned()).into())
}

/// The link with the slug of the entry. An entry without an id gets the id of that link.
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
        // Another transaction created it between the two queries.
        Some(found) if found.domain == *domain && found.slug == *slug => Ok(Some(found)),
        Some(found) => Err(ChangeRefused::Id { id: id.clone(), slug: found.slug }.into()),
    }
}
