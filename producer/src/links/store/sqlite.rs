//! The store in an SQLite file, for one host.
//!
//! An acknowledged change survives a power loss. Several processes may use the file, and one of them
//! publishes at a time: it holds a lock on a second file, which ends with the process.

use std::fs::{File, TryLockError};
use std::ops::RangeInclusive;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rusqlite::types::ToSql;
use rusqlite::{Connection, Error, ErrorCode, OptionalExtension as _, Row, TransactionBehavior};

use crate::clock::now_ms;
use crate::links::link_entry::{LinkEntry, Status};
use crate::links::store::backend::{
    BY_FOLDED_NAME, BY_ID, BY_NAME, Backend, DAYS, DONE, FOLDED_INDEX, FORGET, FORGET_BEFORE,
    KEEP_KEY, KEYS, PAGE, PAGE_ALL, QUEUE, QUEUE_ALL, QUEUE_ONE, QUEUED, TABLES, WAITING, WRITE,
    Work,
};
use crate::links::store::change::LinkTransaction;
use crate::links::store::error::StoreError;
use crate::links::store::queued_links::{Published, QueuedLinks};
use crate::links::topic_versions::TopicVersions;
use crate::private_file;

/// Longest wait for a change by another process.
const BUSY: Duration = Duration::from_secs(5);

/// Pause before another attempt to create the tables. To avoid a deadlock, SQLite does not let two processes
/// wait for each other that create the file at the same time: one of them fails at once.
const CREATE_PAUSE: Duration = Duration::from_millis(20);

/// One connection to the file.
#[derive(Debug)]
pub struct Sqlite {
    connection: Connection,
    lease_path: PathBuf,
    /// Held while this process publishes.
    lease: Option<File>,
}

impl Sqlite {
    /// Opens the file, and creates it if it does not exist.
    ///
    /// # Errors
    /// The file cannot be used, or not at this time.
    pub fn open(path: &Path) -> Result<Self, StoreError> {
        Self::open_within(path, BUSY)
    }

    /// As [`Sqlite::open`]; waits for a change by another process at most `wait`.
    fn open_within(path: &Path, wait: Duration) -> Result<Self, StoreError> {
        let named = |error: Error| match error_of(error) {
            StoreError::Unusable(cause) => {
                StoreError::Unusable(format!("{}: {cause}", path.display()))
            }
            other @ (StoreError::Unreachable(_)
            | StoreError::Conflict
            | StoreError::Refused(_)
            | StoreError::Unpublished(_)) => other,
        };
        // SQLite creates its other files with the permissions of this one.
        private_file::create_empty(path)
            .map_err(|error| StoreError::of_io(&path.display().to_string(), &error))?;
        let connection = Connection::open(path).map_err(named)?;
        connection.busy_timeout(wait).map_err(named)?;
        let began = now_ms();
        while let Err(error) = prepare(&connection) {
            let busy = error.sqlite_error_code() == Some(ErrorCode::DatabaseBusy);
            if !busy || u128::from(now_ms().saturating_sub(began)) >= wait.as_millis() {
                return Err(named(error));
            }
            std::thread::sleep(CREATE_PAUSE);
        }
        ["", "-wal", "-shm", "-relay"]
            .iter()
            .for_each(|end| private_file::tighten(&beside(path, end)));
        Ok(Self { connection, lease_path: beside(path, "-relay"), lease: None })
    }

    /// Whether this process is the one that publishes. Takes the lock if it is free.
    fn holds_lease(&mut self) -> Result<bool, StoreError> {
        if self.lease.is_some() {
            return Ok(true);
        }
        let broken = |error: std::io::Error| {
            StoreError::of_io(&self.lease_path.display().to_string(), &error)
        };
        let file = private_file::open_or_create(&self.lease_path).map_err(broken)?;
        match file.try_lock() {
            Ok(()) => self.lease = Some(file),
            Err(TryLockError::WouldBlock) => return Ok(false),
            Err(TryLockError::Error(error)) => return Err(broken(error)),
        }
        Ok(true)
    }

