//! An `INSERT` whose data the front sends piece by piece. Unsafe.

use std::marker::PhantomData;

use crate::engine::library::{Handle, Library, exception};
use crate::engine::output::Output;
use crate::exception::Exception;
use crate::query::counts::QueryCounts;

/// A running `INSERT`. Dropping it without [`Insert::done`] cancels it.
pub(crate) struct Insert<'c> {
    library: &'c Library,
    raw: Handle,
    _connection: PhantomData<&'c mut ()>,
}

impl std::fmt::Debug for Insert<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Insert")
    }
}

impl<'c> Insert<'c> {
    /// Takes over the insert `raw`, which the engine has just begun.
    ///
    /// # Errors
    /// ClickHouse's exception, when it did not begin.
    pub(super) fn new(library: &'c Library, raw: Handle) -> Result<Self, Exception> {
        let insert = Self { library, raw, _connection: PhantomData };
        insert.error().map_or(Ok(insert), Err)
    }

    fn error(&self) -> Option<Exception> {
        // SAFETY: the handle is never null and lives until `drop`.
        exception(unsafe { (self.library.insert_error)(self.raw) })
    }

    /// Sends the engine more data; blocks while its queue is full.
    ///
    /// # Errors
    /// ClickHouse's exception, when the insert has already failed.
    pub(crate) fn append(&mut self, data: &[u8]) -> Result<(), Exception> {
        // SAFETY: the engine copies the bytes before it returns.
        let state =
            unsafe { (self.library.stream_append)(self.raw, data.as_ptr().cast(), data.len()) };
        if state == 0 {
            return Ok(());
        }
        Err(self.error().unwrap_or_else(|| {
            Exception::new(1001, "the engine has stopped reading the data", "STD_EXCEPTION")
        }))
    }

    /// Ends the data and commits. `Ok` means that the rows are in the table.
    ///
    /// # Errors
    /// ClickHouse's exception.
    pub(crate) fn done(self) -> Result<QueryCounts, Exception> {
        // SAFETY: called once; the stream itself is freed by `drop`.
        let raw = unsafe { (self.library.stream_done)(self.raw) };
        Output::new(self.library, std::ptr::null_mut(), raw).map(|output| output.counts())
    }
}

impl Drop for Insert<'_> {
    fn drop(&mut self) {
        // SAFETY: freed once, here; the engine cancels an insert that was not finished.
        unsafe { (self.library.destroy_insert)(self.raw) };
    }
}
