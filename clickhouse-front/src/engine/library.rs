//! The C interface of `libchdb.so`: types, functions, and how they are loaded. Unsafe.

use std::ffi::{CStr, c_char, c_int, c_void};
use std::path::Path;
use std::ptr::NonNull;

use crate::exception::Exception;

/// A C string; it needs no zero byte at its end where its length is passed with it.
pub(super) type Text = *const c_char;
/// A pointer to an object of the engine.
pub(super) type Handle = *mut c_void;
/// Runs or prepares a statement: text, format, and parameters, each with its length.
pub(super) type RunStatement = unsafe extern "C" fn(
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
pub(super) struct Library {
    pub(super) connect: unsafe extern "C" fn(c_int, *const Text) -> *mut Handle,
    pub(super) close: unsafe extern "C" fn(*mut Handle),
    pub(super) query: RunStatement,
    pub(super) stream_query: RunStatement,
    pub(super) stream_fetch: unsafe extern "C" fn(Handle, Handle) -> Handle,
    pub(super) stream_cancel: unsafe extern "C" fn(Handle, Handle),
    pub(super) destroy_result: Consume,
    pub(super) stream_insert: RunStatement,
    pub(super) stream_append: unsafe extern "C" fn(Handle, *const c_void, usize) -> c_int,
    pub(super) stream_done: unsafe extern "C" fn(Handle) -> Handle,
    pub(super) insert_error: Message,
    pub(super) destroy_insert: Consume,
    pub(super) result_buffer: unsafe extern "C" fn(Handle) -> *const u8,
    pub(super) result_length: unsafe extern "C" fn(Handle) -> usize,
    pub(super) result_error: Message,
    pub(super) rows: Count,
    pub(super) bytes: Count,
    pub(super) rows_read: Count,
    pub(super) bytes_read: Count,
    pub(super) rows_written: Count,
    pub(super) bytes_written: Count,
    pub(super) classify:
        unsafe extern "C" fn(Handle, Text, usize, Text, usize, *mut RawAnalysis) -> c_int,
}

/// `chdb_query_analysis_v1`.
#[repr(C)]
#[derive(Default)]
pub(super) struct RawAnalysis {
    pub(super) struct_size: u32,
    pub(super) statements: u32,
    pub(super) flags: u32,
    pub(super) class: u32,
}

impl RawAnalysis {
    /// Its size, by which the engine knows its version.
    #[expect(clippy::cast_possible_truncation, reason = "sixteen bytes")]
    pub(super) const SIZE: u32 = size_of::<Self>() as u32;
}

/// Why the engine could not be started.
#[derive(Debug, thiserror::Error)]
pub enum EngineError {
    /// The library is missing or is not the pinned one.
    #[error("cannot load the engine: {0}")]
    Load(#[from] libloading::Error),
    /// `chdb_connect` returned null; it reports no cause.
    #[error(
        "the engine cannot open its data folder: another process may have it open, or the working folder has a config.xml"
    )]
    Connect,
    /// The folder's name has a zero byte.
    #[error("the data folder's name cannot be passed to the engine")]
    Path,
}

impl Library {
    /// Loads the library.
    ///
    /// # Errors
    /// [`EngineError::Load`].
    pub(super) fn load(library: &Path) -> Result<Self, EngineError> {
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

/// The exception that a message of the engine reports; `None` for no message.
pub(super) fn exception(text: Text) -> Option<Exception> {
    let text = NonNull::new(text.cast_mut())?;
    // SAFETY: the engine's messages end with a zero byte and live as long as their handle,
    // which the caller still holds.
    let text = unsafe { CStr::from_ptr(text.as_ptr()) };
    Some(Exception::from_engine(&text.to_string_lossy()))
}
