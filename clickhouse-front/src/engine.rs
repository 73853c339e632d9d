//! `libchdb.so`, ClickHouse's engine as a library, behind safe types. The only file
//! of the workspace with `unsafe`: it holds the C interface and nothing else, no SQL
//! of its own and no HTTP. Calls block; the caller gives them a thread of their own.
#![expect(unsafe_code, reason = "the engine is a C library opened at run time")]

use std::ffi::{CStr, CString, c_char, c_int, c_void};
use std::marker::PhantomData;
use std::mem::size_of;
use std::path::Path;
use std::ptr::NonNull;
use std::sync::Arc;

use crate::exception::Exception;
use crate::statement_class::{Class, Counts};

type Text = *const c_char;
type Handle = *mut c_void;
type Statement = unsafe extern "C" fn(
    Handle,
    Text,
    usize,
    Text,
    usize,
    *const Text,
    *const usize,
    *const Text,
    *const usize,
    usize,
) -> Handle;
type Consume = unsafe extern "C" fn(Handle);
type Message = unsafe extern "C" fn(Handle) -> Text;
type Count = unsafe extern "C" fn(Handle) -> u64;

/// The functions of `chdb.h` (26.7.3) that the front uses, by their names there.
struct Api {
    connect: unsafe extern "C" fn(c_int, *const Text) -> *mut Handle,
    close: unsafe extern "C" fn(*mut Handle),
    query: Statement,
    stream_query: Statement,
    stream_fetch: unsafe extern "C" fn(Handle, Handle) -> Handle,
    stream_cancel: unsafe extern "C" fn(Handle, Handle),
    destroy_result: Consume,
    stream_insert: Statement,
    stream_append: unsafe extern "C" fn(Handle, *const c_void, usize) -> c_int,
    stream_done: unsafe extern "C" fn(Handle) -> Handle,
    insert_error: Message,
    destroy_insert: Consume,
    result_buffer: unsafe extern "C" fn(Handle) -> *const u8,
    result_length: unsafe extern "C" fn(Handle) -> usize,
    result_error: Message,
    rows: Count,
    bytes: Count,
    rows_read: Count,
    bytes_read: Count,
    rows_written: Count,
    bytes_written: Count,
    classify: unsafe extern "C" fn(Handle, Text, usize, Text, usize, *mut RawAnalysis) -> c_int,
}

/// `chdb_query_analysis_v1`.
#[repr(C)]
#[derive(Default)]
struct RawAnalysis {
    struct_size: u32,
    statements: u32,
    flags: u32,
    class: u32,
}

/// Why the engine could not be started.
#[derive(Debug, thiserror::Error)]
pub enum EngineError {
    /// The library is missing or is not the pinned one.
    #[error("cannot load the engine: {0}")]
    Load(#[from] libloading::Error),
    /// `chdb_connect` gave nothing; it does not say why.
    #[error(
        "the engine does not open its data folder: another process may hold it, or a config.xml stands in the working folder"
    )]
    Connect,
    /// The folder's name has a zero byte.
    #[error("the data folder's name cannot be passed to the engine")]
    Path,
}

impl Api {
    fn load(library: &Path) -> Result<Self, EngineError> {
        // SAFETY: the library is the checksummed one of the cache; its constructors run here,
        // before any other thread of ours calls into it. It is never unloaded: its own
        // threads live as long as the process.
        let library: &'static libloading::Library =
            Box::leak(Box::new(unsafe { libloading::Library::new(library)? }));
        macro_rules! symbol {
            ($name:literal) => {
                // SAFETY: the field's type repeats the prototype in chdb.h.
                *unsafe { library.get(concat!($name, "\0").as_bytes())? }
            };
        }
        let handlers: libloading::Symbol<'_, unsafe extern "C" fn(c_int)> =
            // SAFETY: as above.
            unsafe { library.get(b"chdb_set_signal_handlers_enabled\0")? };
        // SAFETY: called before the first connect, as the header asks.
        unsafe { handlers(0) };
        Ok(Self {
            connect: symbol!("chdb_connect"),
            close: symbol!("chdb_close_conn"),
            query: symbol!("chdb_query_with_params_n"),
            stream_query: symbol!("chdb_stream_query_with_params_n"),
            stream_fetch: symbol!("chdb_stream_fetch_result"),
            stream_cancel: symbol!("chdb_stream_cancel_query"),
            destroy_result: symbol!("chdb_destroy_query_result"),
            stream_insert: symbol!("chdb_stream_insert_with_params_n"),
            stream_append: symbol!("chdb_stream_append"),
            stream_done: symbol!("chdb_stream_done"),
            insert_error: symbol!("chdb_stream_insert_error"),
            destroy_insert: symbol!("chdb_destroy_insert_stream"),
            result_buffer: symbol!("chdb_result_buffer"),
            result_length: symbol!("chdb_result_length"),
            result_error: symbol!("chdb_result_error"),
            rows: symbol!("chdb_result_rows_read"),
            bytes: symbol!("chdb_result_bytes_read"),
            rows_read: symbol!("chdb_result_storage_rows_read"),
            bytes_read: symbol!("chdb_result_storage_bytes_read"),
            rows_written: symbol!("chdb_result_rows_written"),
            bytes_written: symbol!("chdb_result_bytes_written"),
            classify: symbol!("chdb_classify_query_n"),
        })
    }
}

