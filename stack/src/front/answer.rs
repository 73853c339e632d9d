//! The answer to one query, from its head to its end: what ClickHouse puts in the
//! headers, when the head is sent, how data and exceptions are packed. It knows the
//! protocol and not the engine; it is used from a thread that may block.

use bytes::Bytes;
use http_body_util::{Either, Full};
use hyper::header::{CONTENT_ENCODING, CONTENT_TYPE, HeaderValue};
use hyper::{Response, StatusCode};
use tokio::sync::{mpsc, oneshot};

use super::body::{Download, Piece};
use super::compress;
use super::engine::Counts;
use super::errors::Exception;
use super::format;
use super::spool::Spool;

/// Body of an answer: known at once, or made as it is sent.
pub(super) type AnswerBody = Either<Full<Bytes>, Download>;

/// Pieces that may wait for a slow client.
const PIECES_MAX: usize = 4;
/// Bytes packed into one block.
const BLOCK_BYTES: usize = 1 << 20;

/// The client does not listen any more.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Gone;

/// How an answer is packed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Packing {
    /// Not at all.
    Plain,
    /// ClickHouse's blocks (`compress=1`).
    Blocks,
    /// LZ4 frames (`Content-Encoding: lz4`).
    Frames,
}

/// What is the same for every answer to one request.
#[derive(Debug, Clone)]
pub(super) struct Manner {
    /// Name of the query.
    pub(super) query_id: String,
    /// Output format.
    pub(super) format: String,
    /// How data is packed.
    pub(super) packing: Packing,
    /// Marks an exception's place in a stream; whoever wrote the data cannot guess it.
    pub(super) tag: String,
    /// The engine's version, for exceptions.
    pub(super) version: String,
}

/// An answer being made.
#[derive(Debug)]
pub(super) struct Answer {
    manner: Manner,
    head: Option<oneshot::Sender<Response<AnswerBody>>>,
    pieces: Option<mpsc::Sender<Piece>>,
    held: Option<Spool>,
}

impl Answer {
    /// An answer whose head goes to `head`. With `held`, nothing is sent before the end.
    pub(super) fn new(
        manner: Manner,
        head: oneshot::Sender<Response<AnswerBody>>,
        held: Option<Spool>,
    ) -> Self {
        Self { manner, head: Some(head), pieces: None, held }
    }

    /// Sends data of the result, or holds it.
    ///
    /// # Errors
    /// [`Gone`] when the client is; the query need not go on.
    pub(super) fn data(&mut self, bytes: &[u8]) -> Result<(), Gone> {
        match &mut self.held {
            Some(spool) => spool.write(bytes).map_err(|_| Gone),
            None => self.send(bytes, Counts::default()),
        }
    }

    fn send(&mut self, bytes: &[u8], counts: Counts) -> Result<(), Gone> {
        let pieces = match &self.pieces {
            Some(pieces) => pieces,
            None => {
                let (sender, receiver) = mpsc::channel(PIECES_MAX);
                let response = self.manner.ok(counts, Either::Right(Download::new(receiver)));
                let head = self.head.take().ok_or(Gone)?;
                head.send(response).map_err(|_| Gone)?;
                self.pieces.insert(sender)
            }
        };
        for block in bytes.chunks(BLOCK_BYTES) {
            let piece = Piece::Data(self.manner.pack(block));
            pieces.blocking_send(piece).map_err(|_| Gone)?;
        }
        Ok(())
    }

    /// Ends a result that went well.
    pub(super) fn finish(mut self, counts: Counts) {
        if let Some(spool) = self.held.take() {
            let whole = spool.read(|piece| self.send(piece, counts).is_ok());
            if whole.is_err() {
                return;
            }
        }
        if let Some(pieces) = self.pieces.take() {
            // If this fails the client is gone, and there is nothing left to do.
            pieces.blocking_send(Piece::End).ok();
        } else if let Some(head) = self.head.take() {
            let empty = Either::Left(Full::new(Bytes::new()));
            head.send(self.manner.ok(counts, empty)).ok();
        }
    }

    /// Ends with an exception: as the whole answer if nothing was sent yet, else after the
    /// data, marked as ClickHouse marks it, and with the connection cut.
    pub(super) fn fail(mut self, exception: &Exception) {
        let text = exception.body(&self.manner.version);
        if let Some(head) = self.head.take() {
            let body = match self.manner.packing {
                Packing::Blocks => Bytes::from(compress::pack(text.as_bytes())),
                Packing::Plain | Packing::Frames => Bytes::from(text),
            };
            head.send(refusal(exception, &self.manner.query_id, body)).ok();
        } else if let Some(pieces) = self.pieces.take() {
            let tag = &self.manner.tag;
            let len = text.len();
            let marked =
                format!("\r\n__exception__\r\n{tag}\r\n{text}{len} {tag}\r\n__exception__\r\n");
            pieces.blocking_send(Piece::Data(self.manner.pack(marked.as_bytes()))).ok();
        }
    }
}

/// The answer to a request that failed before any data was sent.
pub(super) fn refusal(exception: &Exception, query_id: &str, body: Bytes) -> Response<AnswerBody> {
    let mut response = Response::new(Either::Left(Full::new(body)));
    *response.status_mut() = exception.status();
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("text/plain; charset=UTF-8"));
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

impl Manner {
    fn ok(&self, counts: Counts, body: AnswerBody) -> Response<AnswerBody> {
        let mut response = Response::new(body);
        let headers = response.headers_mut();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static(format::content_type(&self.format)));
        let summary = format!(
            r#"{{"read_rows":"{}","read_bytes":"{}","written_rows":"{}","written_bytes":"{}"}}"#,
            counts.rows_read, counts.bytes_read, counts.rows_written, counts.bytes_written
        );
        let texts = [
            ("X-ClickHouse-Query-Id", self.query_id.clone()),
            ("X-ClickHouse-Format", self.format.clone()),
            ("X-ClickHouse-Exception-Tag", self.tag.clone()),
            ("X-ClickHouse-Summary", summary),
        ];
        for (name, text) in texts {
            if let Ok(value) = HeaderValue::from_str(&text) {
                headers.insert(name, value);
            }
        }
        if self.packing == Packing::Frames {
            headers.insert(CONTENT_ENCODING, HeaderValue::from_static("lz4"));
        }
        response
    }

    fn pack(&self, block: &[u8]) -> Bytes {
        match self.packing {
            Packing::Plain => Bytes::copy_from_slice(block),
            Packing::Blocks => Bytes::from(compress::pack(block)),
            Packing::Frames => Bytes::from(compress::frame(block)),
        }
    }
}
