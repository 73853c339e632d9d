//! The two bodies of an exchange, seen from the thread that talks to the engine: the
//! request's is pulled, the answer's is pushed, both a piece at a time and both bounded.

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

use crate::cancel_on_disconnect::Leash;
use crate::compress::Unpacker;
use crate::content_coding::{Coding, Unpacked};
use crate::exception::Exception;

/// Bytes of a refused request that are still read, so that the client hears the answer
/// and not a broken pipe.
const DRAIN_BYTES_MAX: usize = 256 << 20;
/// Bytes of a coded body unpacked at a time.
const PIECE_BYTES: usize = 256 << 10;

/// Why no more data comes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Fault {
    /// The client is gone; nobody is left to tell.
    Gone,
    /// What it sent is damaged.
    Bad(Exception),
}

impl From<Exception> for Fault {
    fn from(exception: Exception) -> Self {
        Self::Bad(exception)
    }
}

/// The request's body as it comes.
#[derive(Debug)]
struct Wire {
    body: Incoming,
    runtime: Handle,
    left: Bytes,
    gone: bool,
}

impl Wire {
    fn frame(&mut self) -> Result<Option<Bytes>, Fault> {
        loop {
            match self.runtime.block_on(self.body.frame()) {
                None => return Ok(None),
                Some(Err(_)) => {
                    self.gone = true;
                    return Err(Fault::Gone);
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

/// The body for a decoder and for whoever drains it.
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

/// The request's body, unpacked if it is packed.
pub(crate) struct Upload {
    wire: Shared,
    coding: Option<(Coding, Unpacked)>,
    unpacker: Option<Unpacker>,
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
        let wire = Wire { body, runtime, left: Bytes::new(), gone: false };
        let wire = Shared(Arc::new(Mutex::new(wire)));
        Self { wire, coding: None, unpacker: None, ready: VecDeque::new() }
    }

    /// Takes what follows for the content coding `coding`.
    ///
    /// # Errors
    /// `MEMORY_LIMIT_EXCEEDED` (241) when the decoder has no memory.
    pub(crate) fn decode(&mut self, coding: Coding) -> Result<(), Exception> {
        let unpacked = coding.unpack(self.wire.clone());
        let unpacked = unpacked
            .map_err(|error| Exception::new(241, &error.to_string(), "MEMORY_LIMIT_EXCEEDED"))?;
        self.coding = Some((coding, unpacked));
        Ok(())
    }

    /// Treats what follows as ClickHouse's compressed blocks.
    pub(crate) fn unpack(&mut self) {
        self.unpacker = Some(Unpacker::default());
    }

    fn frame(&mut self) -> Result<Option<Bytes>, Fault> {
        let Some((coding, unpacked)) = &mut self.coding else { return self.wire.lock().frame() };
        let mut piece = vec![0; PIECE_BYTES];
        match unpacked.read(&mut piece) {
            Ok(0) => Ok(None),
            Ok(len) => {
                piece.truncate(len);
                Ok(Some(piece.into()))
            }
            Err(_) if self.wire.lock().gone => Err(Fault::Gone),
            Err(error) => Err(coding.damaged(&error).into()),
        }
    }

    /// The next piece of the body; `None` at its proper end.
    ///
    /// # Errors
    /// See [`Fault`].
    pub(crate) fn next_piece(&mut self) -> Result<Option<Bytes>, Fault> {
        loop {
            if let Some(piece) = self.ready.pop_front() {
                return Ok(Some(piece));
            }
            let frame = self.frame()?;
            let Some(unpacker) = &mut self.unpacker else { return Ok(frame) };
            match frame {
                None => {
                    unpacker.finish()?;
                    return Ok(None);
                }
                Some(frame) => {
                    self.ready.extend(unpacker.push(&frame)?.into_iter().map(Bytes::from));
                }
            }
        }
    }

    /// Reads and forgets the rest.
    pub(crate) fn drain(&mut self) {
        let mut seen = 0;
        while let Ok(Some(piece)) = self.wire.lock().frame() {
            seen += piece.len();
            if seen > DRAIN_BYTES_MAX {
                return;
            }
        }
    }
}

/// A piece of an answer on its way to the client.
#[derive(Debug)]
pub(crate) enum Piece {
    /// Data.
    Data(Bytes),
    /// The proper end.
    End,
}

/// An answer that is still being made. If its maker vanishes before [`Piece::End`], the
/// connection is cut, so that the client cannot take a part for the whole.
#[derive(Debug)]
pub(crate) struct Download {
    pieces: mpsc::Receiver<Piece>,
    cut: bool,
    /// Stops the query when this is dropped before its end.
    leash: Option<Leash>,
}

/// The answer's maker gave up.
#[derive(Debug, thiserror::Error)]
#[error("the query failed after its answer had begun")]
pub(crate) struct Cut;

impl Download {
    /// An answer fed through `pieces`.
    pub(crate) fn new(pieces: mpsc::Receiver<Piece>) -> Self {
        Self { pieces, cut: false, leash: None }
    }

    /// Ties the query to it.
    pub(crate) fn tie(&mut self, leash: Leash) {
        self.leash = Some(leash);
    }
}

impl Body for Download {
    type Data = Bytes;
    type Error = Cut;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Cut>>> {
        if self.cut {
            return Poll::Ready(Some(Err(Cut)));
        }
        match self.pieces.poll_recv(cx) {
            Poll::Pending => Poll::Pending,
            Poll::Ready(Some(Piece::Data(data))) => Poll::Ready(Some(Ok(Frame::data(data)))),
            Poll::Ready(Some(Piece::End)) => {
                if let Some(leash) = self.leash.take() {
                    leash.release();
                }
                Poll::Ready(None)
            }
            Poll::Ready(None) => {
                // One turn without data makes hyper send what it holds, the exception's text
                // above all, before the error throws the connection away.
                self.cut = true;
                cx.waker().wake_by_ref();
                Poll::Pending
            }
        }
    }
}
