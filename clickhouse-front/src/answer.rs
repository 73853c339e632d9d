//! The answer to one query, from its head to its end: what ClickHouse puts in the
//! headers, when the head is sent, how data and exceptions are packed. It knows the
//! protocol and not the engine; it is used from a thread that may block.

use std::time::{Duration, Instant};

use bytes::Bytes;
use http_body_util::{Either, Full};
use hyper::header::{CONTENT_ENCODING, CONTENT_TYPE, HeaderValue};
use hyper::{Response, StatusCode};
use tokio::sync::{mpsc, oneshot};

use crate::body::{Download, Piece};
use crate::compress;
use crate::content_coding::{Coding, Encoder};
use crate::exception::Exception;
use crate::faults::Applied;
use crate::output_format;
use crate::result_spool::Spool;
use crate::statement_class::Counts;

/// Body of an answer: known at once, or made as it is sent.
pub(crate) type AnswerBody = Either<Full<Bytes>, Download>;

/// Pieces that may wait for a slow client.
const PIECES_MAX: usize = 4;
/// Bytes packed into one block.
const BLOCK_BYTES: usize = 1 << 20;

/// The client does not listen any more.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Gone;

/// How an answer is packed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Packing {
    /// Not at all.
    Plain,
    /// ClickHouse's blocks (`compress=1`).
    Blocks,
    /// A content coding of HTTP, and how hard.
    Coded(Coding, u8),
}

/// What the front says of itself in every answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Own {
    /// The engine's version, for exceptions.
    pub(crate) version: String,
    /// Its time zone.
    pub(crate) timezone: String,
    /// Name of the machine.
    pub(crate) host: String,
}

/// What is the same for every answer to one request.
#[derive(Debug, Clone)]
pub(crate) struct Manner {
    /// Name of the query.
    pub(crate) query_id: String,
    /// Output format.
    pub(crate) format: String,
    /// It is an insert's, which has no data.
    pub(crate) inserts: bool,
    /// How data is packed.
    pub(crate) packing: Packing,
    /// Marks an exception's place in a stream; whoever wrote the data cannot guess it.
    pub(crate) tag: String,
    /// Bytes that wait for the end, or for more, before the head is sent.
    pub(crate) buffer: usize,
    /// The head tells of the progress until then (`send_progress_in_http_headers`).
    pub(crate) progress: bool,
    /// When the request came.
    pub(crate) began: Instant,
    /// The front.
    pub(crate) own: Own,
}

/// An answer being made.
#[derive(Debug)]
pub(crate) struct Answer {
    manner: Manner,
    head: Option<oneshot::Sender<Response<AnswerBody>>>,
    pieces: Option<mpsc::Sender<Piece>>,
    held: Option<Spool>,
    early: Vec<u8>,
    encoder: Option<Encoder>,
    counts: Counts,
}

impl Answer {
    /// An answer whose head goes to `head`. With `held`, nothing is sent before the end.
    pub(crate) fn new(
        manner: Manner,
        head: oneshot::Sender<Response<AnswerBody>>,
        held: Option<Spool>,
    ) -> Self {
        Self {
            manner,
            head: Some(head),
            pieces: None,
            held,
            early: Vec::new(),
            encoder: None,
            counts: Counts::default(),
        }
    }

    /// Says how far the query is; the head tells it if it is not sent yet.
    pub(crate) fn progress(&mut self, counts: Counts) {
        self.counts = counts;
    }

    /// Sends data of the result, or holds it.
    ///
    /// # Errors
    /// [`Gone`] when the client is; the query need not go on.
    pub(crate) fn data(&mut self, bytes: &[u8]) -> Result<(), Gone> {
        if let Some(spool) = &mut self.held {
            return spool.write(bytes).map_err(|_| Gone);
        }
        if self.pieces.is_none() && self.early.len() + bytes.len() <= self.manner.buffer {
            self.early.extend_from_slice(bytes);
            return Ok(());
        }
        self.flush()?;
        self.send(bytes)
    }

    fn flush(&mut self) -> Result<(), Gone> {
        let early = std::mem::take(&mut self.early);
        if early.is_empty() { Ok(()) } else { self.send(&early) }
    }

    fn send(&mut self, bytes: &[u8]) -> Result<(), Gone> {
        if self.pieces.is_none() {
            if let Packing::Coded(coding, level) = self.manner.packing {
                self.encoder = Some(Encoder::new(coding, level).map_err(|_| Gone)?);
            }
            let (sender, receiver) = mpsc::channel(PIECES_MAX);
            let body = Either::Right(Download::new(receiver));
            let head = self.head.take().ok_or(Gone)?;
            head.send(self.manner.ok(self.counts, body)).map_err(|_| Gone)?;
            self.pieces = Some(sender);
        }
        for block in bytes.chunks(BLOCK_BYTES) {
            let packed = self.pack(block)?;
            self.put(Piece::Data(packed))?;
        }
        Ok(())
    }