fn message(text: Text) -> Option<Exception> {
    let text = NonNull::new(text.cast_mut())?;
    // SAFETY: the engine's messages end with a zero byte and live as long as their handle,
    // which the caller still holds.
    let text = unsafe { CStr::from_ptr(text.as_ptr()) };
    Some(Exception::from_engine(&text.to_string_lossy()))
}

/// The running engine; it lives until [`Engine::close`].
pub(crate) struct Engine {
    api: Arc<Api>,
    path: CString,
    keep: Connection,
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
        let api = Arc::new(Api::load(library)?);
        let path = format!("--path={}", data.display());
        let path = CString::new(path).map_err(|_| EngineError::Path)?;
        // The engine must not lose its last connection before the end, so one is kept aside.
        let keep = Connection::open(&api, &path)?;
        Ok(Self { api, path, keep })
    }

    /// A fresh connection: no settings, database `default`. Costs a tenth of a millisecond.
    ///
    /// # Errors
    /// [`EngineError::Connect`].
    pub(crate) fn connect(&self) -> Result<Connection, EngineError> {
        Connection::open(&self.api, &self.path)
    }

    /// Shuts the engine down; connections still open keep it alive until they are dropped.
    pub(crate) fn close(self) {
        drop(self.keep);
    }
}

/// One session with the engine. One statement at a time.
pub(crate) struct Connection {
    api: Arc<Api>,
    raw: NonNull<Handle>,
}

// SAFETY: the header calls connections thread-safe as long as one statement runs at a time;
// `&mut self` on every method that runs one sees to that.
unsafe impl Send for Connection {}
// SAFETY: nothing can be done with a shared reference.
unsafe impl Sync for Connection {}

impl std::fmt::Debug for Connection {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Connection")
    }
}

/// Values for `{name:Type}`, by name.
pub(crate) type Params = [(String, String)];

impl Connection {
    fn open(api: &Arc<Api>, path: &CString) -> Result<Self, EngineError> {
        let arguments = [c"clickhouse".as_ptr(), path.as_ptr()];
        // SAFETY: two zero-terminated strings that outlive the call.
        let raw = unsafe { (api.connect)(2, arguments.as_ptr()) };
        let raw = NonNull::new(raw).ok_or(EngineError::Connect)?;
        Ok(Self { api: Arc::clone(api), raw })
    }

    fn handle(&self) -> Handle {
        // SAFETY: `raw` came from `chdb_connect` and is valid until `chdb_close_conn`.
        unsafe { *self.raw.as_ptr() }
    }

    fn call(&self, function: Statement, sql: &[u8], format: &str, params: &Params) -> Handle {
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
        let raw = self.call(self.api.query, sql, format, params);
        Output::new(self, raw)
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
        let raw = self.call(self.api.stream_query, sql, format, params);
        let output = Output::new(self, raw)?;
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
        let raw = self.call(self.api.stream_insert, sql, format, params);
        let insert = Insert { api: &self.api, raw, _connection: PhantomData };
        match insert.error() {
            Some(error) => Err(error),
            None => Ok(insert),
        }
    }

    /// Asks ClickHouse's parser what `sql` would do, without running it.
    pub(crate) fn classify(&mut self, sql: &[u8]) -> Class {
        let size = u32::try_from(size_of::<RawAnalysis>()).unwrap_or(0);
        let mut analysis = RawAnalysis { struct_size: size, ..RawAnalysis::default() };
        // SAFETY: the text comes with its length, the target database may be null, and the
        // struct says how large it is.
        let state = unsafe {
            (self.api.classify)(
                self.handle(),
                sql.as_ptr().cast(),
                sql.len(),
                std::ptr::null(),
                0,
                &raw mut analysis,
            )
        };
        match (state, analysis.class) {
            (0, 0) => Class::Read,
            (0, 1 | 2) => Class::Write,
            (0, 3) => Class::Control,
            _ => Class::Unknown,
        }
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        // SAFETY: closed once, here; results and streams borrow the connection and are gone.
        unsafe { (self.api.close)(self.raw.as_ptr()) };
    }
}

/// A result, or a chunk of one.
pub(crate) struct Output<'c> {
    api: &'c Api,
    connection: Handle,
    raw: NonNull<c_void>,
    _connection: PhantomData<&'c mut Connection>,
}

impl std::fmt::Debug for Output<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Output").field("bytes", &self.bytes().len()).finish_non_exhaustive()
    }
}

impl<'c> Output<'c> {
    fn new(connection: &'c Connection, raw: Handle) -> Result<Self, Exception> {
        Self::from_parts(&connection.api, connection.handle(), raw)
    }

