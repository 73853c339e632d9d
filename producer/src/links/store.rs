//! The link store: one transaction contains a change and the row that queues it for the topic.
//!
//! It is SQLite on one host, or PostgreSQL for several. Its calls block; redirects never use it.

pub mod backend;
pub mod change;
pub mod error;
pub mod postgres;
pub mod queued_links;
pub mod sqlite;
pub mod tls;

use std::ops::RangeInclusive;

use crate::links::link_entry::{LinkEntry, next_version};
use crate::links::slug_case::SlugCase;
use crate::links::store::backend::Backend;
use crate::links::store::change::{Change, LinkTransaction, Outcome};
use crate::links::store::error::StoreError;
use crate::links::store::postgres::Postgres;
use crate::links::store::queued_links::Published;
use crate::links::store::sqlite::Sqlite;
use crate::links::store_location::StoreLocation;
use crate::links::topic_versions::{TopicVersions, UnknownTopic};

/// Most attempts of a change that conflicts with others.
const TRIES: u32 = 5;

/// An open link store.
pub struct Store {
    backend: Box<dyn Backend>,
    slug_case: SlugCase,
    /// Whether the index of slugs in small letters exists.
    is_indexed: bool,
}

impl std::fmt::Debug for Store {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Store")
    }
}

/// The result of an import.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Imported {
    /// Links that were new.
    pub added: u64,
    /// Links that redirected differently before.
    pub changed: u64,
    /// Links that redirected alike before.
    pub same: u64,
}

