//! The database `default`. A server works without it; the engine opens no connection then. When it
//! was dropped, an empty substitute is created for the next connection.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};

use crate::engine::connection::Connection;
use crate::exception::Exception;

/// ClickHouse's code for a database that exists already.
const DATABASE_ALREADY_EXISTS: u16 = 82;

/// Creates the database `default` when it is missing.
#[derive(Debug)]
pub(crate) struct DefaultDatabase {
    /// Was opened while the database existed, and works without it.
    connection: Mutex<Connection>,
    /// The database is a substitute for one that was dropped.
    substitute: AtomicBool,
}

impl DefaultDatabase {
    /// The database exists; `connection` is kept open.
    pub(super) fn new(connection: Connection) -> Self {
        Self { connection: Mutex::new(connection), substitute: AtomicBool::new(false) }
    }

    /// Creates an empty database if there is none.
    ///
    /// # Errors
    /// ClickHouse's exception.
    pub(super) fn substitute(&self) -> Result<(), Exception> {
        let mut connection = self.connection.lock().unwrap_or_else(PoisonError::into_inner);
        match connection.execute(b"CREATE DATABASE default", "Null", &[]) {
            Ok(_) => self.substitute.store(true, Ordering::SeqCst),
            Err(exception) if exception.code == DATABASE_ALREADY_EXISTS => {}
            Err(exception) => return Err(exception),
        }
        Ok(())
    }

    /// Whether `exception` refuses to create the database only because a substitute exists, which
    /// is then the database that the statement creates.
    pub(crate) fn accept_creation(&self, exception: &Exception) -> bool {
        exception.code == DATABASE_ALREADY_EXISTS
            && exception.text.contains("Database default already exists")
            && self.substitute.swap(false, Ordering::SeqCst)
    }
}
