//! The public port: accepts connections, reads requests, hands them to the redirector.
//!
//! Limits stand here: bytes of a head, time to send one, connections at once.
//! It knows HTTP and sockets; what an answer is, it does not.

use std::convert::Infallible;
use std::io;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use hyper::Request;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::graceful::{GracefulConnection, GracefulShutdown};
use prometheus_client::metrics::gauge::Gauge;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::metrics::Metrics;
use crate::redirect::Redirector;
use crate::sink::ClickSink;

/// Most bytes of a request's head; a longer one is answered 431.
const HEAD_BYTES_MAX: usize = 16 * 1024;
/// Time to send a head, and to stay idle between two requests.
const HEAD_TIMEOUT: Duration = Duration::from_secs(15);
/// After an accept error (out of descriptors), so that the loop does not spin.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// What the port allows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Connections at once; more wait in the system's backlog.
    pub connections_max: usize,
    /// How long requests in flight may take to end after `shutdown`.
    pub drain: Duration,
}

/// Serves until `shutdown`, then lets requests in flight end. When it returns, no request is
/// open and none will offer a click.
pub async fn run<S: ClickSink>(
    listener: TcpListener,
    redirector: Arc<Redirector<S>>,
    metrics: Metrics,
    limits: Limits,
    shutdown: CancellationToken,
) {
    metrics.connections_bound.set(i64::try_from(limits.connections_max).unwrap_or(i64::MAX));
    let slots = Arc::new(Semaphore::new(limits.connections_max));
    let graceful = GracefulShutdown::new();
    let mut connections = JoinSet::new();
    loop {
        let accepted = tokio::select! {
            () = shutdown.cancelled() => break,
            Some(_) = connections.join_next() => continue,
            accepted = accept(&listener, &slots) => accepted,
        };
        match accepted {
            Ok((stream, peer, slot)) => {
                let redirector = Arc::clone(&redirector);
                let connection = graceful.watch(connection(stream, peer, redirector));
                let open = Open::new(slot, &metrics);
                connections.spawn(async move {
                    if let Err(error) = connection.await {
                        tracing::debug!(%error, "connection ended");
                    }
                    drop(open);
                });
            }
            Err(error) => {
                tracing::warn!(%error, "cannot accept");
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
    drop(listener);
    if tokio::time::timeout(limits.drain, graceful.shutdown()).await.is_err() {
        tracing::warn!(connections = connections.len(), "connections cut at the end of the drain");
    }
    connections.shutdown().await;
}

async fn accept(
    listener: &TcpListener,
    slots: &Arc<Semaphore>,
) -> io::Result<(TcpStream, IpAddr, OwnedSemaphorePermit)> {
    let slot = Arc::clone(slots).acquire_owned().await.map_err(io::Error::other)?;
    let (stream, peer) = listener.accept().await?;
    // An answer is one small packet; nothing follows that it could wait for.
    stream.set_nodelay(true)?;
    Ok((stream, peer.ip(), slot))
}

fn connection<S: ClickSink>(
    stream: TcpStream,
    peer: IpAddr,
    redirector: Arc<Redirector<S>>,
) -> impl GracefulConnection<Error = hyper::Error> + Send {
    let service = service_fn(move |request: Request<Incoming>| {
        let (head, _body) = request.into_parts();
        std::future::ready(Ok::<_, Infallible>(redirector.answer(&head, peer)))
    });
    http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_TIMEOUT)
        .max_buf_size(HEAD_BYTES_MAX)
        .serve_connection(TokioIo::new(stream), service)
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

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use schemas::{Decoder, NEWEST, Outcome};
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

    use super::*;
    use crate::datum::DatumEncoder;
    use crate::links::Links;
    use crate::sink::{Loss, Offered, TraceHeaders};
    use crate::span::Sampling;

    const PARENT: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
    const LINKS: &str = r#"{"slug":"a","url":"https://example.com/x?y=1","id":"l1","version":3}
{"slug":"off","url":"http://x/","disabled":true}
{"slug":"back","url":"http://go.example/admin"}
{"slug":"old","url":"http://x/","expires":"2020-01-01T00:00:00Z"}"#;

    /// Keeps what it is offered, or refuses it as a full queue would.
    #[derive(Debug, Default)]
    struct Script {
        full: bool,
        records: Mutex<Vec<(Vec<u8>, String, String)>>,
    }

    impl ClickSink for Script {
        fn offer(&self, datum: &[u8], trace: TraceHeaders<'_>) -> Offered {
            if self.full {
                return Offered::Lost(Loss::QueueFull);
            }
            let text = |header: Option<&str>| header.unwrap_or_default().to_owned();
            let entry = (datum.to_vec(), text(trace.traceparent), text(trace.tracestate));
            self.records.lock().unwrap().push(entry);
            Offered::Queued
        }
    }

    /// Sends raw bytes to a real port; returns what came back and what was recorded.
    async fn ask(sink: Script, bytes: &[u8]) -> (String, Arc<Script>, Metrics) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (sink, metrics) = (Arc::new(sink), Metrics::default());
        let encoder = DatumEncoder::new().unwrap();
        let sampling = Sampling { exports: false, ratio: 1.0 };
        let node = "node".to_owned();
        let redirector =
            Redirector::new(encoder, Arc::clone(&sink), metrics.clone(), node, sampling);
        redirector.set_links(Links::parse(LINKS, "links").unwrap());
        let limits = Limits { connections_max: 4, drain: Duration::from_secs(1) };
        let shutdown = CancellationToken::new();
        let server = run(listener, Arc::new(redirector), metrics.clone(), limits, shutdown.clone());
        let client = async {
            let mut stream = TcpStream::connect(address).await.unwrap();
            stream.write_all(bytes).await.unwrap();
            let mut answer = Vec::new();
            stream.read_to_end(&mut answer).await.unwrap();
            shutdown.cancel();
            String::from_utf8(answer).unwrap()
        };
        let ((), answer) = tokio::join!(server, client);
        assert_eq!(metrics.connections.get(), 0);
        (answer, sink, metrics)
    }

    fn request(head: &str, more: &str) -> Vec<u8> {
        format!("{head} HTTP/1.1\r\nHost: Go.Example:80\r\nConnection: close\r\n{more}\r\n").into()
    }

    async fn recorded(head: &str, more: &str) -> (String, Outcome, String) {
        let (answer, sink, _) = ask(Script::default(), &request(head, more)).await;
        let records = sink.records.lock().unwrap();
        let [(datum, _, _)] = &records[..] else { panic!("{} records", records.len()) };
        let decoder = Decoder::new(NEWEST).unwrap();
        let click = decoder.decode(datum).unwrap();
        assert_eq!(click.source, "node");
        assert_eq!(click.domain, Some("go.example"));
        assert!(answer.contains(&format!("HTTP/1.1 {} ", click.status)), "{answer}");
        (answer, click.outcome, click.slug.to_owned())
    }

    #[tokio::test]
    async fn a_known_slug_leads_to_its_target_and_nothing_may_keep_the_answer() {
        let (answer, outcome, _) = recorded("GET /a?q", "").await;
        assert_eq!(outcome, Outcome::Redirected);
        let lower = answer.to_lowercase();
        for line in [
            "http/1.1 302 found",
            "location: https://example.com/x?y=1",
            "cache-control: private, no-store",
            "x-robots-tag: noindex",
            "content-length: 0",
        ] {
            assert!(lower.contains(&format!("{line}\r\n")), "{line} is not in {answer}");
        }
        assert!(answer.ends_with("\r\n\r\n"));
    }

    #[tokio::test]
    async fn every_answer_is_recorded_with_its_outcome() {
        for (head, status, expected) in [
            ("GET /a", 302, Outcome::Redirected),
            ("HEAD /a", 302, Outcome::Redirected),
            ("GET http://go.example/a", 302, Outcome::Redirected),
            ("GET /A", 404, Outcome::NotFound),
            ("GET /off", 404, Outcome::Disabled),
            ("GET /old", 410, Outcome::Expired),
            ("GET /back", 404, Outcome::Blocked),
            ("GET /", 200, Outcome::BaseUrl),
            ("GET /robots.txt", 200, Outcome::Reserved),
            ("GET /favicon.ico", 404, Outcome::Reserved),
            ("GET /.well-known/x", 404, Outcome::Reserved),
        ] {
            let (answer, outcome, _) = recorded(head, "").await;
            assert_eq!(outcome, expected, "{head}");
            assert!(answer.starts_with(&format!("HTTP/1.1 {status} ")), "{head}: {answer}");
        }
    }

    #[tokio::test]
    async fn head_has_the_head_of_get_and_no_body() {
        let (get, _, _) = recorded("GET /x", "").await;
        let (head, _, _) = recorded("HEAD /x", "").await;
        assert!(get.ends_with("\r\n\r\nnot found\n") && head.ends_with("\r\n\r\n"), "{head}");
        assert!(get.contains("content-length: 10\r\n") && head.contains("content-length: 10\r\n"));
    }

    #[tokio::test]
    async fn a_parents_trace_goes_on_in_the_answer_and_in_the_record() {
        let more = format!("traceparent: {PARENT}\r\ntracestate: v=1\r\n");
        let (answer, sink, _) = ask(Script::default(), &request("GET /a", &more)).await;
        let records = sink.records.lock().unwrap();
        let (_, traceparent, tracestate) = &records[0];
        assert!(answer.contains(&format!("traceparent: {traceparent}\r\n")), "{answer}");
        assert_eq!((&traceparent[..36], &traceparent[52..]), (&PARENT[..36], "-01"));
        assert_ne!(traceparent, PARENT);
        assert_eq!(tracestate, "v=1");
    }

    #[tokio::test]
    async fn without_a_parent_a_trace_is_minted() {
        let more = "traceparent: nonsense\r\ntracestate: v=1\r\n";
        let (answer, sink, _) = ask(Script::default(), &request("GET /a", more)).await;
        let records = sink.records.lock().unwrap();
        let (_, traceparent, tracestate) = &records[0];
        assert!(schemas::TraceContext::parse(traceparent).is_some_and(|it| !it.sampled));
        assert!(answer.contains(traceparent.as_str()) && tracestate.is_empty());
    }

    #[tokio::test]
    async fn other_methods_are_refused_and_are_no_clicks() {
        for method in ["POST", "OPTIONS", "DELETE", "X"] {
            let head = format!("{method} /a");
            let (answer, sink, metrics) = ask(Script::default(), &request(&head, "")).await;
            assert!(answer.starts_with("HTTP/1.1 405 ") && answer.contains("allow: GET, HEAD\r\n"));
            assert!(sink.records.lock().unwrap().is_empty());
            assert_eq!(metrics.clicks_offered.get(), 0);
        }
    }

    #[tokio::test]
    async fn a_full_queue_changes_no_answer() {
        let sink = Script { full: true, ..Script::default() };
        let (answer, _, metrics) = ask(sink, &request("GET /a", "")).await;
        assert!(answer.starts_with("HTTP/1.1 302 "), "{answer}");
        assert_eq!(metrics.clicks_offered.get(), 1);
    }

    #[tokio::test]
    async fn a_head_too_long_and_bytes_that_are_no_request_are_refused() {
        let more = format!("x: {}\r\n", "y".repeat(2 * HEAD_BYTES_MAX));
        let (answer, sink, _) = ask(Script::default(), &request("GET /a", &more)).await;
        assert!(answer.starts_with("HTTP/1.1 431 "), "{answer}");
        assert!(sink.records.lock().unwrap().is_empty());
        let (answer, _, _) = ask(Script::default(), b"\x16\x03\x01\x02\r\n\r\n").await;
        assert!(answer.starts_with("HTTP/1.1 400 "), "{answer}");
    }

    #[tokio::test]
    async fn a_connection_carries_several_requests() {
        let mut bytes = b"GET /a HTTP/1.1\r\nHost: x\r\n\r\n".repeat(2);
        bytes.extend(request("GET /nope", ""));
        let (answer, sink, _) = ask(Script::default(), &bytes).await;
        assert_eq!(answer.matches("HTTP/1.1 302 ").count(), 2);
        assert_eq!(answer.matches("HTTP/1.1 404 ").count(), 1);
        assert_eq!(sink.records.lock().unwrap().len(), 3);
    }
}