impl Store {
    /// Opens the store, and creates missing tables. If a PostgreSQL server is unreachable, each later use
    /// tries again.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn open(location: &StoreLocation) -> Result<Self, StoreError> {
        let backend: Box<dyn Backend> = match location {
            StoreLocation::File(path) => Box::new(Sqlite::open(path)?),
            StoreLocation::Server(url) => Box::new(Postgres::new(url)?),
            StoreLocation::None => {
                let cause = "this process has no store: set CLICKTRAIL_LINKS_DB to a file or to \
                             postgres://…";
                return Err(StoreError::Unusable(cause.to_owned()));
            }
        };
        Ok(Self { backend, slug_case: SlugCase::default(), is_indexed: false })
    }

    /// The same store with this setting. With case-insensitive slugs, it refuses a link whose slug differs
    /// from another one only in case.
    #[must_use]
    pub fn with_slug_case(self, slug_case: SlugCase) -> Self {
        Self { slug_case, ..self }
    }

    /// Makes one change at `now` (microseconds since 1970), and queues the link for the publisher.
    ///
    /// # Errors
    /// [`StoreError`]; then nothing has changed.
    pub fn change(&mut self, change: &Change, now: i64) -> Result<Outcome, StoreError> {
        self.change_after(&UnknownTopic, change, now)
    }

    /// As [`Store::change`], with a version after that of the topic, so that followers apply it.
    ///
    /// # Errors
    /// [`StoreError`]; then nothing has changed.
    pub fn change_after(
        &mut self,
        topic: &dyn TopicVersions,
        change: &Change,
        now: i64,
    ) -> Result<Outcome, StoreError> {
        let changes = std::slice::from_ref(change);
        self.all(topic, changes, now)?.pop().ok_or(StoreError::Conflict)
    }

    /// Creates or changes all links, or none of them.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn import(&mut self, entries: &[LinkEntry], now: i64) -> Result<Imported, StoreError> {
        let changes: Vec<_> = entries.iter().cloned().map(Change::Put).collect();
        let mut imported = Imported::default();
        for outcome in self.all(&UnknownTopic, &changes, now)? {
            match outcome {
                Outcome::Added(_) => imported.added += 1,
                Outcome::Changed(_) => imported.changed += 1,
                Outcome::Same(_) => imported.same += 1,
            }
        }
        Ok(imported)
    }

    fn all(
        &mut self,
        topic: &dyn TopicVersions,
        changes: &[Change],
        now: i64,
    ) -> Result<Vec<Outcome>, StoreError> {
        let (mut tries, slug_case) = (1, self.slug_case);
        let makes_index = slug_case == SlugCase::Insensitive && !self.is_indexed;
        loop {
            let mut outcomes = Vec::with_capacity(changes.len());
            let done = self.backend.transaction(&mut |transaction: &mut dyn LinkTransaction| {
                if makes_index {
                    transaction.index_folded()?;
                }
                for change in changes {
                    change.check_case(transaction, slug_case)?;
                    outcomes.push(change.apply(transaction, now, topic)?);
                }
                Ok(())
            });
            match done {
                Ok(()) => {
                    self.is_indexed |= makes_index;
                    return Ok(outcomes);
                }
                Err(StoreError::Conflict) if tries < TRIES => tries += 1,
                Err(error) => return Err(error),
            }
        }
    }

    /// The link of an id, also a tombstone.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn get(&mut self, id: &str) -> Result<Option<LinkEntry>, StoreError> {
        self.backend.get(id)
    }

    /// The links of these ids, also tombstones, without those that do not exist.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn entries(&mut self, ids: &[&str]) -> Result<Vec<LinkEntry>, StoreError> {
        self.backend.entries(ids)
    }

    /// As [`Store::page`], with tombstones.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn page_all(&mut self, after: &str, limit: u32) -> Result<Vec<LinkEntry>, StoreError> {
        self.backend.page_all(after, limit)
    }

    /// At most `limit` links whose ids come after `after`, in the order of ids, without tombstones.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn page(&mut self, after: &str, limit: u32) -> Result<Vec<LinkEntry>, StoreError> {
        self.backend.page(after, limit)
    }

    /// Links that wait to be published.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn waiting(&mut self) -> Result<u64, StoreError> {
        self.backend.waiting()
    }

    /// Queues all links, also tombstones, such as after the topic was recreated.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn republish(&mut self) -> Result<u64, StoreError> {
        self.backend.republish()
    }

    /// Queues the link of an id, if it exists.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn queue(&mut self, id: &str) -> Result<(), StoreError> {
        self.backend.queue(id)
    }

    /// Gives a link its next version with the same content, and queues it, unless it has changed since or has
    /// the last possible version.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn raise(&mut self, entry: &LinkEntry) -> Result<(), StoreError> {
        let Some(version) = next_version(entry.version) else { return Ok(()) };
        self.backend.transaction(&mut |transaction: &mut dyn LinkTransaction| match transaction
            .by_id(&entry.id)?
        {
            Some(now) if now.version == entry.version => {
                transaction.write(&LinkEntry { version, ..now })
            }
            Some(_) | None => Ok(()),
        })
    }

    /// Passes at most `limit` waiting links to `publish`, each in its current state, and removes them from
    /// the queue after it succeeds. No other host publishes them meanwhile. Returns how many.
    ///
    /// # Errors
    /// [`StoreError`]; the links still wait.
    pub fn publish_waiting(
        &mut self,
        limit: u32,
        publish: &mut dyn FnMut(&[LinkEntry]) -> Result<(), String>,
    ) -> Result<usize, StoreError> {
        Ok(self.publish_newest(limit, &UnknownTopic, publish)?.links)
    }

    /// As [`Store::publish_waiting`], but a link that the topic has superseded gets the version after the
    /// topic's, and waits for the next call.
    ///
    /// # Errors
    /// [`StoreError`]; the links still wait.
    pub fn publish_newest(
        &mut self,
        limit: u32,
        topic: &dyn TopicVersions,
        publish: &mut dyn FnMut(&[LinkEntry]) -> Result<(), String>,
    ) -> Result<Published, StoreError> {
        self.backend.publish_newest(limit, topic, publish)
    }

    /// Reads the keys of these UTC days (days since 1970) in one statement; all hosts have the same keys.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn day_keys(
        &mut self,
        days: RangeInclusive<i32>,
    ) -> Result<Vec<(i32, Vec<u8>)>, StoreError> {
        self.backend.day_keys(days)
    }

    /// The key of a UTC day, which is created if it does not exist.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn day_key(&mut self, day: i32) -> Result<[u8; 32], StoreError> {
        self.make_day_key(day)?;
        let found = self.day_keys(day..=day)?.pop();
        let key = found.and_then(|(_, secret)| secret.try_into().ok());
        key.ok_or_else(|| {
            StoreError::Unusable(format!("the key of day {day} does not have 32 bytes"))
        })
    }

    /// Creates the key of a UTC day, unless a host has created it.
    ///
    /// # Errors
    /// [`StoreError`].
    #[expect(clippy::disallowed_methods, reason = "day keys are random")]
    pub fn make_day_key(&mut self, day: i32) -> Result<(), StoreError> {
        let mut fresh = [0; 32];
        getrandom::fill(&mut fresh).map_err(|error| StoreError::Unusable(error.to_string()))?;
        self.backend.keep_day_key(day, fresh)
    }

    /// Deletes the keys of days before `day`, except those of the last `days` days by the clock of the
    /// database; returns how many.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn forget_before(&mut self, day: i32, days: i32) -> Result<u64, StoreError> {
        self.backend.forget_before(day, days)
    }

    /// Deletes the key of a day; returns whether there was one.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn forget_day(&mut self, day: i32) -> Result<bool, StoreError> {
        self.backend.forget_day(day)
    }

    /// The days that have a key, in order.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn days(&mut self) -> Result<Vec<i32>, StoreError> {
        self.backend.days()
    }
}
