//! The stream of a connection: notes progress, and fails when the client reads too slowly.
//!
//! A client that sends requests and does not read the answers would hold its connection without end:
//! hyper bounds the time to read, not the time to write. While an answer cannot be sent, the client
//! has `timeout`, and a second more for each [`ReadRate`] of bytes that it reads. The stream writes
//! one buffer at a time, which for small answers is cheaper than a vectored write.
#![expect(clippy::disallowed_methods, reason = "measures how long a client does not read")]

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Instant, Sleep};

use crate::accept::Progress;

/// How fast a client must read while an answer cannot be sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ReadRate {
    /// Time that it has in any case.
    pub timeout: Duration,
    /// Bytes for which it has a second more.
    pub bytes_per_second: u32,
}

impl ReadRate {
    /// Bytes a second that every client reads.
    pub const BYTES_PER_SECOND: u32 = 1024;

    /// A timeout, with the usual rate.
    pub fn new(timeout: Duration) -> Self {
        Self { timeout, bytes_per_second: Self::BYTES_PER_SECOND }
    }

    fn allowed(&self, bytes: u64) -> Duration {
        let millis = bytes.saturating_mul(1_000) / u64::from(self.bytes_per_second.max(1));
        self.timeout.saturating_add(Duration::from_millis(millis))
    }
}

/// A connection that fails when its client does not read.
#[derive(Debug)]
pub struct ClientStream<T> {
    inner: T,
    progress: Progress,
    rate: ReadRate,
    /// Present from the first write that has to wait until everything is written.
    stall: Option<Stall>,
}

#[derive(Debug)]
struct Stall {
    since: Instant,
    written: u64,
    timer: Pin<Box<Sleep>>,
}

impl<T> ClientStream<T> {
    /// A stream that notes progress in `progress`.
    pub fn new(inner: T, progress: Progress, rate: ReadRate) -> Self {
        Self { inner, progress, rate, stall: None }
    }

    /// Waits for the client, for a limited time.
    fn wait<R>(&mut self, context: &mut Context<'_>) -> Poll<io::Result<R>> {
        let timeout = self.rate.timeout;
        let stall = self.stall.get_or_insert_with(|| Stall {
            since: Instant::now(),
            written: 0,
            timer: Box::pin(tokio::time::sleep(timeout)),
        });
        stall.timer.as_mut().poll(context).map(|()| Err(io::ErrorKind::TimedOut.into()))
    }

    /// Notes that the client read bytes.
    fn took(&mut self, bytes: usize) {
        if let Some(stall) = &mut self.stall {
            self.progress.touch();
            stall.written += bytes as u64;
            stall.timer.as_mut().reset(stall.since + self.rate.allowed(stall.written));
        }
    }
}

impl<T: AsyncRead + Unpin> AsyncRead for ClientStream<T> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        into: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = into.filled().len();
        let read = Pin::new(&mut self.inner).poll_read(context, into);
        if into.filled().len() > before {
            self.progress.touch();
        }
        read
    }
}

impl<T: AsyncWrite + Unpin> AsyncWrite for ClientStream<T> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        match Pin::new(&mut self.inner).poll_write(context, bytes) {
            Poll::Ready(written) => {
                if let Ok(count) = &written {
                    self.took(*count);
                }
                Poll::Ready(written)
            }
            Poll::Pending => self.wait(context),
        }
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        match Pin::new(&mut self.inner).poll_flush(context) {
            Poll::Ready(flushed) => {
                // The system has all bytes of the answer.
                self.stall = None;
                Poll::Ready(flushed)
            }
            Poll::Pending => self.wait(context),
        }
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        match Pin::new(&mut self.inner).poll_shutdown(context) {
            Poll::Ready(ended) => Poll::Ready(ended),
            Poll::Pending => self.wait(context),
        }
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, DuplexStream};

    use super::*;

    const RATE: ReadRate = ReadRate { timeout: Duration::from_secs(5), bytes_per_second: 8 };

    fn stream(inner: DuplexStream) -> ClientStream<DuplexStream> {
        ClientStream::new(inner, Progress::unobserved(), RATE)
    }

    #[tokio::test(start_paused = true)]
    async fn a_client_that_reads_nothing_times_out_and_a_slow_one_does_not() {
        let (here, mut there) = tokio::io::duplex(64);
        let mut connection = stream(here);
        let writing = connection.write_all(&[7; 640]);
        let reading = async {
            for _ in 0..9 {
                tokio::time::sleep(Duration::from_secs(4)).await;
                there.read_exact(&mut [0; 64]).await.unwrap();
            }
        };
        let (written, ()) = tokio::join!(writing, reading);
        written.unwrap();
        let error = connection.write_all(&[7; 640]).await.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::TimedOut);
    }

    #[tokio::test(start_paused = true)]
    async fn l2_a_client_that_reads_a_byte_a_second_times_out() {
        for (bytes, pause_ms) in [(1, 1_000), (1, 200), (10, 4_000)] {
            let (here, mut there) = tokio::io::duplex(64);
            let mut connection = stream(here);
            let began = Instant::now();
            let reading = async {
                loop {
                    tokio::time::sleep(Duration::from_millis(pause_ms)).await;
                    there.read_exact(&mut vec![0; bytes]).await.unwrap();
                }
            };
            let error = tokio::select! {
                written = connection.write_all(&[7; 6_400]) => written.unwrap_err(),
                () = reading => unreachable!("the reader does not end"),
            };
            assert_eq!(error.kind(), io::ErrorKind::TimedOut);
            assert!(began.elapsed() < Duration::from_secs(20), "{:?}", began.elapsed());
        }
    }
}
