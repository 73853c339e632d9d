//! The interface of a database to the store, and the SQL that both databases understand.

use std::ops::RangeInclusive;

use crate::links::link_entry::LinkEntry;
use crate::links::store::change::LinkTransaction;
use crate::links::store::error::StoreError;
use crate::links::store::queued_links::Published;
use crate::links::topic_versions::TopicVersions;

/// Work within one transaction.
pub type Work<'a> = &'a mut dyn FnMut(&mut dyn LinkTransaction) -> Result<(), StoreError>;

/// One connection to a database. [`super::Store`] documents each call.
pub trait Backend: Send {
    /// Runs `work` in a transaction, which makes all of its changes or none.
    fn transaction(&mut self, work: Work<'_>) -> Result<(), StoreError>;
    /// The link of an id.
    fn get(&mut self, id: &str) -> Result<Option<LinkEntry>, StoreError>;
    /// The links of these ids, as far as they exist.
    fn entries(&mut self, ids: &[&str]) -> Result<Vec<LinkEntry>, StoreError>;
    /// Links in the order of their ids.
    fn page(&mut self, after: &str, limit: u32) -> Result<Vec<LinkEntry>, StoreError>;
    /// As `page`, with tombstones.
    fn page_all(&mut self, after: &str, limit: u32) -> Result<Vec<LinkEntry>, StoreError>;
    /// Number of links that wait to be published.
    fn waiting(&mut self) -> Result<u64, StoreError>;
    /// Queues all links.
    fn republish(&mut self) -> Result<u64, StoreError>;
    /// Queues one link.
    fn queue(&mut self, id: &str) -> Result<(), StoreError>;
    /// Publishes waiting links, and raises the versions of those that the topic has superseded.
    fn publish_newest(
        &mut self,
        limit: u32,
        topic: &dyn TopicVersions,
        publish: &mut dyn FnMut(&[LinkEntry]) -> Result<(), String>,
    ) -> Result<Published, StoreError>;
    /// The keys of these days, in one statement.
    fn day_keys(&mut self, days: RangeInclusive<i32>) -> Result<Vec<(i32, Vec<u8>)>, StoreError>;
    /// Stores `fresh` as the key of a day, unless there is one.
    fn keep_day_key(&mut self, day: i32, fresh: [u8; 32]) -> Result<(), StoreError>;
    /// Deletes the keys of days before `day`. A database with its own clock keeps those of the last `days`
    /// days by that clock, for any `day`.
    fn forget_before(&mut self, day: i32, days: i32) -> Result<u64, StoreError>;
    /// Deletes the key of a day.
    fn forget_day(&mut self, day: i32) -> Result<bool, StoreError>;
    /// Days that have a key, in order.
    fn days(&mut self) -> Result<Vec<i32>, StoreError>;
}

/// The tables, each created if it does not exist. A queued link is one row, even after several changes.
pub(super) const TABLES: &str = "
CREATE TABLE IF NOT EXISTS links (
    id TEXT PRIMARY KEY,
    version BIGINT NOT NULL,
    domain TEXT NOT NULL,
    slug TEXT NOT NULL,
    target TEXT NOT NULL,
    status BIGINT NOT NULL,
    disabled BOOLEAN NOT NULL,
    expires_at BIGINT,
    pass_query BOOLEAN NOT NULL,
    opt_out BOOLEAN NOT NULL,
    deleted BOOLEAN NOT NULL,
    changed_at BIGINT NOT NULL,
    UNIQUE (domain, slug)
);
CREATE TABLE IF NOT EXISTS link_outbox (
    link_id TEXT PRIMARY KEY REFERENCES links (id),
    version BIGINT NOT NULL
);
CREATE TABLE IF NOT EXISTS day_keys (day BIGINT PRIMARY KEY, secret BYTEA NOT NULL);
";

/// The columns of a link, in the order in which backends read and write them.
macro_rules! columns {
    () => {
        "l.id, l.version, l.domain, l.slug, l.target, l.status, l.disabled, l.expires_at, \
         l.pass_query, l.opt_out, l.deleted, l.changed_at"
    };
}

pub(super) const BY_ID: &str = concat!("SELECT ", columns!(), " FROM links l WHERE l.id = $1");
/// For PostgreSQL only.
pub(super) const BY_IDS: &str =
    concat!("SELECT ", columns!(), " FROM links l WHERE l.id = ANY($1)");
pub(super) const BY_NAME: &str =
    concat!("SELECT ", columns!(), " FROM links l WHERE l.domain = $1 AND l.slug = $2");
/// Links whose slugs differ from `$3` only in case; `$2` is `$3` in small letters.
pub(super) const BY_FOLDED_NAME: &str = concat!(
    "SELECT ",
    columns!(),
    " FROM links l WHERE l.domain = $1 AND lower(l.slug) = $2 AND l.slug <> $3 AND NOT l.deleted \
     LIMIT 1"
);
/// Created only if slugs are case-insensitive.
pub(super) const FOLDED_INDEX: &str =
    "CREATE INDEX IF NOT EXISTS links_by_folded_name ON links (domain, lower(slug))";
pub(super) const PAGE: &str = concat!(
    "SELECT ",
    columns!(),
    " FROM links l WHERE l.id > $1 AND NOT l.deleted ORDER BY l.id LIMIT $2"
);
pub(super) const PAGE_ALL: &str =
    concat!("SELECT ", columns!(), " FROM links l WHERE l.id > $1 ORDER BY l.id LIMIT $2");
pub(super) const QUEUED: &str =
    concat!("SELECT ", columns!(), " FROM link_outbox o JOIN links l ON l.id = o.link_id LIMIT $1");
/// Writes nothing if another transaction has written that version meanwhile.
pub(super) const WRITE: &str = "
INSERT INTO links (id, version, domain, slug, target, status, disabled, expires_at, pass_query,
    opt_out, deleted, changed_at)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12)
ON CONFLICT (id) DO UPDATE SET version = excluded.version, target = excluded.target,
    status = excluded.status, disabled = excluded.disabled, expires_at = excluded.expires_at,
    pass_query = excluded.pass_query, opt_out = excluded.opt_out, deleted = excluded.deleted,
    changed_at = excluded.changed_at
WHERE links.version < excluded.version";
pub(super) const QUEUE: &str = "INSERT INTO link_outbox (link_id, version) VALUES ($1, $2)
ON CONFLICT (link_id) DO UPDATE SET version = excluded.version";
pub(super) const QUEUE_ALL: &str = "INSERT INTO link_outbox (link_id, version)
SELECT id, version FROM links WHERE true ON CONFLICT (link_id) DO NOTHING";
pub(super) const QUEUE_ONE: &str = "INSERT INTO link_outbox (link_id, version)
SELECT id, version FROM links WHERE id = $1 ON CONFLICT (link_id) DO NOTHING";
/// Removes a link from the queue, unless it has changed since it was published.
pub(super) const DONE: &str = "DELETE FROM link_outbox WHERE link_id = $1 AND version <= $2";
pub(super) const WAITING: &str = "SELECT count(*) FROM link_outbox";
pub(super) const KEEP_KEY: &str =
    "INSERT INTO day_keys (day, secret) VALUES ($1, $2) ON CONFLICT (day) DO NOTHING";
pub(super) const KEYS: &str = "SELECT day, secret FROM day_keys WHERE day >= $1 AND day <= $2";
pub(super) const FORGET_BEFORE: &str = "DELETE FROM day_keys WHERE day < $1";
pub(super) const DAYS: &str = "SELECT day FROM day_keys ORDER BY day";
pub(super) const FORGET: &str = "DELETE FROM day_keys WHERE day = $1";
