//! Headers sent before the rest of their head: ClickHouse reports a query's progress in headers
//! while it runs, and sends the rest of the head when its result begins. hyper writes a head at
//! once, so this file is between hyper and the socket: it writes the status line and the early
//! headers, and leaves out the status line that hyper writes later.

use std::io::{Error, IoSlice, Result};
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};

/// The status line of every head that begins early, as hyper writes it, too.
const STATUS: &[u8] = b"HTTP/1.1 200 OK\r\n";
/// Bytes that wait for a client that does not read, at most; more headers are dropped.
const WAITING_MAX: usize = 64 << 10;

/// A connection whose heads may begin early.
#[derive(Debug)]
pub(crate) struct Socket {
    reader: OwnedReadHalf,
    early: EarlyHeaders,
}

/// Sends headers of a connection's next head.
#[derive(Debug, Clone)]
pub(crate) struct EarlyHeaders(Arc<Mutex<HeadState>>);

#[derive(Debug)]
struct HeadState {
    writer: OwnedWriteHalf,
    /// Early headers that are not sent yet.
    waiting: Vec<u8>,
    /// A head has begun, and hyper has not continued it.
    begun: bool,
    /// hyper has begun to write and has not flushed.
    busy: bool,
}

impl Socket {
    pub(crate) fn new(stream: TcpStream) -> Self {
        let (reader, writer) = stream.into_split();
        let state = HeadState { writer, waiting: Vec::new(), begun: false, busy: false };
        Self { reader, early: EarlyHeaders(Arc::new(Mutex::new(state))) }
    }

    pub(crate) fn early(&self) -> EarlyHeaders {
        self.early.clone()
    }
}

impl EarlyHeaders {
    fn state(&self) -> MutexGuard<'_, HeadState> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Sends a header before the rest of its head; the status is 200 from now on. Nothing is
    /// sent if the client does not take what was sent before.
    pub(crate) fn send(&self, name: &str, value: &str) {
        let mut state = self.state();
        if state.busy || state.waiting.len() > WAITING_MAX {
            return;
        }
        if !state.begun {
            state.begun = true;
            state.waiting.extend_from_slice(STATUS);
        }
        state.waiting.extend_from_slice(format!("{name}: {value}\r\n").as_bytes());
        // The rest is written before hyper's next bytes.
        if let Ok(count) = state.writer.try_write(&state.waiting) {
            state.waiting.drain(..count);
        }
    }

    /// Whether a head has begun that hyper has to continue.
    pub(crate) fn has_begun(&self) -> bool {
        self.state().begun
    }
}

impl HeadState {
    /// `None` when hyper's bytes may be written to the socket; else the number of its bytes that
    /// are written already.
    fn admit(&mut self, cx: &mut Context<'_>, first: &[u8]) -> Poll<Result<Option<usize>>> {
        ready!(self.poll_waiting(cx))?;
        self.busy = true;
        if !self.begun {
            return Poll::Ready(Ok(None));
        }
        self.begun = false;
        if first.starts_with(STATUS) {
            return Poll::Ready(Ok(Some(STATUS.len())));
        }
        Poll::Ready(Err(Error::other("the head that hyper writes is not the one that has begun")))
    }

    fn poll_waiting(&mut self, cx: &mut Context<'_>) -> Poll<Result<()>> {
        while !self.waiting.is_empty() {
            let count = ready!(Pin::new(&mut self.writer).poll_write(cx, &self.waiting))?;
            self.waiting.drain(..count);
        }
        Poll::Ready(Ok(()))
    }
}

impl AsyncRead for Socket {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<Result<()>> {
        Pin::new(&mut self.reader).poll_read(cx, buffer)
    }
}

impl AsyncWrite for Socket {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<Result<usize>> {
        let mut state = self.early.state();
        match ready!(state.admit(cx, bytes))? {
            Some(count) => Poll::Ready(Ok(count)),
            None => Pin::new(&mut state.writer).poll_write(cx, bytes),
        }
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        pieces: &[IoSlice<'_>],
    ) -> Poll<Result<usize>> {
        let mut state = self.early.state();
        let first = pieces.iter().find(|piece| !piece.is_empty());
        match ready!(state.admit(cx, first.map_or(&[], |piece| piece)))? {
            Some(count) => Poll::Ready(Ok(count)),
            None => Pin::new(&mut state.writer).poll_write_vectored(cx, pieces),
        }
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    /// hyper flushes once it has written all that it had.
    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Result<()>> {
        self.early.state().busy = false;
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<()>> {
        Pin::new(&mut self.early.state().writer).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    use tokio::net::TcpListener;

    use super::*;

    async fn pair() -> (Socket, TcpStream) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let client = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        (Socket::new(listener.accept().await.unwrap().0), client)
    }

    #[tokio::test]
    async fn a_head_that_began_early_is_continued_and_the_next_one_is_complete() {
        let (mut socket, mut client) = pair().await;
        let early = socket.early();
        early.send("a", "1");
        early.send("a", "2");
        assert!(early.has_begun());
        let rest = [STATUS, b"b: 3\r\n\r\n"].concat();
        socket.write_all(&rest).await.unwrap();
        early.send("a", "in the middle of an answer");
        socket.flush().await.unwrap();
        assert!(!early.has_begun());
        socket.write_all(&rest).await.unwrap();
        drop((socket, early));
        let mut text = String::new();
        client.read_to_string(&mut text).await.unwrap();
        let status = "HTTP/1.1 200 OK\r\n";
        assert_eq!(text, format!("{status}a: 1\r\na: 2\r\nb: 3\r\n\r\n{status}b: 3\r\n\r\n"));
    }

    #[tokio::test]
    async fn an_early_head_is_not_continued_with_another_status() {
        let (mut socket, _client) = pair().await;
        socket.early().send("a", "1");
        assert!(socket.write_all(b"HTTP/1.1 404 Not Found\r\n\r\n").await.is_err());
    }
}