    /// Writes those of these links that the topic still supersedes, with their next versions.
    fn raise(
        &mut self,
        links: &[LinkEntry],
        topic: &dyn TopicVersions,
    ) -> Result<Vec<LinkEntry>, StoreError> {
        let behavior = TransactionBehavior::Immediate;
        let transaction = self.connection.transaction_with_behavior(behavior).map_err(error_of)?;
        let mut current = Vec::with_capacity(links.len());
        for link in links {
            current.extend(one(&transaction, BY_ID, &[&link.id])?);
        }
        let QueuedLinks { raised, .. } = QueuedLinks::new(current, topic);
        let mut held = Transaction(&transaction);
        raised.iter().try_for_each(|entry| held.write(entry))?;
        transaction.commit().map_err(error_of)?;
        Ok(raised)
    }

    fn many(&self, sql: &str, parameters: &[&dyn ToSql]) -> Result<Vec<LinkEntry>, StoreError> {
        let mut statement = self.connection.prepare_cached(sql).map_err(error_of)?;
        let found = statement.query_map(parameters, entry).map_err(error_of)?;
        found.collect::<Result<_, _>>().map_err(error_of)
    }
}

impl Backend for Sqlite {
    fn transaction(&mut self, work: Work<'_>) -> Result<(), StoreError> {
        let behavior = TransactionBehavior::Immediate;
        let transaction = self.connection.transaction_with_behavior(behavior).map_err(error_of)?;
        work(&mut Transaction(&transaction))?;
        transaction.commit().map_err(error_of)
    }

    fn get(&mut self, id: &str) -> Result<Option<LinkEntry>, StoreError> {
        one(&self.connection, BY_ID, &[&id])
    }

    fn entries(&mut self, ids: &[&str]) -> Result<Vec<LinkEntry>, StoreError> {
        let found = ids.iter().filter_map(|id| one(&self.connection, BY_ID, &[id]).transpose());
        found.collect()
    }

    fn page(&mut self, after: &str, limit: u32) -> Result<Vec<LinkEntry>, StoreError> {
        self.many(PAGE, &[&after, &limit])
    }

    fn page_all(&mut self, after: &str, limit: u32) -> Result<Vec<LinkEntry>, StoreError> {
        self.many(PAGE_ALL, &[&after, &limit])
    }

    fn waiting(&mut self) -> Result<u64, StoreError> {
        let count: i64 =
            self.connection.query_row(WAITING, (), |row| row.get(0)).map_err(error_of)?;
        // A count is never negative.
        u64::try_from(count).map_err(|error| StoreError::Unusable(error.to_string()))
    }

    fn republish(&mut self) -> Result<u64, StoreError> {
        Ok(self.connection.execute(QUEUE_ALL, ()).map_err(error_of)? as u64)
    }

    fn queue(&mut self, id: &str) -> Result<(), StoreError> {
        self.connection.execute(QUEUE_ONE, (id,)).map(drop).map_err(error_of)
    }

    /// The lock excludes other publishers, so no transaction is open during the wait for the broker.
    fn publish_newest(
        &mut self,
        limit: u32,
        topic: &dyn TopicVersions,
        publish: &mut dyn FnMut(&[LinkEntry]) -> Result<(), String>,
    ) -> Result<Published, StoreError> {
        if !self.holds_lease()? {
            return Ok(Published::default());
        }
        let QueuedLinks { ready, raised } = QueuedLinks::new(self.many(QUEUED, &[&limit])?, topic);
        let raised = if raised.is_empty() { raised } else { self.raise(&raised, topic)? };
        if ready.is_empty() {
            return Ok(Published { links: 0, raised });
        }
        publish(&ready).map_err(StoreError::Unpublished)?;
        let behavior = TransactionBehavior::Immediate;
        let transaction = self.connection.transaction_with_behavior(behavior).map_err(error_of)?;
        for entry in &ready {
            let mut done = transaction.prepare_cached(DONE).map_err(error_of)?;
            done.execute((&entry.id, entry.version)).map_err(error_of)?;
        }
        transaction.commit().map_err(error_of)?;
        Ok(Published { links: ready.len(), raised })
    }

    fn day_keys(&mut self, days: RangeInclusive<i32>) -> Result<Vec<(i32, Vec<u8>)>, StoreError> {
        let mut keys = self.connection.prepare_cached(KEYS).map_err(error_of)?;
        let keys = keys.query_map((days.start(), days.end()), |row| Ok((row.get(0)?, row.get(1)?)));
        keys.map_err(error_of)?.collect::<Result<_, _>>().map_err(error_of)
    }

    fn keep_day_key(&mut self, day: i32, fresh: [u8; 32]) -> Result<(), StoreError> {
        self.connection.execute(KEEP_KEY, (day, fresh)).map(drop).map_err(error_of)
    }

