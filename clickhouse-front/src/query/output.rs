//! Sends the result of a statement: at once, in chunks, or through a file.

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
    /// The statement reads, so it has a result set, if only an empty one.
    pub(crate) reads: bool,
    /// The answer.
    pub(crate) answer: &'a mut Answer,
}

impl QueryOutput<'_> {
    /// Runs the statement and sends its whole result.
    ///
    /// # Errors
    /// ClickHouse's exception; the disconnection of the client.
    pub(crate) fn at_once(
        self,
        connection: &mut Connection,
        text: &[u8],
    ) -> Result<QueryCounts, QueryFailure> {
        let output = connection.execute(text, self.format, &self.request.params)?;
        self.answer.progress(output.counts());
        if output.bytes().is_empty() && !self.reads {
            self.answer.without_result();
        }
        let bytes = self.for_revision(output.bytes(), &[])?;
        self.answer.data(&bytes)?;
        Ok(output.counts())
    }

    /// Runs the statement and sends its result chunk by chunk.
    ///
    /// # Errors
    /// As [`QueryOutput::at_once`].
    pub(crate) fn in_chunks(
        self,
        connection: &mut Connection,
        text: &QueryText,
    ) -> Result<QueryCounts, QueryFailure> {
        let types = self.column_types(connection, text);
        let framing = output_format::framing(self.format);
        let mut counts = QueryCounts::default();
        let mut chunks = connection.stream(&text.bytes, self.format, &self.request.params)?;
        let mut first = true;
        while let Some(chunk) = chunks.next_chunk()? {
            let header = if first { 0 } else { framing.header_len(chunk.bytes()) };
            first = false;
            counts += chunk.counts();
            self.answer.progress(counts);
            self.run.check()?;
            let bytes = self.for_revision(&chunk.bytes()[header..], &types)?;
            self.answer.data(&bytes)?;
        }
        Ok(counts)
    }

    fn has_revision(&self) -> bool {
        self.request.revision > 0 && self.format.eq_ignore_ascii_case("Native")
    }

    /// The types of the result's columns where `Native` leaves out a part of them: the engine writes
    /// it for a client without a revision. Describing a query analyses it and does not run it.
    fn column_types(&self, connection: &mut Connection, text: &QueryText) -> Vec<String> {
        if !self.has_revision() || self.request.revision < native_format::TIME_ZONES {
            return Vec::new();
        }
        let query = &text.bytes[..text.statement.tail];
        let sql = [&b"DESCRIBE TABLE ("[..], query, b"\n)"].concat();
        // A query that cannot be described fails by itself, with an exception of its own.
        let described = connection.execute(&sql, "TabSeparated", &self.request.params);
        let described =
            described.map(|output| String::from_utf8_lossy(output.bytes()).into_owned());
        let described = described.unwrap_or_default();
        let types = described.lines().map(|line| line.split('\t').nth(1).unwrap_or_default());
        types.map(|kind| kind.replace("\\'", "'")).collect()
    }

    /// The bytes as the client's revision reads the format.
    fn for_revision<'b>(
        &self,
        bytes: &'b [u8],
        types: &[String],
    ) -> Result<Cow<'b, [u8]>, Exception> {
        if !self.has_revision() {
            return Ok(Cow::Borrowed(bytes));
        }
        native_format::with_revision(bytes, self.request.revision, types).map(Cow::Owned)
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
