//! An HTTP/1 server for a port with few clients: the admin port and the admin API of links.
//!
//! The producer's public port serves visitors; it has more threads and other limits. Here, too, a
//! connection is bounded: time to send a head, time to read an answer, age. A port without a
//! free slot closes the connection that is idle longest, so that a probe is always answered.

use std::convert::Infallible;
use std::future::Future;
use std::net::IpAddr;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::header::{CONNECTION, CONTENT_TYPE, HeaderValue};
use hyper::service::service_fn;
use hyper::{Request, Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::TcpListener;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::accept::{self, AcceptParts, ConnectionSlot};
use crate::client_stream::{ClientStream, ReadRate};
use crate::connection_table::ConnectionBounds;
use crate::host_header;
use crate::number::millis;

/// Most bytes of a request's head, and of answers that wait to be sent.
const HEAD_BYTES_MAX: usize = 16 * 1024;
const PLAIN: &str = "text/plain; charset=utf-8";
/// The statuses whose answer closes the connection.
const FAULTS: [StatusCode; 4] = [
    StatusCode::BAD_REQUEST,
    StatusCode::UNAUTHORIZED,
    StatusCode::REQUEST_TIMEOUT,
    StatusCode::MISDIRECTED_REQUEST,
];

/// Limits of a port and of each of its connections.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct HttpLimits {
    /// Most connections.
    pub connections: usize,
    /// Time in which a head must be complete, and longest idle time.
    pub head: Duration,
    /// Time in which a client must begin to read a waiting answer.
    pub write: Duration,
    /// Age at which a connection ends with its next answer.
    pub age: Duration,
    /// Longest time from a request's head to the start of its answer.
    pub work: Duration,
}

impl HttpLimits {
    /// How long after its age a connection is closed. The last request may begin just before that age:
    /// it is read, worked on and answered first.
    fn age_grace(&self) -> Duration {
        self.head.saturating_add(self.work).saturating_add(self.write)
    }
}

/// Serves until `shutdown`, then drops open connections. `port` names the port in logs.
pub async fn run<A, F>(
    listener: TcpListener,
    port: &'static str,
    limits: HttpLimits,
    shutdown: CancellationToken,
    answer: A,
) where
    A: Fn(Request<Incoming>) -> F + Clone + Send + 'static,
    F: Future<Output = Response<Full<Bytes>>> + Send + 'static,
{
    let bounds = ConnectionBounds {
        connections: limits.connections,
        per_client: limits.connections,
        age_ms: millis(limits.age),
        grace_ms: millis(limits.age_grace()),
    };
    // Probes and scrapes may all come from one address.
    let client = |_: IpAddr| None;
    let report = |limit: accept::ConnectionLimit| {
        tracing::debug!(port, limit = limit.as_str(), "a limit closed a connection");
    };
    let parts = AcceptParts { listener, port, bounds, client, report };
    let mut connections = JoinSet::new();
    let accepting = accept::run(parts, shutdown, |accepted| {
        while connections.try_join_next().is_some() {}
        let stream = ClientStream::new(
            accepted.stream,
            accepted.slot.progress(),
            ReadRate::new(limits.write),
        );
        connections.spawn(serve(stream, accepted.slot, limits, answer.clone(), port));
        Ok(())
    });
    // Serving a connection does not fail here.
    if let Err(error) = accepting.await {
        tracing::error!(port, %error, "the port has ended");
    }
}

async fn serve<A, F>(
    stream: ClientStream<tokio::net::TcpStream>,
    mut slot: ConnectionSlot,
    limits: HttpLimits,
    answer: A,
    port: &'static str,
) where
    A: Fn(Request<Incoming>) -> F,
    F: Future<Output = Response<Full<Bytes>>>,
{
    let progress = slot.progress();
    let service = service_fn(move |request: Request<Incoming>| {
        let is_complete = host_header::is_complete(request.version(), request.headers());
        let answered = is_complete.then(|| answer(request));
        let (work, progress) = (progress.work(), progress.clone());
        async move {
            let mut response = match answered {
                Some(answered) => answered.await,
                None => reply(
                    StatusCode::BAD_REQUEST,
                    PLAIN,
                    "a request must have exactly one Host header\n".to_owned(),
                ),
            };
            if progress.is_aged() || FAULTS.contains(&response.status()) {
                response.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
            }
            drop(work);
            Ok::<_, Infallible>(response)
        }
    });
    let connection = hyper::server::conn::http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(limits.head)
        .max_buf_size(HEAD_BYTES_MAX)
        .serve_connection(TokioIo::new(stream), service);
    tokio::select! {
        biased;
        served = connection => if let Err(error) = served {
            tracing::debug!(port, %error, "a connection ended");
        },
        () = slot.closed() => tracing::debug!(port, "closed a connection"),
    }
}

/// A complete answer.
pub fn reply(
    status: StatusCode,
    content_type: &'static str,
    body: String,
) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(Bytes::from(body)));
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    response
}

#[cfg(test)]
#[expect(clippy::disallowed_methods, reason = "a test measures how long it waits")]
mod tests {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    use tokio::net::TcpStream;
    use tokio::time::{Instant, timeout};

