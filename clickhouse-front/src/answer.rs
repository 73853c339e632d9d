//! The answer to one query, from its head to its end: the headers of ClickHouse, when the head is
//! sent, how data and exceptions are compressed. It knows the protocol and not the engine. Calls
//! block.

use std::time::{Duration, Instant};

use bytes::Bytes;
use http_body_util::{Either, Full};
use hyper::header::{CONTENT_ENCODING, CONTENT_TYPE, HeaderValue};
use hyper::{HeaderMap, Response, StatusCode};
use tokio::sync::{mpsc, oneshot};

use crate::compress;
use crate::exception::Exception;
use crate::faults::AppliedInsert;
use crate::http::body::{Download, Piece};
use crate::http::content_coding::{ContentCoding, Encoder};
use crate::output_format;
use crate::query::counts::QueryCounts;
use crate::result_spool::ResultSpool;
use crate::server_info::ServerInfo;

/// Body of an answer: complete, or produced while it is sent.
pub(crate) type AnswerBody = Either<Full<Bytes>, Download>;

/// Pieces that wait for a slow client at most.
const PIECES_MAX: usize = 4;
/// Bytes in one compressed block at most.
const BLOCK_BYTES: usize = 1 << 20;
/// The content type of an answer that is not a result.
const TEXT: &str = "text/plain; charset=UTF-8";

/// The client has closed the connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Disconnected;

/// How an answer is compressed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum AnswerCompression {
    /// Not at all.
    None,
    /// ClickHouse's blocks (`compress=1`).
    Blocks,
    /// A content coding of HTTP, and its level.
    Coding(ContentCoding, u8),
}

/// What is the same for every answer to one request.
#[derive(Debug, Clone)]
pub(crate) struct AnswerOptions {
    /// Name of the query.
    pub(crate) query_id: String,
    /// Output format; `None` where there is no result set.
    pub(crate) format: Option<String>,
    /// The statement is an insert, whose answer has no data.
    pub(crate) is_insert: bool,
    /// How data is compressed.
    pub(crate) compression: AnswerCompression,
    /// Marks an exception in a stream; the author of the data cannot guess it.
    pub(crate) tag: String,
    /// Bytes that are buffered before the head is sent.
    pub(crate) buffer: usize,
    /// The head reports the progress until then (`send_progress_in_http_headers`).
    pub(crate) progress: bool,
    /// When the request arrived.
    pub(crate) began: Instant,
    /// The clock that read that time.
    pub(crate) clock: fn() -> Instant,
    /// The server.
    pub(crate) server: ServerInfo,
}

/// An answer that is being produced.
#[derive(Debug)]
pub(crate) struct Answer {
    options: AnswerOptions,
    head: Option<oneshot::Sender<Response<AnswerBody>>>,
    pieces: Option<mpsc::Sender<Piece>>,
    spool: Option<ResultSpool>,
    buffered: Vec<u8>,
    encoder: Option<Encoder>,
    counts: QueryCounts,
}

impl Answer {
    /// An answer whose head goes to `head`. With `spool`, nothing is sent before the end.
    pub(crate) fn new(
        options: AnswerOptions,
        head: oneshot::Sender<Response<AnswerBody>>,
        spool: Option<ResultSpool>,
    ) -> Self {
        Self {
            options,
            head: Some(head),
            pieces: None,
            spool,
            buffered: Vec::new(),
            encoder: None,
            counts: QueryCounts::default(),
        }
    }

    /// Records the progress of the query; the head reports it if it is not sent yet.
    pub(crate) fn progress(&mut self, counts: QueryCounts) {
        self.counts = counts;
    }

    /// The statement has no result set: its answer names no format.
    pub(crate) fn without_result(&mut self) {
        self.options.format = None;
    }

