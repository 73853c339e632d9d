//! How the result of a statement comes from the engine: at once, in chunks, or through a file.

use std::borrow::Cow;
use std::path::Path;

use crate::answer::Answer;
use crate::engine::connection::Connection;
use crate::exception::Exception;
use crate::native_format;
use crate::output_format;
use crate::query::counts::QueryCounts;
use crate::query::failure::QueryFailure;
use crate::query::text::QueryText;
use crate::request::QueryRequest;
use crate::result_spool::ResultSpool;
use crate::running_queries::QueryRun;

/// Sends the result of one statement to its answer.
#[derive(Debug)]
pub(crate) struct QueryOutput<'a> {
    /// The request.
    pub(crate) request: &'a QueryRequest,
    /// The query among those that run.
    pub(crate) run: &'a QueryRun,
    /// A path for a result, which no other query uses.
    pub(crate) spill: &'a Path,
    /// Output format.
    pub(crate) format: &'a str,
    /// The answer.
    pub(crate) answer: &'a mut Answer,
}

impl QueryOutput<'_> {
    /// Runs the statement and sends its whole result.
    ///
    /// # Errors
    /// ClickHouse's exception, or the end of the client.
    pub(crate) fn at_once(
        self,
        connection: &mut Connection,
        text: &[u8],
    ) -> Result<QueryCounts, QueryFailure> {
        let output = connection.execute(text, self.format, &self.request.params)?;
        self.answer.progress(output.counts());
        let bytes = self.for_revision(output.bytes())?;
        self.answer.data(&bytes)?;
        Ok(output.counts())
    }

    /// Runs the statement and sends its result while it comes.
    ///
    /// # Errors
    /// As [`QueryOutput::at_once`].
    pub(crate) fn in_chunks(
        self,
        connection: &mut Connection,
        text: &[u8],
    ) -> Result<QueryCounts, QueryFailure> {
        let framing = output_format::framing(self.format);
        let mut counts = QueryCounts::default();
        let mut chunks = connection.stream(text, self.format, &self.request.params)?;
        let mut first = true;
        while let Some(chunk) = chunks.next_chunk()? {
            let header = if first { 0 } else { framing.header_len(chunk.bytes()) };
            first = false;
            counts += chunk.counts();
            self.answer.progress(counts);
            self.run.check()?;
            let bytes = self.for_revision(&chunk.bytes()[header..])?;
            self.answer.data(&bytes)?;
        }
        Ok(counts)
    }

    /// The bytes as the client's revision reads the format.
    fn for_revision<'b>(&self, bytes: &'b [u8]) -> Result<Cow<'b, [u8]>, Exception> {
        if self.request.revision == 0 || !self.format.eq_ignore_ascii_case("Native") {
            return Ok(Cow::Borrowed(bytes));
        }
        native_format::with_revision(bytes, self.request.revision).map(Cow::Owned)
    }

    /// Runs a statement whose result is one document: the engine writes it to a file, so that a
    /// large one uses disk and not memory.
    ///
    /// # Errors
    /// As [`QueryOutput::at_once`].
    pub(crate) fn through_file(
        self,
        connection: &mut Connection,
        text: &QueryText,
    ) -> Result<QueryCounts, QueryFailure> {
        let (query, tail) = text.bytes.split_at(text.statement.tail);
        let path = self.spill.with_extension("out");
        let outfile = format!(
            "\nINTO OUTFILE '{}' TRUNCATE ",
            path.display().to_string().replace('\'', "\\'")
        );
        let format_clause = if text.statement.format.is_none() {
            format!("FORMAT {} ", self.format)
        } else {
            String::new()
        };
        let sql = [query, outfile.as_bytes(), format_clause.as_bytes(), tail].concat();
        let output = connection.execute(&sql, self.format, &self.request.params);
        let done = output.map(|output| output.counts());
        let spool = ResultSpool::of_file(&path);
        let counts = done?;
        self.answer.progress(counts);
        let spool =
            spool.map_err(|error| Exception::new(76, &error.to_string(), "CANNOT_OPEN_FILE"))?;
        let mut sent = Ok(());
        let read = spool.read(|piece| {
            sent = self.answer.data(piece);
            sent.is_ok()
        });
        sent?;
        read.map_err(|error| {
            Exception::new(74, &error.to_string(), "CANNOT_READ_FROM_FILE_DESCRIPTOR")
        })?;
        Ok(counts)
    }
}