    use super::*;

    const LIMITS: HttpLimits = HttpLimits {
        connections: 4,
        head: Duration::from_millis(700),
        write: Duration::from_millis(300),
        age: Duration::from_secs(1),
        work: Duration::from_millis(500),
    };
    const PROBE: &[u8] = b"GET / HTTP/1.1\r\nHost: x\r\n\r\n";

    #[test]
    fn an_aged_connection_has_time_to_send_a_head_and_to_read_its_answer() {
        assert_eq!(LIMITS.age_grace(), Duration::from_millis(700 + 500 + 300));
    }

    /// Runs a client against a port whose answers have so many bytes.
    async fn with(
        bytes: usize,
        limits: HttpLimits,
        client: impl AsyncFnOnce(std::net::SocketAddr),
    ) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let (address, stop) = (listener.local_addr().unwrap(), CancellationToken::new());
        let answer = move |_| std::future::ready(reply(StatusCode::OK, PLAIN, "x".repeat(bytes)));
        let server = run(listener, "test", limits, stop.clone(), answer);
        let client = async {
            timeout(Duration::from_secs(8), client(address)).await.unwrap();
            stop.cancel();
        };
        tokio::join!(server, client);
    }

    async fn probe(address: std::net::SocketAddr) -> String {
        let mut stream = TcpStream::connect(address).await.unwrap();
        stream.write_all(PROBE).await.unwrap();
        let mut start = [0; 12];
        timeout(Duration::from_secs(2), stream.read_exact(&mut start)).await.unwrap().unwrap();
        String::from_utf8(start.to_vec()).unwrap()
    }

    /// How long a connection lives on that sends these bytes and then nothing.
    async fn life(address: std::net::SocketAddr, bytes: &'static [u8]) -> Duration {
        let mut stream = TcpStream::connect(address).await.unwrap();
        let began = Instant::now();
        stream.write_all(bytes).await.unwrap();
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).await.ok();
        began.elapsed()
    }

    #[tokio::test]
    async fn m8_silent_readers_do_not_shut_a_port() {
        let slow = HttpLimits { write: Duration::from_secs(60), ..LIMITS };
        with(1 << 20, HttpLimits { age: Duration::from_secs(60), ..slow }, async |address| {
            let mut readers = Vec::new();
            for _ in 0..8 {
                let mut reader = TcpStream::connect(address).await.unwrap();
                reader.write_all(&PROBE.repeat(50)).await.unwrap();
                readers.push(reader);
                tokio::time::sleep(Duration::from_millis(20)).await;
                assert_eq!(probe(address).await, "HTTP/1.1 200");
            }
        })
        .await;
    }

    #[tokio::test]
    async fn m8_a_reader_that_takes_nothing_of_its_answers_is_disconnected() {
        let limits = HttpLimits { age: Duration::from_secs(60), ..LIMITS };
        with(1 << 20, limits, async |address| {
            let mut reader = TcpStream::connect(address).await.unwrap();
            let began = Instant::now();
            // Until the port closes the connection.
            while reader.write_all(PROBE).await.is_ok() {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
            assert!(began.elapsed() < Duration::from_secs(3), "{:?}", began.elapsed());
        })
        .await;
    }

    #[tokio::test]
    async fn m8_no_connection_outlives_its_head_or_its_age() {
        with(1, HttpLimits { connections: 16, ..LIMITS }, async |address| {
            let starts = [&b""[..], b"GET", b"GET / HTTP/1.1\r\nHost: x\r\n", b"\r\n", PROBE];
            let mut lives = JoinSet::new();
            for start in starts {
                lives.spawn(life(address, start));
            }
            for life in lives.join_all().await {
                assert!(life < Duration::from_millis(1_500), "{life:?}");
            }
            let mut stream = TcpStream::connect(address).await.unwrap();
            let (began, mut answers) = (Instant::now(), String::new());
            while stream.write_all(PROBE).await.is_ok() {
                let mut piece = [0; 4096];
                let Ok(count @ 1..) = stream.read(&mut piece).await else { break };
                answers += std::str::from_utf8(&piece[..count]).unwrap();
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
            assert!(began.elapsed() < Duration::from_secs(3), "{:?}", began.elapsed());
            assert_eq!(answers.matches("connection: close").count(), 1, "{answers}");
        })
        .await;
    }

    #[tokio::test]
    async fn l1_a_request_with_no_host_or_two_is_answered_400_and_closed() {
        with(1, LIMITS, async |address| {
            for (lines, status) in
                [("", "400"), ("Host: a\r\nHost: a\r\n", "400"), ("Host: a\r\n", "200")]
            {
                let mut stream = TcpStream::connect(address).await.unwrap();
                let text = format!("GET / HTTP/1.1\r\n{lines}\r\n");
                stream.write_all(text.as_bytes()).await.unwrap();
                let mut answer = [0; 12];
                stream.read_exact(&mut answer).await.unwrap();
                assert!(answer.ends_with(status.as_bytes()), "{lines}");
            }
        })
        .await;
    }
}