    /// Sends data of the result, or buffers it.
    ///
    /// # Errors
    /// [`Disconnected`] when the client has closed the connection; the query can stop.
    pub(crate) fn data(&mut self, bytes: &[u8]) -> Result<(), Disconnected> {
        if let Some(spool) = &mut self.spool {
            return spool.write(bytes).map_err(|_| Disconnected);
        }
        if self.pieces.is_none() && self.buffered.len() + bytes.len() <= self.options.buffer {
            self.buffered.extend_from_slice(bytes);
            return Ok(());
        }
        self.flush()?;
        self.send(bytes)
    }

    fn flush(&mut self) -> Result<(), Disconnected> {
        let buffered = std::mem::take(&mut self.buffered);
        if buffered.is_empty() { Ok(()) } else { self.send(&buffered) }
    }

    fn send(&mut self, bytes: &[u8]) -> Result<(), Disconnected> {
        if self.pieces.is_none() {
            if let AnswerCompression::Coding(coding, level) = self.options.compression {
                self.encoder = Some(Encoder::new(coding, level).map_err(|_| Disconnected)?);
            }
            let (sender, receiver) = mpsc::channel(PIECES_MAX);
            let body = Either::Right(Download::new(receiver));
            let head = self.head.take().ok_or(Disconnected)?;
            head.send(self.options.ok(self.counts, body)).map_err(|_| Disconnected)?;
            self.pieces = Some(sender);
        }
        for block in bytes.chunks(BLOCK_BYTES) {
            let compressed = self.compress(block)?;
            self.put(Piece::Data(compressed))?;
        }
        Ok(())
    }

    fn put(&self, piece: Piece) -> Result<(), Disconnected> {
        self.pieces.as_ref().ok_or(Disconnected)?.blocking_send(piece).map_err(|_| Disconnected)
    }

    fn compress(&mut self, block: &[u8]) -> Result<Bytes, Disconnected> {
        match (&mut self.encoder, self.options.compression) {
            (Some(encoder), _) => encoder.push(block).map(Bytes::from).map_err(|_| Disconnected),
            (None, AnswerCompression::Blocks) => Ok(Bytes::from(compress::compress(block))),
            (None, AnswerCompression::None | AnswerCompression::Coding(..)) => {
                Ok(Bytes::copy_from_slice(block))
            }
        }
    }

    /// Sends the end of the content coding.
    fn finish_coding(&mut self) -> Result<(), Disconnected> {
        let Some(encoder) = self.encoder.take() else { return Ok(()) };
        let rest = encoder.finish().map_err(|_| Disconnected)?;
        if rest.is_empty() { Ok(()) } else { self.put(Piece::Data(Bytes::from(rest))) }
    }

    /// Ends the answer of a query that succeeded.
    pub(crate) fn finish(mut self, counts: QueryCounts) {
        self.counts = counts;
        if let Some(spool) = self.spool.take() {
            let sent = spool.read(|piece| self.send(piece).is_ok());
            if sent.is_err() {
                return;
            }
        }
        // If any of this fails, the client has disconnected, and there is nothing left to do.
        if self.flush().is_err() {
            return;
        }
        if self.pieces.is_some() {
            self.finish_coding().and_then(|()| self.put(Piece::End)).ok();
        } else if let Some(head) = self.head.take() {
            self.options.compression = AnswerCompression::None;
            let empty = Either::Left(Full::new(Bytes::new()));
            let mut response = self.options.ok(counts, empty);
            if self.options.is_insert {
                response.extensions_mut().insert(AppliedInsert);
            }
            head.send(response).ok();
        }
    }

