//! The two bodies of an exchange, seen from the thread that talks to the engine: the
//! request's is pulled, the answer's is pushed, both a piece at a time and both bounded.

use std::collections::VecDeque;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use http_body_util::BodyExt as _;
use hyper::body::{Body, Frame, Incoming};
use tokio::runtime::Handle;
use tokio::sync::mpsc;

use super::compress::Unpacker;
use super::errors::Exception;

/// Bytes of a refused request that are still read, so that the client hears the answer
/// and not a broken pipe.
const DRAIN_BYTES_MAX: usize = 256 << 20;

/// Why no more data comes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Fault {
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

/// The request's body, unpacked if it is packed.
#[derive(Debug)]
pub(super) struct Upload {
    body: Incoming,
    runtime: Handle,
    unpacker: Option<Unpacker>,
    ready: VecDeque<Bytes>,
}

impl Upload {
    /// Reads `body` on the runtime of `runtime`; must be used off that runtime's own threads.
    pub(super) fn new(body: Incoming, runtime: Handle) -> Self {
        Self { body, runtime, unpacker: None, ready: VecDeque::new() }
    }

    /// Treats what follows as ClickHouse's compressed blocks.
    pub(super) fn unpack(&mut self) {
        self.unpacker = Some(Unpacker::default());
    }

    fn frame(&mut self) -> Result<Option<Bytes>, Fault> {
        loop {
            match self.runtime.block_on(self.body.frame()) {
                None => return Ok(None),
                Some(Err(_)) => return Err(Fault::Gone),
                Some(Ok(frame)) => {
                    if let Ok(data) = frame.into_data() {
                        return Ok(Some(data));
                    }
                }
            }
        }
    }

    /// The next piece of the body; `None` at its proper end.
    ///
    /// # Errors
    /// See [`Fault`].
    pub(super) fn next_piece(&mut self) -> Result<Option<Bytes>, Fault> {
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
    pub(super) fn drain(&mut self) {
        let mut seen = 0;
        while let Ok(Some(piece)) = self.frame() {
            seen += piece.len();
            if seen > DRAIN_BYTES_MAX {
                return;
            }
        }
    }
}

/// A piece of an answer on its way to the client.
#[derive(Debug)]
pub(super) enum Piece {
    /// Data.
    Data(Bytes),
    /// The proper end.
    End,
}

/// An answer that is still being made. If its maker vanishes before [`Piece::End`], the
/// connection is cut, so that the client cannot take a part for the whole.
#[derive(Debug)]
pub(super) struct Download {
    pieces: mpsc::Receiver<Piece>,
    cut: bool,
}

/// The answer's maker gave up.
#[derive(Debug, thiserror::Error)]
#[error("the query failed after its answer had begun")]
pub(super) struct Cut;

impl Download {
    /// An answer fed through `pieces`.
    pub(super) fn new(pieces: mpsc::Receiver<Piece>) -> Self {
        Self { pieces, cut: false }
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
            Poll::Ready(Some(Piece::End)) => Poll::Ready(None),
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