    fn forget_before(&mut self, day: i32, _: i32) -> Result<u64, StoreError> {
        Ok(self.connection.execute(FORGET_BEFORE, (day,)).map_err(error_of)? as u64)
    }

    fn forget_day(&mut self, day: i32) -> Result<bool, StoreError> {
        Ok(self.connection.execute(FORGET, (day,)).map_err(error_of)? > 0)
    }

    fn days(&mut self) -> Result<Vec<i32>, StoreError> {
        let mut days = self.connection.prepare(DAYS).map_err(error_of)?;
        let days = days.query_map((), |row| row.get(0)).map_err(error_of)?;
        days.collect::<Result<_, _>>().map_err(error_of)
    }
}

struct Transaction<'a>(&'a Connection);

impl LinkTransaction for Transaction<'_> {
    fn by_id(&mut self, id: &str) -> Result<Option<LinkEntry>, StoreError> {
        one(self.0, BY_ID, &[&id])
    }

    fn by_name(&mut self, domain: &str, slug: &str) -> Result<Option<LinkEntry>, StoreError> {
        one(self.0, BY_NAME, &[&domain, &slug])
    }

    fn by_folded_name(
        &mut self,
        domain: &str,
        slug: &str,
    ) -> Result<Option<LinkEntry>, StoreError> {
        one(self.0, BY_FOLDED_NAME, &[&domain, &slug.to_ascii_lowercase(), &slug])
    }

    fn index_folded(&mut self) -> Result<(), StoreError> {
        self.0.execute_batch(FOLDED_INDEX).map_err(error_of)
    }

    fn write(&mut self, entry: &LinkEntry) -> Result<(), StoreError> {
        let mut write = self.0.prepare_cached(WRITE).map_err(error_of)?;
        let status = entry.status.code();
        let parameters: [&dyn ToSql; 12] = [
            &entry.id,
            &entry.version,
            &entry.domain,
            &entry.slug,
            &entry.target,
            &status,
            &entry.disabled,
            &entry.expires_at,
            &entry.pass_query,
            &entry.opt_out,
            &entry.deleted,
            &entry.changed_at,
        ];
        if write.execute(&parameters[..]).map_err(error_of)? == 0 {
            return Err(StoreError::Conflict);
        }
        let mut queue = self.0.prepare_cached(QUEUE).map_err(error_of)?;
        queue.execute((&entry.id, entry.version)).map_err(error_of)?;
        Ok(())
    }
}

/// The file whose name is that of `path`, followed by `end`.
fn beside(path: &Path, end: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(end);
    name.into()
}

fn one(
    connection: &Connection,
    sql: &str,
    parameters: &[&dyn ToSql],
) -> Result<Option<LinkEntry>, StoreError> {
    let mut statement = connection.prepare_cached(sql).map_err(error_of)?;
    statement.query_row(parameters, entry).optional().map_err(error_of)
}

/// WAL: readers do not wait for writers. FULL: an acknowledged change is on the disk.
fn prepare(connection: &Connection) -> rusqlite::Result<()> {
    connection.execute_batch(
        "PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL; PRAGMA foreign_keys = ON;",
    )?;
    connection.execute_batch(TABLES)
}

fn entry(row: &Row<'_>) -> rusqlite::Result<LinkEntry> {
    Ok(LinkEntry {
        id: row.get(0)?,
        version: row.get(1)?,
        domain: row.get(2)?,
        slug: row.get(3)?,
        target: row.get(4)?,
        // An unknown status becomes the default.
        status: Status::parse(row.get(5)?).unwrap_or_default(),
        disabled: row.get(6)?,
        expires_at: row.get(7)?,
        pass_query: row.get(8)?,
        opt_out: row.get(9)?,
        deleted: row.get(10)?,
        changed_at: row.get(11)?,
    })
}

