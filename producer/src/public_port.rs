//! The public port: accepts connections, reads requests, passes them to redirector and collector.
//!
//! A connection stays on one thread: threads that steal work spend more time on waking each other than
//! on a redirect. This file enforces the limits: the bytes of a head, the time to send a head and to read
//! an answer, the connections at once, in all and of one client, and their age. It knows HTTP and
//! sockets, but not the content of an answer.

pub mod refused_request;
#[cfg(test)]
mod tests;

use std::convert::Infallible;
use std::error::Error as _;
use std::future::{Ready, ready};
use std::io;
use std::net::IpAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::header::{CONNECTION, HeaderValue};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Request, Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::graceful::{GracefulConnection, GracefulShutdown};
use prometheus_client::metrics::gauge::Gauge;
use service::accept::{self, AcceptParts, Accepted, ConnectionLimit, ConnectionSlot, Progress};
use service::client_prefix::ClientPrefix;
use service::client_stream::{ClientStream, ReadRate};
use service::connection_table::ConnectionBounds;
use service::host_header;
use tokio::net::{TcpListener, TcpStream};
use tokio::runtime::Builder;
use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};
use tokio::task::JoinSet;
use tokio_util::either::Either;
use tokio_util::sync::CancellationToken;

use crate::collector::answer_body::AnswerBody;
use crate::collector::{self, Collector};
use crate::metrics::Metrics;
use crate::outbox::offer::ClickSink;
use crate::public_port::refused_request::RefusedRequest;
use crate::redirect::Redirector;
use service::number::{gauge, millis};

/// Bounds of open connections.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PortConnections {
    /// Most connections at once; for one more, the one that has been idle longest is closed.
    pub max: usize,
    /// Most connections of one client prefix. Trusted proxies have no such bound.
    pub per_client: usize,
}

/// Limits of the port.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PortLimits {
    /// Threads that serve connections; each connection stays on one thread.
    pub threads: usize,
    /// Bounds of its connections.
    pub connections: PortConnections,
    /// Most bytes of a request's head, at least 8 KiB; a longer one is answered 431.
    pub header_bytes: usize,
    /// Longest time to send a head, and longest idle time between two requests.
    pub head: Duration,
    /// Time that a client has to read an answer after it stops reading (see [`ReadRate`]).
    pub write: Duration,
    /// Age from which on a connection ends with its next answer.
    pub age: Duration,
    /// Time for requests in flight to end after `shutdown`.
    pub drain: Duration,
}

/// The services that answer the requests.
#[derive(Debug)]
pub struct Services<S> {
    /// Answers visitors.
    pub redirector: Arc<Redirector<S>>,
    /// Answers other redirectors; `None` if the collector is off.
    pub collector: Option<Arc<Collector>>,
    /// The metrics of the process.
    pub metrics: Metrics,
}

/// Serves until `shutdown`, then waits for requests in flight to end. After it returns, no request is
/// open and none offers a click.
///
/// # Errors
/// The system cannot start a thread, or a thread has ended unexpectedly.
pub async fn run<S: ClickSink>(
    listener: TcpListener,
    services: Services<S>,
    limits: PortLimits,
    shutdown: CancellationToken,
) -> io::Result<()> {
    let metrics = services.metrics.clone();
    let services = Arc::new(services);
    metrics.connections_bound.set(gauge(limits.connections.max));
    let (mut threads, mut senders) = (JoinSet::new(), Vec::new());
    for _ in 0..limits.threads {
        let runtime = Builder::new_current_thread().enable_all().build()?;
        let (sender, accepted_connections) = unbounded_channel();
        let services = Arc::clone(&services);
        threads.spawn_blocking(move || {
            runtime.block_on(serve(accepted_connections, services, limits));
        });
        senders.push(sender);
    }
    let mut next_sender = senders.iter().cycle();
    let parts = parts(listener, &services, limits);
    let accepting = accept::run(parts, shutdown, |accepted| {
        let Accepted { stream, peer, slot } = accepted;
        // An answer is one small packet; no more bytes follow that it should wait for.
        let stream = stream.set_nodelay(true).and_then(|()| stream.into_std());
        let stream = match stream {
            Ok(stream) => stream,
            Err(error) => {
                tracing::debug!(%error, "cannot configure a connection");
                return Ok(());
            }
        };
        let connection = AcceptedConnection {
            stream,
            peer: peer.ip(),
            open: OpenConnection::new(slot, &metrics),
        };
        match next_sender.next().map(|sender| sender.send(connection)) {
            Some(Ok(())) => Ok(()),
            Some(Err(_)) | None => Err(io::Error::other("a thread of the public port has ended")),
        }
    });
    accepting.await?;
    drop(senders);
    while threads.join_next().await.is_some() {}
    Ok(())
}

/// The parts of the accept loop.
fn parts<S: ClickSink>(
    listener: TcpListener,
    services: &Arc<Services<S>>,
    limits: PortLimits,
) -> AcceptParts<impl Fn(IpAddr) -> Option<ClientPrefix> + use<S>, impl Fn(ConnectionLimit) + use<S>>
{
    let bounds = ConnectionBounds {
        connections: limits.connections.max,
        per_client: limits.connections.per_client,
        age_ms: millis(limits.age),
        grace_ms: millis(age_grace(limits, services.collector.as_ref().map(|it| it.answer_time()))),
    };
    let (redirector, metrics) = (Arc::clone(&services.redirector), services.metrics.clone());
    // A trusted proxy holds the connections of many clients.
    let client = move |peer| (!redirector.trusts(peer)).then(|| ClientPrefix::of(peer));
    let report = move |limit: ConnectionLimit| metrics.limited_by(limit.as_str());
    AcceptParts { listener, port: "public", bounds, client, report }
}

