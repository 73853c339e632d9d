//! A connection to the engine, on which one statement runs at a time. Unsafe.

use std::ffi::{CString, c_int};
use std::ptr::NonNull;
use std::sync::Arc;

use crate::engine::insert::Insert;
use crate::engine::library::{EngineError, Handle, Library, RawAnalysis, RunStatement, Text};
use crate::engine::output::{Chunks, Output};
use crate::exception::Exception;
use crate::statement_class::StatementClass;

/// One session with the engine. One statement at a time.
pub(crate) struct Connection {
    library: Arc<Library>,
    raw: NonNull<Handle>,
}

// SAFETY: the header calls connections thread-safe as long as one statement runs at a time;
// `&mut self` on every method that runs one ensures that.
unsafe impl Send for Connection {}
// SAFETY: a shared reference has no operation.
unsafe impl Sync for Connection {}

impl std::fmt::Debug for Connection {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Connection")
    }
}

/// Values for `{name:Type}`, by name.
pub(crate) type Params = [(String, String)];

impl Connection {
    pub(super) fn open(library: &Arc<Library>, arguments: &[CString]) -> Result<Self, EngineError> {
        let arguments: Vec<Text> = arguments.iter().map(|argument| argument.as_ptr()).collect();
        let count = c_int::try_from(arguments.len()).map_err(|_| EngineError::Connect)?;
        // SAFETY: as many zero-terminated strings as `count` says, which outlive the call.
        let raw = unsafe { (library.connect)(count, arguments.as_ptr()) };
        let raw = NonNull::new(raw).ok_or(EngineError::Connect)?;
        Ok(Self { library: Arc::clone(library), raw })
    }

    fn handle(&self) -> Handle {
        // SAFETY: `raw` came from `chdb_connect` and is valid until `chdb_close_conn`.
        unsafe { *self.raw.as_ptr() }
    }

    fn call(&self, function: RunStatement, sql: &[u8], format: &str, params: &Params) -> Handle {
        let names: Vec<Text> = params.iter().map(|(name, _)| name.as_ptr().cast()).collect();
        let name_lens: Vec<usize> = params.iter().map(|(name, _)| name.len()).collect();
        let values: Vec<Text> = params.iter().map(|(_, value)| value.as_ptr().cast()).collect();
        let value_lens: Vec<usize> = params.iter().map(|(_, value)| value.len()).collect();
        let (sql_ptr, format_ptr) = (sql.as_ptr().cast(), format.as_ptr().cast());
        // SAFETY: every pointer comes with its length and outlives the call; the engine
        // copies what it keeps.
        unsafe {
            function(
                self.handle(),
                sql_ptr,
                sql.len(),
                format_ptr,
                format.len(),
                names.as_ptr(),
                name_lens.as_ptr(),
                values.as_ptr(),
                value_lens.as_ptr(),
                params.len(),
            )
        }
    }

    /// Runs a statement and returns its whole result.
    ///
    /// # Errors
    /// ClickHouse's exception.
    pub(crate) fn execute(
        &mut self,
        sql: &[u8],
        format: &str,
        params: &Params,
    ) -> Result<Output<'_>, Exception> {
        let raw = self.call(self.library.query, sql, format, params);
        Output::new(&self.library, self.handle(), raw)
    }

    /// Starts a `SELECT` whose result comes in chunks, each a document of its own.
    ///
    /// # Errors
    /// ClickHouse's exception; code 36 for statements that cannot be streamed, which then
    /// have not been run.
    pub(crate) fn stream(
        &mut self,
        sql: &[u8],
        format: &str,
        params: &Params,
    ) -> Result<Chunks<'_>, Exception> {
        let raw = self.call(self.library.stream_query, sql, format, params);
        let output = Output::new(&self.library, self.handle(), raw)?;
        Ok(Chunks { output, ended: false })
    }

    /// Starts an `INSERT` without its `FORMAT` clause; the data follows by [`Insert::append`].
    ///
    /// # Errors
    /// ClickHouse's exception.
    pub(crate) fn insert(
        &mut self,
        sql: &[u8],
        format: &str,
        params: &Params,
    ) -> Result<Insert<'_>, Exception> {
        let raw = self.call(self.library.stream_insert, sql, format, params);
        Insert::new(&self.library, raw)
    }

    /// Asks ClickHouse's parser what `sql` would do, without running it.
    pub(crate) fn classify(&mut self, sql: &[u8]) -> StatementClass {
        let mut analysis = RawAnalysis { struct_size: RawAnalysis::SIZE, ..RawAnalysis::default() };
        // SAFETY: the text comes with its length, the target database may be null, and the
        // struct says how large it is.
        let state = unsafe {
            (self.library.classify)(
                self.handle(),
                sql.as_ptr().cast(),
                sql.len(),
                std::ptr::null(),
                0,
                &raw mut analysis,
            )
        };
        match (state, analysis.class) {
            (0, 0) => StatementClass::Read,
            (0, 1 | 2) => StatementClass::Write,
            (0, 3) => StatementClass::Control,
            _ => StatementClass::Unknown,
        }
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        // SAFETY: closed once, here; results and streams borrow the connection and are gone.
        unsafe { (self.library.close)(self.raw.as_ptr()) };
    }
}
