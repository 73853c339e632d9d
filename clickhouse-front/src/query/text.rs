//! The text of a query, read from the request up to the data of an insert.

use crate::exception::Exception;
use crate::http::body::{Upload, UploadError};
use crate::request::QueryRequest;
use crate::statement::{self, Statement};

/// Bytes of text read before the front looks for the head of an `INSERT` in it.
const HEAD_BYTES: usize = 64 << 10;
/// Largest statement without its data.
const QUERY_BYTES_MAX: usize = 16 << 20;

/// The text of a query as far as it was read; the rest of the body is the data of an insert.
#[derive(Debug)]
pub(crate) struct QueryText {
    /// What was read.
    pub(crate) bytes: Vec<u8>,
    /// The positions of its clauses.
    pub(crate) statement: Statement,
}

impl QueryText {
    /// Parses the text `bytes`.
    pub(crate) fn new(bytes: Vec<u8>) -> Self {
        Self { statement: statement::read(&bytes), bytes }
    }

    /// Reads the text from the `query` parameter and, unless that already ends in an
    /// insert's data, from the body.
    ///
    /// # Errors
    /// The body's; `SYNTAX_ERROR` (62) for a statement too large.
    pub(crate) fn read(query: &str, upload: &mut Upload) -> Result<Self, UploadError> {
        let mut bytes = query.as_bytes().to_vec();
        if !bytes.is_empty() {
            bytes.push(b'\n');
        }
        let statement = statement::read(&bytes);
        if statement.insert.is_some() {
            return Ok(Self { bytes, statement });
        }
        let mut parse_at = HEAD_BYTES;
        while let Some(piece) = upload.next_piece()? {
            bytes.extend_from_slice(&piece);
            if bytes.len() < parse_at {
                continue;
            }
            let statement = statement::read(&bytes);
            if statement.insert.is_some() {
                return Ok(Self { bytes, statement });
            }
            if bytes.len() > QUERY_BYTES_MAX {
                let text =
                    "Max query size exceeded: the stack's front reads statements of up to 16 MiB";
                return Err(Exception::new(62, text, "SYNTAX_ERROR").into());
            }
            parse_at = bytes.len() * 2;
        }
        Ok(Self::new(bytes))
    }

    /// Output format: the query's own, else the request's, else ClickHouse's default.
    pub(crate) fn format(&self, request: &QueryRequest) -> String {
        let named = self.statement.format.as_ref().or(request.format.as_ref());
        named.cloned().unwrap_or_else(|| "TabSeparated".to_owned())
    }
}