/// How long after its age a connection is closed. The last request may begin just before that age: the
/// client has the time for a head, the collector its time to answer, and the client the time to read
/// this answer.
fn age_grace(limits: PortLimits, work: Option<Duration>) -> Duration {
    limits.head.saturating_add(work.unwrap_or_default()).saturating_add(limits.write)
}

/// A new connection that no thread serves yet.
struct AcceptedConnection {
    stream: std::net::TcpStream,
    peer: IpAddr,
    open: OpenConnection,
}

/// Runs one thread: serves connections until the sender is dropped, then waits for requests in flight.
async fn serve<S: ClickSink>(
    mut accepted_connections: UnboundedReceiver<AcceptedConnection>,
    services: Arc<Services<S>>,
    limits: PortLimits,
) {
    let graceful = GracefulShutdown::new();
    let mut connections = JoinSet::new();
    loop {
        let AcceptedConnection { stream, peer, mut open } = tokio::select! {
            Some(_) = connections.join_next() => continue,
            accepted = accepted_connections.recv() => match accepted {
                Some(accepted) => accepted,
                None => break,
            },
        };
        let stream = match TcpStream::from_std(stream) {
            Ok(stream) => stream,
            Err(error) => {
                tracing::warn!(%error, "cannot register a connection");
                continue;
            }
        };
        let client = Client { address: peer, progress: open.slot.progress() };
        let connection = graceful.watch(connection(stream, client, Arc::clone(&services), limits));
        let services = Arc::clone(&services);
        connections.spawn(async move {
            tokio::select! {
                biased;
                served = connection => if let Err(error) = served {
                    if let Some(limit) = limit(&error) {
                        services.metrics.limited_by(limit);
                    }
                    if let Some(cause) = RefusedRequest::of(&error) {
                        services.metrics.refused(cause.as_str());
                    }
                    tracing::debug!(%error, "connection ended");
                },
                () = open.slot.closed() => tracing::debug!("closed a connection"),
            }
            drop(open);
        });
    }
    if tokio::time::timeout(limits.drain, graceful.shutdown()).await.is_err() {
        tracing::warn!(
            connections = connections.len(),
            "closed the connections that were still open when the drain timeout passed"
        );
    }
    connections.shutdown().await;
}

/// The client of a connection.
struct Client {
    address: IpAddr,
    progress: Progress,
}

fn connection<S: ClickSink>(
    stream: TcpStream,
    client: Client,
    services: Arc<Services<S>>,
    limits: PortLimits,
) -> impl GracefulConnection<Error = hyper::Error> + Send {
    let stream = ClientStream::new(stream, client.progress.clone(), ReadRate::new(limits.write));
    let service = service_fn(move |request| answer(&services, request, &client));
    http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(limits.head)
        .max_buf_size(limits.header_bytes)
        .serve_connection(TokioIo::new(stream), service)
}

/// The body of an answer, by the redirector or by the collector.
type PortBody = http_body_util::Either<Full<Bytes>, AnswerBody>;
type Answered = Result<Response<PortBody>, Infallible>;

/// Answers a request. The answer of the redirector is ready at once; only the collector waits.
fn answer<S: ClickSink>(
    services: &Services<S>,
    request: Request<Incoming>,
    client: &Client,
) -> Either<Ready<Answered>, Pin<Box<dyn Future<Output = Answered> + Send>>> {
    let (head, body) = request.into_parts();
    let response = if !host_header::is_complete(head.version, &head.headers) {
        services.metrics.request("bad_request");
        without_host().map(PortBody::Left)
    } else if !collector::is_for_collector(&head) {
        services.redirector.answer(head, client.address).map(PortBody::Left)
    } else if let Some(collector) = &services.collector {
        let (collector, progress) = (Arc::clone(collector), client.progress.clone());
        return Either::Right(Box::pin(async move {
            // The sender waits for this process, so its connection is not idle.
            let work = progress.work();
            let response = collector.answer(head, body).await.map(PortBody::Right);
            drop(work);
            Ok(last_if_aged(response, &progress))
        }));
    } else {
        collector::collector_off(&services.metrics).map(PortBody::Right)
    };
    Either::Left(ready(Ok(last_if_aged(response, &client.progress))))
}

/// Closes an aged connection after this answer.
fn last_if_aged(mut response: Response<PortBody>, progress: &Progress) -> Response<PortBody> {
    if progress.is_aged() {
        response.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
    }
    response
}

/// The answer to a request of HTTP/1.1 without a `Host`, or to one with two; it is recorded as no click.
fn without_host() -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(Bytes::from_static(
        b"a request must have exactly one Host header\n",
    )));
    *response.status_mut() = StatusCode::BAD_REQUEST;
    response.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
    response
}

/// The limit that ended a connection, if a limit did.
fn limit(error: &hyper::Error) -> Option<&'static str> {
    let cause = error.source().and_then(|cause| cause.downcast_ref::<io::Error>());
    if error.is_parse_too_large() {
        Some("header_bytes")
    } else if cause.is_some_and(|it| it.kind() == io::ErrorKind::TimedOut) {
        Some("write_seconds")
    } else if error.is_timeout() {
        Some("header_seconds")
    } else {
        None
    }
}

/// One open connection: its slot, and its part of the gauge.
struct OpenConnection {
    gauge: Gauge,
    slot: ConnectionSlot,
}

impl OpenConnection {
    fn new(slot: ConnectionSlot, metrics: &Metrics) -> Self {
        metrics.connections.inc();
        Self { gauge: metrics.connections.clone(), slot }
    }
}

impl Drop for OpenConnection {
    fn drop(&mut self) {
        self.gauge.dec();
    }
}
