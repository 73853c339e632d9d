//! `libchdb.so`, ClickHouse's engine as a library, behind safe types. Only this folder of the
//! workspace has `unsafe`: it holds the C interface and nothing else, no SQL of its own and no
//! HTTP. Calls block; the caller runs them on a thread of their own.
#![expect(unsafe_code, reason = "the engine is a C library opened at run time")]

pub(crate) mod connection;
pub(crate) mod insert;
pub(crate) mod library;
pub(crate) mod output;

use std::ffi::CString;
use std::path::Path;
use std::sync::Arc;

use crate::engine::connection::Connection;
use crate::engine::library::{EngineError, Library};

/// The running engine; it lives until [`Engine::close`].
pub(crate) struct Engine {
    library: Arc<Library>,
    path: CString,
    last: Connection,
}

impl std::fmt::Debug for Engine {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Engine").field("path", &self.path).finish_non_exhaustive()
    }
}

impl Engine {
    /// Loads the library and opens the data folder. One process at a time may have it open.
    ///
    /// # Errors
    /// See [`EngineError`].
    pub(crate) fn open(library: &Path, data: &Path) -> Result<Self, EngineError> {
        let library = Arc::new(Library::load(library)?);
        let path = format!("--path={}", data.display());
        let path = CString::new(path).map_err(|_| EngineError::Path)?;
        // The engine closes when its last connection does, so one stays open until the end.
        let last = Connection::open(&library, &path)?;
        Ok(Self { library, path, last })
    }

    /// A fresh connection: no settings, database `default`. Costs a tenth of a millisecond.
    ///
    /// # Errors
    /// [`EngineError::Connect`].
    pub(crate) fn connect(&self) -> Result<Connection, EngineError> {
        Connection::open(&self.library, &self.path)
    }

    /// Shuts the engine down; connections still open keep it alive until they are dropped.
    pub(crate) fn close(self) {
        drop(self.last);
    }
}
