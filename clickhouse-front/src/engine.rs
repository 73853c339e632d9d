//! `libchdb.so`, ClickHouse's engine as a library, behind safe types. Only this folder of the
//! workspace has `unsafe`: it holds the C interface, no HTTP, and no SQL but what keeps the database
//! `default`. Calls block; the caller runs them on a thread of their own.
#![expect(unsafe_code, reason = "the engine is a C library opened at run time")]

pub(crate) mod connection;
pub(crate) mod default_database;
pub(crate) mod insert;
pub(crate) mod library;
pub(crate) mod output;

use std::ffi::{CStr, CString};
use std::path::Path;
use std::sync::Arc;

use crate::engine::connection::Connection;
use crate::engine::default_database::DefaultDatabase;
use crate::engine::library::{EngineError, Library};

/// Settings whose defaults the library changes, with the defaults of a server: each connection gets
/// them.
const SERVER_SETTINGS: [&CStr; 4] = [
    c"--allow_introspection_functions=0",
    c"--implicit_select=0",
    c"--output_format_arrow_use_native_writer=1",
    c"--storage_file_read_method=pread",
];

/// The running engine; it lives until [`Engine::close`].
pub(crate) struct Engine {
    library: Arc<Library>,
    arguments: Vec<CString>,
    default_database: DefaultDatabase,
}

impl std::fmt::Debug for Engine {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Engine").field("arguments", &self.arguments).finish_non_exhaustive()
    }
}

impl Engine {
    /// Loads the library and opens the data folder. One process at a time may have it open.
    ///
    /// # Errors
    /// See [`EngineError`].
    pub(crate) fn open(library: &Path, data: &Path) -> Result<Self, EngineError> {
        let library = Arc::new(Library::load(library)?);
        let path = CString::new(format!("--path={}", data.display()));
        let mut arguments = vec![c"clickhouse".to_owned(), path.map_err(|_| EngineError::Path)?];
        arguments.extend(SERVER_SETTINGS.map(CStr::to_owned));
        // The engine closes with its last connection, so this one stays open until the end.
        let first = Connection::open(&library, &arguments)?;
        Ok(Self { library, arguments, default_database: DefaultDatabase::new(first) })
    }

    /// A fresh connection: a server's settings, database `default`. Takes a tenth of a millisecond.
    ///
    /// # Errors
    /// [`EngineError::Connect`].
    pub(crate) fn connect(&self) -> Result<Connection, EngineError> {
        Connection::open(&self.library, &self.arguments).or_else(|error| {
            self.default_database.substitute().map_err(|_| error)?;
            Connection::open(&self.library, &self.arguments)
        })
    }

    /// The database `default`.
    pub(crate) fn default_database(&self) -> &DefaultDatabase {
        &self.default_database
    }

    /// Shuts the engine down; connections still open keep it alive until they are dropped.
    pub(crate) fn close(self) {
        drop(self.default_database);
    }
}
