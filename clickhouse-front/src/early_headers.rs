//! A head that begins before the answer is known: ClickHouse tells of a query's progress in
//! headers while it runs, and sends the rest of the head when its result begins. hyper writes a
//! head at once, so this stands between hyper and the socket: it writes the status line and the
//! headers that are told early, and leaves out the status line that hyper writes later.

use std::io::{Error, IoSlice, Result};
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};

/// The status line of every head that begins early, as hyper writes it, too.
const STATUS: &[u8] = b"HTTP/1.1 200 OK\r\n";
/// What may wait for a client that does not read.
const WAITING_MAX: usize = 64 << 10;

/// A connection whose heads may begin early.
#[derive(Debug)]
pub(crate) struct Socket {
    reader: OwnedReadHalf,
    early: Early,
}

/// The means to begin a connection's next head.
#[derive(Debug, Clone)]
pub(crate) struct Early(Arc<Mutex<Line>>);

#[derive(Debug)]
struct Line {
    writer: OwnedWriteHalf,
    /// Told and not sent yet.
    waiting: Vec<u8>,
    /// A head has begun, and hyper has not gone on with it.
    begun: bool,
    /// hyper is in the middle of what it writes.
    busy: bool,
}

impl Socket {
    pub(crate) fn new(stream: TcpStream) -> Self {
        let (reader, writer) = stream.into_split();
        let line = Line { writer, waiting: Vec::new(), begun: false, busy: false };
        Self { reader, early: Early(Arc::new(Mutex::new(line))) }
    }

    pub(crate) fn early(&self) -> Early {
        self.early.clone()
    }
}

impl Early {
    fn line(&self) -> MutexGuard<'_, Line> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Sends a header before the rest of its head; the status is 200 from now on. Nothing is
    /// sent if the client does not take what was sent before.
    pub(crate) fn tell(&self, name: &str, value: &str) {
        let mut line = self.line();
        if line.busy || line.waiting.len() > WAITING_MAX {
            return;
        }
        if !line.begun {
            line.begun = true;
            line.waiting.extend_from_slice(STATUS);
        }
        line.waiting.extend_from_slice(format!("{name}: {value}\r\n").as_bytes());
        // What does not go now goes before hyper's next bytes.
        if let Ok(count) = line.writer.try_write(&line.waiting) {
            line.waiting.drain(..count);
        }
    }

    /// Whether a head has begun that hyper is to go on with.
    pub(crate) fn has_begun(&self) -> bool {
        self.line().begun
    }
}

impl Line {
    /// What hyper wants to write may go to the socket: `None`. Else so many of its bytes are
    /// done with.
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
        Poll::Ready(Err(Error::other("another head was begun than the one that goes on")))
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
        let mut line = self.early.line();
        match ready!(line.admit(cx, bytes))? {
            Some(count) => Poll::Ready(Ok(count)),
            None => Pin::new(&mut line.writer).poll_write(cx, bytes),
        }
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        pieces: &[IoSlice<'_>],
    ) -> Poll<Result<usize>> {
        let mut line = self.early.line();
        let first = pieces.iter().find(|piece| !piece.is_empty());
        match ready!(line.admit(cx, first.map_or(&[], |piece| piece)))? {
            Some(count) => Poll::Ready(Ok(count)),
            None => Pin::new(&mut line.writer).poll_write_vectored(cx, pieces),
        }
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    /// hyper flushes once it has written all that it had.
    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Result<()>> {
        self.early.line().busy = false;
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<()>> {
        Pin::new(&mut self.early.line().writer).poll_shutdown(cx)
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
    async fn a_head_that_began_early_is_gone_on_with_and_the_next_one_is_whole() {
        let (mut socket, mut client) = pair().await;
        let early = socket.early();
        early.tell("a", "1");
        early.tell("a", "2");
        assert!(early.has_begun());
        let rest = [STATUS, b"b: 3\r\n\r\n"].concat();
        socket.write_all(&rest).await.unwrap();
        early.tell("a", "in the middle of an answer");
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
    async fn a_head_is_never_joined_to_another() {
        let (mut socket, _client) = pair().await;
        socket.early().tell("a", "1");
        assert!(socket.write_all(b"HTTP/1.1 404 Not Found\r\n\r\n").await.is_err());
    }
}
