//! The public port: accepts connections, reads requests, hands them to redirector and collector.
//!
//! A connection stays on the thread where it was put: threads that take work from each other spend
//! more on waking each other than on a redirect. Limits stand here: bytes of a head, time to send
//! one and to take an answer, connections at once. It knows HTTP and sockets; what an answer is, it
//! does not.

pub mod write_timeout;

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
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::graceful::{GracefulConnection, GracefulShutdown};
use prometheus_client::metrics::gauge::Gauge;
use service::accept::{self, Accepted};
use tokio::net::{TcpListener, TcpStream};
use tokio::runtime::Builder;
use tokio::sync::OwnedSemaphorePermit;
use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};
use tokio::task::JoinSet;
use tokio_util::either::Either;
use tokio_util::sync::CancellationToken;

use crate::collector::{self, Collector};
use crate::metrics::Metrics;
use crate::outbox::offer::ClickSink;
use crate::public_port::write_timeout::Patient;
use crate::redirect::Redirector;
use service::number::gauge;

/// What the port allows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Threads that serve; a connection stays on one.
    pub threads: usize,
    /// Connections at once; more wait in the system's backlog.
    pub connections_max: usize,
    /// Most bytes of a request's head, at least 8 KiB; a longer one is answered 431.
    pub header_bytes: usize,
    /// Time to send a head, and to stay idle between two requests.
    pub head: Duration,
    /// Time to take more of an answer.
    pub write: Duration,
    /// How long requests in flight may take to end after `shutdown`.
    pub drain: Duration,
}

/// Who answers.
#[derive(Debug)]
pub struct Services<S> {
    /// Visitors.
    pub redirector: Arc<Redirector<S>>,
    /// Other redirectors, where their clicks are taken.
    pub collector: Option<Arc<Collector>>,
    /// What is counted.
    pub metrics: Metrics,
}

/// Serves until `shutdown`, then lets requests in flight end. When it returns, no request is
/// open and none will offer a click.
///
/// # Errors
/// The system has no thread, or one has ended before its time.
pub async fn run<S: ClickSink>(
    listener: TcpListener,
    services: Services<S>,
    limits: Limits,
    shutdown: CancellationToken,
) -> io::Result<()> {
    let metrics = services.metrics.clone();
    let services = Arc::new(services);
    metrics.connections_bound.set(gauge(limits.connections_max));
    let (mut threads, mut doors) = (JoinSet::new(), Vec::new());
    for _ in 0..limits.threads {
        let runtime = Builder::new_current_thread().enable_all().build()?;
        let (door, arrivals) = unbounded_channel();
        let services = Arc::clone(&services);
        threads.spawn_blocking(move || runtime.block_on(serve(arrivals, services, limits)));
        doors.push(door);
    }
    let mut next = doors.iter().cycle();
    let accepting = accept::run(listener, "public", limits.connections_max, shutdown, |accepted| {
        let Accepted { stream, peer, slot } = accepted;
        // An answer is one small packet; nothing follows that it could wait for.
        let stream = stream.set_nodelay(true).and_then(|()| stream.into_std());
        let stream = match stream {
            Ok(stream) => stream,
            Err(error) => {
                tracing::debug!(%error, "a connection broke");
                return Ok(());
            }
        };
        let arrival = Arrival { stream, peer: peer.ip(), open: Open::new(slot, &metrics) };
        let sent = next.next().map(|door| door.send(arrival));
        match sent {
            Some(Ok(())) => Ok(()),
            Some(Err(_)) | None => Err(io::Error::other("a thread of the port has ended")),
        }
    });
    accepting.await?;
    drop(doors);
    while threads.join_next().await.is_some() {}
    Ok(())
}

/// A new connection on its way to its thread.
struct Arrival {
    stream: std::net::TcpStream,
    peer: IpAddr,
    open: Open,
}

/// One thread: serves what arrives until nothing will, then lets requests in flight end.
async fn serve<S: ClickSink>(
    mut arrivals: UnboundedReceiver<Arrival>,
    services: Arc<Services<S>>,
    limits: Limits,
) {
    let graceful = GracefulShutdown::new();
    let mut connections = JoinSet::new();
    loop {
        let Arrival { stream, peer, open } = tokio::select! {
            Some(_) = connections.join_next() => continue,
            arrival = arrivals.recv() => match arrival {
                Some(arrival) => arrival,
                None => break,
            },
        };
        let stream = match TcpStream::from_std(stream) {
            Ok(stream) => stream,
            Err(error) => {
                tracing::warn!(%error, "cannot serve");
                continue;
            }
        };
        let connection = graceful.watch(connection(stream, peer, Arc::clone(&services), limits));
        let services = Arc::clone(&services);
        connections.spawn(async move {
            if let Err(error) = connection.await {
                if let Some(limit) = limit(&error) {
                    services.metrics.limited_by(limit);
                }
                tracing::debug!(%error, "connection ended");
            }
            drop(open);
        });
    }
    if tokio::time::timeout(limits.drain, graceful.shutdown()).await.is_err() {
        tracing::warn!(connections = connections.len(), "connections cut at the end of the drain");
    }
    connections.shutdown().await;
}

fn connection<S: ClickSink>(
    stream: TcpStream,
    peer: IpAddr,
    services: Arc<Services<S>>,
    limits: Limits,
) -> impl GracefulConnection<Error = hyper::Error> + Send {
    let service = service_fn(move |request| answer(&services, request, peer));
    http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(limits.head)
        .max_buf_size(limits.header_bytes)
        .serve_connection(TokioIo::new(Patient::new(stream, limits.write)), service)
}

type Answered = Result<Response<Full<Bytes>>, Infallible>;

/// A redirect is there at once; only a collector has something to wait for.
fn answer<S: ClickSink>(
    services: &Services<S>,
    request: Request<Incoming>,
    peer: IpAddr,
) -> Either<Ready<Answered>, Pin<Box<dyn Future<Output = Answered> + Send>>> {
    let (head, body) = request.into_parts();
    let answer = match (collector::is_asked(&head), &services.collector) {
        (false, _) => services.redirector.answer(&head, peer),
        (true, Some(collector)) => {
            let collector = Arc::clone(collector);
            return Either::Right(Box::pin(async { Ok(collector.answer(head, body).await) }));
        }
        (true, None) => collector::off(&services.metrics),
    };
    Either::Left(ready(Ok(answer)))
}

/// The limit that ended a connection, if one did.
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

/// One open connection: its slot and its place in the gauge.
struct Open {
    gauge: Gauge,
    _slot: OwnedSemaphorePermit,
}

impl Open {
    fn new(slot: OwnedSemaphorePermit, metrics: &Metrics) -> Self {
        metrics.connections.inc();
        Self { gauge: metrics.connections.clone(), _slot: slot }
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        self.gauge.dec();
    }
}