    fn put(&self, piece: Piece) -> Result<(), Gone> {
        self.pieces.as_ref().ok_or(Gone)?.blocking_send(piece).map_err(|_| Gone)
    }

    fn pack(&mut self, block: &[u8]) -> Result<Bytes, Gone> {
        match (&mut self.encoder, self.manner.packing) {
            (Some(encoder), _) => encoder.push(block).map(Bytes::from).map_err(|_| Gone),
            (None, Packing::Blocks) => Ok(Bytes::from(compress::pack(block))),
            (None, Packing::Plain | Packing::Coded(..)) => Ok(Bytes::copy_from_slice(block)),
        }
    }

    /// What the coding wants at the end of the data.
    fn seal(&mut self) -> Result<(), Gone> {
        let Some(encoder) = self.encoder.take() else { return Ok(()) };
        let rest = encoder.finish().map_err(|_| Gone)?;
        if rest.is_empty() { Ok(()) } else { self.put(Piece::Data(Bytes::from(rest))) }
    }

    /// Ends a result that went well.
    pub(crate) fn finish(mut self, counts: Counts) {
        self.counts = counts;
        if let Some(spool) = self.held.take() {
            let whole = spool.read(|piece| self.send(piece).is_ok());
            if whole.is_err() {
                return;
            }
        }
        // If any of this fails the client is gone, and there is nothing left to do.
        if self.flush().is_err() {
            return;
        }
        if self.pieces.is_some() {
            self.seal().and_then(|()| self.put(Piece::End)).ok();
        } else if let Some(head) = self.head.take() {
            self.manner.packing = Packing::Plain;
            let empty = Either::Left(Full::new(Bytes::new()));
            let mut response = self.manner.ok(counts, empty);
            if self.manner.inserts {
                response.extensions_mut().insert(Applied);
            }
            head.send(response).ok();
        }
    }

    /// Ends with an exception: as the whole answer if nothing was sent yet, else after the
    /// data, marked as ClickHouse marks it, and with the connection cut.
    pub(crate) fn fail(mut self, exception: &Exception) {
        let text = exception.body(&self.manner.own.version);
        if let Some(head) = self.head.take() {
            let body = match self.manner.packing {
                Packing::Blocks => Bytes::from(compress::pack(text.as_bytes())),
                Packing::Plain | Packing::Coded(..) => Bytes::from(text),
            };
            let mut response = refusal(exception, &self.manner.query_id, body);
            self.manner.own.sign(&mut response);
            head.send(response).ok();
        } else if self.pieces.is_some() {
            let tag = &self.manner.tag;
            let len = text.len();
            let marked =
                format!("\r\n__exception__\r\n{tag}\r\n{text}{len} {tag}\r\n__exception__\r\n");
            let packed = self.pack(marked.as_bytes());
            packed.and_then(|packed| self.put(Piece::Data(packed))).and_then(|()| self.seal()).ok();
        }
    }
}

/// The answer to a request that failed before any data was sent.
pub(crate) fn refusal(exception: &Exception, query_id: &str, body: Bytes) -> Response<AnswerBody> {
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

impl Own {
    /// Adds what every answer says.
    pub(crate) fn sign(&self, response: &mut Response<AnswerBody>) {
        let texts = [
            ("X-ClickHouse-Server-Display-Name", &self.host),
            ("X-ClickHouse-Timezone", &self.timezone),
        ];
        for (name, text) in texts {
            if let Ok(value) = HeaderValue::from_str(text) {
                response.headers_mut().insert(name, value);
            }
        }
    }
}

impl Manner {
    fn ok(&self, counts: Counts, body: AnswerBody) -> Response<AnswerBody> {
        let mut response = Response::new(body);
        self.own.sign(&mut response);
        let headers = response.headers_mut();
        headers.insert(
            CONTENT_TYPE,
            HeaderValue::from_static(output_format::content_type(&self.format)),
        );
        let summary = summary(counts, 0, self.began.elapsed());
        let texts = [
            ("X-ClickHouse-Query-Id", Some(&self.query_id)),
            ("X-ClickHouse-Format", Some(&self.format)),
            ("X-ClickHouse-Exception-Tag", Some(&self.tag)),
            ("X-ClickHouse-Progress", self.progress.then_some(&summary)),
            ("X-ClickHouse-Summary", Some(&summary)),
        ];
        for (name, text) in texts {
            if let Some(value) = text.and_then(|text| HeaderValue::from_str(text).ok()) {
                headers.insert(name, value);
            }
        }
        if let Packing::Coded(coding, _) = self.packing {
            headers.insert(CONTENT_ENCODING, HeaderValue::from_static(coding.name()));
        }
        response
    }
}

/// ClickHouse's own words for how much a query did, and how many rows it has to read, or 0.
pub(crate) fn summary(counts: Counts, total: u64, elapsed: Duration) -> String {
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