    /// Ends with an exception: it is the complete answer if nothing was sent yet. Otherwise it
    /// follows the data, marked as ClickHouse marks it, and the connection is closed.
    pub(crate) fn fail(mut self, exception: &Exception) {
        let text = exception.body(&self.options.server.version);
        if let Some(head) = self.head.take() {
            let body = match self.options.compression {
                AnswerCompression::Blocks => Bytes::from(compress::compress(text.as_bytes())),
                AnswerCompression::None | AnswerCompression::Coding(..) => Bytes::from(text),
            };
            let mut response = refusal(exception, &self.options.query_id, body);
            self.options.server.add_headers(&mut response);
            head.send(response).ok();
        } else if self.pieces.is_some() {
            let tag = &self.options.tag;
            let len = text.len();
            let marked =
                format!("\r\n__exception__\r\n{tag}\r\n{text}{len} {tag}\r\n__exception__\r\n");
            let compressed = self.compress(marked.as_bytes());
            compressed
                .and_then(|compressed| self.put(Piece::Data(compressed)))
                .and_then(|()| self.finish_coding())
                .ok();
        }
    }
}

/// The answer to a request that failed before any data was sent.
pub(crate) fn refusal(exception: &Exception, query_id: &str, body: Bytes) -> Response<AnswerBody> {
    let mut response = Response::new(Either::Left(Full::new(body)));
    *response.status_mut() = exception.status();
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(TEXT));
    headers.insert("X-ClickHouse-Exception-Code", HeaderValue::from(exception.code));
    if let Ok(id) = HeaderValue::from_str(query_id) {
        headers.insert("X-ClickHouse-Query-Id", id);
    }
    if exception.status() == StatusCode::UNAUTHORIZED {
        let challenge = HeaderValue::from_static("Basic realm=\"ClickHouse server HTTP API\"");
        headers.insert("WWW-Authenticate", challenge);
    }
    response
}

impl AnswerOptions {
    fn ok(&self, counts: QueryCounts, body: AnswerBody) -> Response<AnswerBody> {
        let mut response = Response::new(body);
        self.server.add_headers(&mut response);
        let headers = response.headers_mut();
        add_format(headers, self.format.as_deref());
        let summary = summary(counts, 0, (self.clock)() - self.began);
        let texts = [
            ("X-ClickHouse-Query-Id", Some(&self.query_id)),
            ("X-ClickHouse-Exception-Tag", Some(&self.tag)),
            ("X-ClickHouse-Progress", self.progress.then_some(&summary)),
            ("X-ClickHouse-Summary", Some(&summary)),
        ];
        for (name, text) in texts {
            if let Some(value) = text.and_then(|text| HeaderValue::from_str(text).ok()) {
                headers.insert(name, value);
            }
        }
        if let AnswerCompression::Coding(coding, _) = self.compression {
            headers.insert(CONTENT_ENCODING, HeaderValue::from_static(coding.name()));
        }
        response
    }
}

/// Adds the headers that name the format of a result set, or the content type of no result.
fn add_format(headers: &mut HeaderMap, format: Option<&str>) {
    let content_type = format.map_or(TEXT, output_format::content_type);
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    if let Some(value) = format.and_then(|format| HeaderValue::from_str(format).ok()) {
        headers.insert("X-ClickHouse-Format", value);
    }
}

/// ClickHouse's summary of a query: its counts, and the rows it has to read (0: not known).
pub(crate) fn summary(counts: QueryCounts, total: u64, elapsed: Duration) -> String {
    format!(
        r#"{{"read_rows":"{}","read_bytes":"{}","written_rows":"{}","written_bytes":"{}","total_rows_to_read":"{total}","result_rows":"{}","result_bytes":"{}","elapsed_ns":"{}"}}"#,
        counts.rows_read,
        counts.bytes_read,
        counts.rows_written,
        counts.bytes_written,
        counts.rows,
        counts.bytes,
        elapsed.as_nanos()
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_an_answer_with_a_result_set_names_a_format() {
        let named = |format| {
            let mut headers = HeaderMap::new();
            add_format(&mut headers, format);
            let text =
                |name: &str| headers.get(name).map(|value| value.to_str().unwrap().to_owned());
            (text("Content-Type").unwrap(), text("X-ClickHouse-Format"))
        };
        let json = "application/json; charset=UTF-8".to_owned();
        assert_eq!(named(Some("JSON")), (json, Some("JSON".to_owned())));
        assert_eq!(named(None), (TEXT.to_owned(), None));
    }
}
