//! The bodies of request and answer for the thread of the query, which blocks: it reads the
//! request's and sends the answer's, a piece at a time, both bounded.

use std::collections::VecDeque;
use std::io::{self, Read};
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};

use bytes::Bytes;
use http_body_util::BodyExt as _;
use hyper::body::{Body, Frame, Incoming};
use tokio::runtime::Handle;
use tokio::sync::mpsc;

use crate::compress::BlockDecoder;
use crate::exception::Exception;
use crate::http::cancel_on_disconnect::CancelOnDisconnect;
use crate::http::content_coding::{ContentCoding, Decoded};

/// Bytes of a refused request that are still read, so that the client reads the answer and does
/// not fail to write.
const DRAIN_BYTES_MAX: usize = 256 << 20;
/// Bytes of a body decoded at a time.
const PIECE_BYTES: usize = 256 << 10;

/// Why the rest of a request's body cannot be read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum UploadError {
    /// The client has closed the connection.
    Disconnected,
    /// The body is damaged.
    Damaged(Exception),
}

impl From<Exception> for UploadError {
    fn from(exception: Exception) -> Self {
        Self::Damaged(exception)
    }
}

/// The request's body as it arrives.
#[derive(Debug)]
struct Wire {
    body: Incoming,
    runtime: Handle,
    left: Bytes,
    disconnected: bool,
}

impl Wire {
    fn frame(&mut self) -> Result<Option<Bytes>, UploadError> {
        loop {
            match self.runtime.block_on(self.body.frame()) {
                None => return Ok(None),
                Some(Err(_)) => {
                    self.disconnected = true;
                    return Err(UploadError::Disconnected);
                }
                Some(Ok(frame)) => {
                    if let Ok(data) = frame.into_data()
                        && !data.is_empty()
                    {
                        return Ok(Some(data));
                    }
                }
            }
        }
    }
}

/// The body, shared by its decoder and [`Upload::drain`].
#[derive(Debug, Clone)]
struct Shared(Arc<Mutex<Wire>>);

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Wire> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Read for Shared {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        let mut wire = self.lock();
        if wire.left.is_empty() {
            let frame = wire.frame().map_err(|_| io::ErrorKind::ConnectionAborted)?;
            wire.left = frame.unwrap_or_default();
        }
        let len = out.len().min(wire.left.len());
        out[..len].copy_from_slice(&wire.left.split_to(len));
        Ok(len)
    }
}

/// The request's body, decompressed.
pub(crate) struct Upload {
    wire: Shared,
    coding: Option<(ContentCoding, Decoded)>,
    blocks: Option<BlockDecoder>,
    ready: VecDeque<Bytes>,
}

impl std::fmt::Debug for Upload {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Upload").field("wire", &self.wire).finish_non_exhaustive()
    }
}

impl Upload {
    /// Reads `body` on the runtime of `runtime`; must be used off that runtime's own threads.
    pub(crate) fn new(body: Incoming, runtime: Handle) -> Self {
        let wire = Wire { body, runtime, left: Bytes::new(), disconnected: false };
        let wire = Shared(Arc::new(Mutex::new(wire)));
        Self { wire, coding: None, blocks: None, ready: VecDeque::new() }
    }

    /// Decodes what follows from the content coding `coding`.
    ///
    /// # Errors
    /// `MEMORY_LIMIT_EXCEEDED` (241) when the decoder has no memory.
    pub(crate) fn decode(&mut self, coding: ContentCoding) -> Result<(), Exception> {
        let decoded = coding.decode(self.wire.clone());
        let decoded = decoded
            .map_err(|error| Exception::new(241, &error.to_string(), "MEMORY_LIMIT_EXCEEDED"))?;
        self.coding = Some((coding, decoded));
        Ok(())
    }

    /// Decompresses what follows from ClickHouse's compressed blocks.
    pub(crate) fn decompress(&mut self) {
        self.blocks = Some(BlockDecoder::default());
    }

    fn frame(&mut self) -> Result<Option<Bytes>, UploadError> {
        let Some((coding, decoded)) = &mut self.coding else { return self.wire.lock().frame() };
        let mut piece = vec![0; PIECE_BYTES];
        match decoded.read(&mut piece) {
            Ok(0) => Ok(None),
            Ok(len) => {
                piece.truncate(len);
                Ok(Some(piece.into()))
            }
            Err(_) if self.wire.lock().disconnected => Err(UploadError::Disconnected),
            Err(error) => Err(coding.damaged(&error).into()),
        }
    }

    /// The next piece of the body; `None` at its end.
    ///
    /// # Errors
    /// See [`UploadError`].
    pub(crate) fn next_piece(&mut self) -> Result<Option<Bytes>, UploadError> {
        loop {
            if let Some(piece) = self.ready.pop_front() {
                return Ok(Some(piece));
            }
            let frame = self.frame()?;
            let Some(blocks) = &mut self.blocks else { return Ok(frame) };
            match frame {
                None => {
                    blocks.finish()?;
                    return Ok(None);
                }
                Some(frame) => {
                    self.ready.extend(blocks.push(&frame)?.into_iter().map(Bytes::from));
                }
            }
        }
    }

    /// Reads and discards the rest.
    pub(crate) fn drain(&mut self) {
        let mut count = 0;
        while let Ok(Some(piece)) = self.wire.lock().frame() {
            count += piece.len();
            if count > DRAIN_BYTES_MAX {
                return;
            }
        }
    }
}

/// A piece of an answer that is being sent.
#[derive(Debug)]
pub(crate) enum Piece {
    /// Data.
    Data(Bytes),
    /// The end of a complete answer.
    End,
}

/// An answer that is being produced. If its sender is dropped before [`Piece::End`], the connection
/// is closed, so that the client cannot take a part for the complete answer.
#[derive(Debug)]
pub(crate) struct Download {
    pieces: mpsc::Receiver<Piece>,
    aborted: bool,
    /// Cancels the query when this is dropped before its end.
    cancel: Option<CancelOnDisconnect>,
}

/// The sender of the answer was dropped before the end.
#[derive(Debug, thiserror::Error)]
#[error("the query failed after its answer had begun")]
pub(crate) struct AnswerAborted;

impl Download {
    /// An answer fed through `pieces`.
    pub(crate) fn new(pieces: mpsc::Receiver<Piece>) -> Self {
        Self { pieces, aborted: false, cancel: None }
    }

    /// Cancels the query when this is dropped before its end.
    pub(crate) fn set_cancel(&mut self, cancel: CancelOnDisconnect) {
        self.cancel = Some(cancel);
    }
}

impl Body for Download {
    type Data = Bytes;
    type Error = AnswerAborted;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, AnswerAborted>>> {
        if self.aborted {
            return Poll::Ready(Some(Err(AnswerAborted)));
        }
        match self.pieces.poll_recv(cx) {
            Poll::Pending => Poll::Pending,
            Poll::Ready(Some(Piece::Data(data))) => Poll::Ready(Some(Ok(Frame::data(data)))),
            Poll::Ready(Some(Piece::End)) => {
                if let Some(cancel) = self.cancel.take() {
                    cancel.disarm();
                }
                Poll::Ready(None)
            }
            Poll::Ready(None) => {
                // One poll without data makes hyper flush its buffer, which may hold the exception's
                // text, before the error closes the connection.
                self.aborted = true;
                cx.waker().wake_by_ref();
                Poll::Pending
            }
        }
    }
}
