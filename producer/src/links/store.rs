//! The link store: one transaction holds a change and the row that queues it for the topic.
//!
//! SQLite on one host, PostgreSQL for several. It blocks: redirects never use it.

pub mod backend;
pub mod change;
pub mod error;
pub mod postgres;
pub mod sqlite;
pub mod tls;

use std::collections::BTreeSet;

use crate::links::link_entry::LinkEntry;
use crate::links::store::backend::Backend;
use crate::links::store::change::{Change, LinkTransaction, Outcome};
use crate::links::store::error::StoreError;
use crate::links::store::postgres::Postgres;
use crate::links::store::sqlite::Sqlite;
use crate::links::store_location::StoreLocation;

/// How often a change is tried that conflicts with another one.
const TRIES: u32 = 5;

/// One user of the store.
pub struct Store {
    backend: Box<dyn Backend>,
}

impl std::fmt::Debug for Store {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Store")
    }
}

/// What an import did.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Imported {
    /// Links that were not there.
    pub added: u64,
    /// Links that redirected otherwise.
    pub changed: u64,
    /// Links that redirected alike.
    pub same: u64,
}

impl Store {
    /// Opens the store and creates missing tables. A PostgreSQL server that is unreachable is tried
    /// again at each use.
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
        Ok(Self { backend })
    }

    /// Makes one change, and queues the link for the publisher, at `now` (microseconds since 1970).
    ///
    /// # Errors
    /// [`StoreError`]; then nothing has changed.
    pub fn change(&mut self, change: &Change, now: i64) -> Result<Outcome, StoreError> {
        self.all(std::slice::from_ref(change), now)?.pop().ok_or(StoreError::Conflict)
    }

    /// Makes or changes every link, all or none.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn import(&mut self, entries: &[LinkEntry], now: i64) -> Result<Imported, StoreError> {
        let changes: Vec<_> = entries.iter().cloned().map(Change::Put).collect();
        let mut imported = Imported::default();
        for outcome in self.all(&changes, now)? {
            match outcome {
                Outcome::Added(_) => imported.added += 1,
                Outcome::Changed(_) => imported.changed += 1,
                Outcome::Same(_) => imported.same += 1,
            }
        }
        Ok(imported)
    }

    fn all(&mut self, changes: &[Change], now: i64) -> Result<Vec<Outcome>, StoreError> {
        let mut tries = 1;
        loop {
            let mut outcomes = Vec::with_capacity(changes.len());
            let done = self.backend.transaction(&mut |transaction: &mut dyn LinkTransaction| {
                for change in changes {
                    outcomes.push(change.apply(transaction, now)?);
                }
                Ok(())
            });
            match done {
                Ok(()) => return Ok(outcomes),
                Err(StoreError::Conflict) if tries < TRIES => tries += 1,
                Err(error) => return Err(error),
            }
        }
    }

    /// A link by its id, tombstones too.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn get(&mut self, id: &str) -> Result<Option<LinkEntry>, StoreError> {
        self.backend.get(id)
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

    /// Queues every link, tombstones too: for a topic that was recreated.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn republish(&mut self) -> Result<u64, StoreError> {
        self.backend.republish()
    }

    /// Queues these links, by their ids; one that is not there is none.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn queue(&mut self, ids: &BTreeSet<String>) -> Result<(), StoreError> {
        ids.iter().try_for_each(|id| self.backend.queue(id))
    }

    /// Passes at most `limit` waiting links to `publish`, each in its current state, and removes them
    /// from the queue once it succeeded. No other host publishes them meanwhile. Returns how many.
    ///
    /// # Errors
    /// [`StoreError`]; whatever it is, the links still wait.
    pub fn publish_waiting(
        &mut self,
        limit: u32,
        publish: &mut dyn FnMut(&[LinkEntry]) -> Result<(), String>,
    ) -> Result<usize, StoreError> {
        self.backend.publish_waiting(limit, publish)
    }

    /// The key of a UTC day (days since 1970), the same for every host; made when it is not there.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn day_key(&mut self, day: i32) -> Result<[u8; 32], StoreError> {
        let mut fresh = [0; 32];
        getrandom::fill(&mut fresh).map_err(|error| StoreError::Unusable(error.to_string()))?;
        self.backend.day_key(day, fresh)
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