    fn from_parts(api: &'c Api, connection: Handle, raw: Handle) -> Result<Self, Exception> {
        let Some(raw) = NonNull::new(raw) else {
            return Err(Exception::new(1001, "the engine returned nothing", "STD_EXCEPTION"));
        };
        let output = Self { api, connection, raw, _connection: PhantomData };
        // SAFETY: the handle was just returned by the engine.
        match message(unsafe { (api.result_error)(raw.as_ptr()) }) {
            Some(error) => Err(error),
            None => Ok(output),
        }
    }

    /// The bytes, in the format asked for.
    pub(crate) fn bytes(&self) -> &[u8] {
        let raw = self.raw.as_ptr();
        // SAFETY: buffer and length belong to the live result, which nothing changes.
        unsafe {
            let (start, len) = ((self.api.result_buffer)(raw), (self.api.result_length)(raw));
            if start.is_null() || len == 0 { &[] } else { std::slice::from_raw_parts(start, len) }
        }
    }

    /// How much was read and written.
    pub(crate) fn counts(&self) -> Counts {
        let raw = self.raw.as_ptr();
        // SAFETY: plain getters on a live result.
        unsafe {
            Counts {
                rows: (self.api.rows)(raw),
                bytes: (self.api.bytes)(raw),
                rows_read: (self.api.rows_read)(raw),
                bytes_read: (self.api.bytes_read)(raw),
                rows_written: (self.api.rows_written)(raw),
                bytes_written: (self.api.bytes_written)(raw),
            }
        }
    }
}

impl Drop for Output<'_> {
    fn drop(&mut self) {
        // SAFETY: destroyed once, here.
        unsafe { (self.api.destroy_result)(self.raw.as_ptr()) };
    }
}

/// A running `SELECT`. Dropping it before the end cancels the query.
#[derive(Debug)]
pub(crate) struct Chunks<'c> {
    output: Output<'c>,
    ended: bool,
}

impl Chunks<'_> {
    /// The next chunk, about a megabyte; `None` at the end.
    ///
    /// # Errors
    /// ClickHouse's exception; the query is over then.
    pub(crate) fn next_chunk(&mut self) -> Result<Option<Output<'_>>, Exception> {
        if self.ended {
            return Ok(None);
        }
        let (api, connection) = (self.output.api, self.output.connection);
        // SAFETY: connection and stream are alive and used by this thread alone.
        let raw = unsafe { (api.stream_fetch)(connection, self.output.raw.as_ptr()) };
        match Output::from_parts(api, connection, raw) {
            Ok(chunk) if chunk.bytes().is_empty() => {
                self.ended = true;
                Ok(None)
            }
            Ok(chunk) => Ok(Some(chunk)),
            Err(error) => {
                self.ended = true;
                Err(error)
            }
        }
    }
}

impl Drop for Chunks<'_> {
    fn drop(&mut self) {
        if !self.ended {
            let Output { api, connection, raw, .. } = &self.output;
            // SAFETY: the stream is alive; its handle is destroyed after this by `Output`.
            unsafe { (api.stream_cancel)(*connection, raw.as_ptr()) };
        }
    }
}

/// A running `INSERT`. Dropping it without [`Insert::done`] cancels it.
pub(crate) struct Insert<'c> {
    api: &'c Api,
    raw: Handle,
    _connection: PhantomData<&'c mut Connection>,
}

impl std::fmt::Debug for Insert<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Insert")
    }
}

impl<'c> Insert<'c> {
    fn error(&self) -> Option<Exception> {
        // SAFETY: the handle is never null and lives until `drop`.
        message(unsafe { (self.api.insert_error)(self.raw) })
    }

    /// Gives the engine more data; blocks while it has enough.
    ///
    /// # Errors
    /// ClickHouse's exception, when the engine has already given up.
    pub(crate) fn append(&mut self, data: &[u8]) -> Result<(), Exception> {
        // SAFETY: the engine copies the bytes before it returns.
        let state = unsafe { (self.api.stream_append)(self.raw, data.as_ptr().cast(), data.len()) };
        if state == 0 {
            return Ok(());
        }
        Err(self
            .error()
            .unwrap_or_else(|| Exception::new(1001, "the engine stopped reading", "STD_EXCEPTION")))
    }

    /// Ends the data and commits. `Ok` means that the rows are in the table.
    ///
    /// # Errors
    /// ClickHouse's exception.
    pub(crate) fn done(self) -> Result<Counts, Exception> {
        // SAFETY: called once; the stream itself is freed by `drop`.
        let raw = unsafe { (self.api.stream_done)(self.raw) };
        Output::from_parts(self.api, std::ptr::null_mut(), raw).map(|output| output.counts())
    }
}

impl Drop for Insert<'_> {
    fn drop(&mut self) {
        // SAFETY: freed once, here; the engine cancels an insert that was not finished.
        unsafe { (self.api.destroy_insert)(self.raw) };
    }
}
