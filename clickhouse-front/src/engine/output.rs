//! Results of the engine: a whole one, or one that comes in chunks. Unsafe.

use std::ffi::c_void;
use std::marker::PhantomData;
use std::ptr::NonNull;

use crate::engine::library::{Handle, Library, exception};
use crate::exception::Exception;
use crate::query::counts::QueryCounts;

/// A result, or a chunk of one.
pub(crate) struct Output<'c> {
    library: &'c Library,
    connection: Handle,
    raw: NonNull<c_void>,
    _connection: PhantomData<&'c mut ()>,
}

impl std::fmt::Debug for Output<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Output").field("bytes", &self.bytes().len()).finish_non_exhaustive()
    }
}

impl<'c> Output<'c> {
    /// Takes over the result `raw`, which the engine has just returned.
    ///
    /// # Errors
    /// ClickHouse's exception, when the result holds one.
    pub(super) fn new(
        library: &'c Library,
        connection: Handle,
        raw: Handle,
    ) -> Result<Self, Exception> {
        let Some(raw) = NonNull::new(raw) else {
            return Err(Exception::new(1001, "the engine returned nothing", "STD_EXCEPTION"));
        };
        let output = Self { library, connection, raw, _connection: PhantomData };
        // SAFETY: the handle was just returned by the engine.
        match exception(unsafe { (library.result_error)(raw.as_ptr()) }) {
            Some(error) => Err(error),
            None => Ok(output),
        }
    }

    /// The bytes, in the format asked for.
    pub(crate) fn bytes(&self) -> &[u8] {
        let raw = self.raw.as_ptr();
        // SAFETY: buffer and length belong to the live result, which nothing changes.
        unsafe {
            let (start, len) =
                ((self.library.result_buffer)(raw), (self.library.result_length)(raw));
            if start.is_null() || len == 0 { &[] } else { std::slice::from_raw_parts(start, len) }
        }
    }

    /// How much was read and written.
    pub(crate) fn counts(&self) -> QueryCounts {
        let raw = self.raw.as_ptr();
        // SAFETY: plain getters on a live result.
        unsafe {
            QueryCounts {
                rows: (self.library.rows)(raw),
                bytes: (self.library.bytes)(raw),
                rows_read: (self.library.rows_read)(raw),
                bytes_read: (self.library.bytes_read)(raw),
                rows_written: (self.library.rows_written)(raw),
                bytes_written: (self.library.bytes_written)(raw),
            }
        }
    }
}

impl Drop for Output<'_> {
    fn drop(&mut self) {
        // SAFETY: destroyed once, here.
        unsafe { (self.library.destroy_result)(self.raw.as_ptr()) };
    }
}

/// A running `SELECT`. Dropping it before the end cancels the query.
#[derive(Debug)]
pub(crate) struct Chunks<'c> {
    pub(super) output: Output<'c>,
    pub(super) ended: bool,
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
        let (library, connection) = (self.output.library, self.output.connection);
        // SAFETY: connection and stream are alive and used by this thread alone.
        let raw = unsafe { (library.stream_fetch)(connection, self.output.raw.as_ptr()) };
        match Output::new(library, connection, raw) {
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
            let Output { library, connection, raw, .. } = &self.output;
            // SAFETY: the stream is alive; its handle is destroyed after this by `Output`.
            unsafe { (library.stream_cancel)(*connection, raw.as_ptr()) };
        }
    }
}