#[expect(clippy::needless_pass_by_value, reason = "it is made for map_err")]
fn error_of(error: Error) -> StoreError {
    match error.sqlite_error_code() {
        Some(
            ErrorCode::DatabaseBusy
            | ErrorCode::DatabaseLocked
            | ErrorCode::DiskFull
            | ErrorCode::SystemIoFailure
            | ErrorCode::OutOfMemory
            | ErrorCode::FileLockingProtocolFailed,
        ) => StoreError::Unreachable(error.to_string()),
        Some(ErrorCode::ConstraintViolation) => StoreError::Conflict,
        Some(_) | None => StoreError::Unusable(error.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    #[test]
    fn m11_the_store_and_all_files_beside_it_are_private_and_older_ones_become_so() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("links.db");
        let modes = || {
            let entries = std::fs::read_dir(folder.path()).unwrap();
            let mode = |entry: std::fs::DirEntry| entry.metadata().unwrap().permissions().mode();
            entries.map(|entry| mode(entry.unwrap()) & 0o777).collect::<Vec<_>>()
        };
        let mut store = Sqlite::open(&path).unwrap();
        store.keep_day_key(7, [1; 32]).unwrap();
        assert!(store.holds_lease().unwrap());
        assert_eq!(modes(), [0o600; 4], "the store, -wal, -shm and -relay");
        for entry in std::fs::read_dir(folder.path()).unwrap() {
            let path = entry.unwrap().path();
            std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o644)).unwrap();
        }
        let mut second = Sqlite::open(&path).unwrap();
        second.keep_day_key(7, [2; 32]).unwrap();
        assert_eq!(second.day_keys(7..=7).unwrap(), [(7, vec![1; 32])]);
        assert_eq!(modes(), [0o600; 4]);
    }

    #[test]
    fn l10_a_link_in_place_of_the_lease_or_to_no_store_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let (path, victim) = (folder.path().join("links.db"), folder.path().join("victim"));
        std::fs::write(&victim, "victim").unwrap();
        std::os::unix::fs::symlink(&victim, folder.path().join("links.db-relay")).unwrap();
        let error = Sqlite::open(&path).unwrap().holds_lease().unwrap_err().to_string();
        assert!(error.contains("is a symbolic link"), "{error}");
        assert_eq!(std::fs::read(&victim).unwrap(), b"victim");
        let nothing = folder.path().join("nothing");
        std::os::unix::fs::symlink(&nothing, folder.path().join("other.db")).unwrap();
        let error = Sqlite::open(&folder.path().join("other.db")).unwrap_err().to_string();
        assert!(error.contains("is a symbolic link") && !nothing.exists(), "{error}");
    }

    #[test]
    fn what_may_pass_is_tried_again_and_a_file_that_is_none_of_ours_is_not() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("links.db");
        let error =
            |code| error_of(Error::SqliteFailure(rusqlite::ffi::Error::new(code), None)).code();
        for code in
            [rusqlite::ffi::SQLITE_BUSY, rusqlite::ffi::SQLITE_IOERR, rusqlite::ffi::SQLITE_FULL]
        {
            assert_eq!(error(code), "links_db_away");
        }
        for code in [rusqlite::ffi::SQLITE_NOTADB, rusqlite::ffi::SQLITE_CANTOPEN] {
            assert_eq!(error(code), "links_db_broken");
        }
        std::fs::write(&path, b"x".repeat(5_000)).unwrap();
        let failure = crate::exit::Failure::from(Sqlite::open(&path).unwrap_err());
        assert_eq!(failure.exit, crate::exit::Exit::Configuration);
        let nowhere = Sqlite::open(&path.join("links.db")).unwrap_err();
        assert_eq!(crate::exit::Failure::from(nowhere).exit, crate::exit::Exit::Configuration);
    }

    #[test]
    fn a_start_while_another_process_holds_the_store_may_be_tried_again() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("links.db");
        drop(Sqlite::open(&path).unwrap());
        let other = Connection::open(&path).unwrap();
        other.execute_batch("PRAGMA locking_mode = EXCLUSIVE; BEGIN EXCLUSIVE").unwrap();
        let error = Sqlite::open_within(&path, Duration::from_millis(20)).unwrap_err();
        assert_eq!(error.code(), "links_db_away", "{error}");
        assert_eq!(crate::exit::Failure::from(error).exit, crate::exit::Exit::Unavailable);
    }

    #[test]
    fn every_process_that_opens_a_new_file_at_once_gets_it() {
        for _ in 0..20 {
            let location = tempfile::tempdir().unwrap();
            let path = location.path().join("links.db");
            std::thread::scope(|scope| {
                let all: Vec<_> = (0..8).map(|_| scope.spawn(|| Sqlite::open(&path))).collect();
                for opened in all {
                    opened.join().unwrap().unwrap();
                }
            });
        }
    }
}
