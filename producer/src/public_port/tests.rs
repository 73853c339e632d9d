//! The public port under requests of visitors, malformed and slow ones among them.

mod answers;
mod hostile;

use std::net::SocketAddr;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};

use schemas::{Decoder, NEWEST, Outcome};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use super::*;
use crate::client::policy::ClientPolicy;
use crate::client::proxies::{Proxies, ProxyHeader};
use crate::client::rate_limiter::RateLimiter;
use crate::links::link_table::LinkTable;
use crate::metrics::labels::LimitLabel;
use crate::outbox::offer::{Loss, Offered, TraceHeaders};
use crate::request_span::Sampling;

const PARENT: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
const LINKS: &str = r#"{"slug":"a","url":"https://example.com/x?y=1","id":"l1","version":3}
{"slug":"off","url":"http://x/","disabled":true}
{"slug":"back","url":"http://go.example/admin"}
{"slug":"a~b","url":"https://example.com/"}
{"slug":"pass","url":"https://example.com/","pass_query":true}
{"slug":"loop","url":"http://go.example/loop"}
{"slug":"ring1","url":"http://go.example/ring2?a=1"}
{"slug":"port","url":"http://go.example:8080/port"}
{"slug":"ring2","url":"http://go.example/%72ing1/"}
{"slug":"inner","url":"http://go.example/a"}
{"slug":"old","url":"http://x/","expires":"2020-01-01T00:00:00Z"}"#;

/// Stores the offered clicks, or loses them as a full queue does.
#[derive(Debug, Default)]
struct Script {
    full: bool,
    records: Mutex<Vec<(Vec<u8>, String, String)>>,
    /// How many of them may not use the reserve of the outbox.
    unreserved: AtomicU64,
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

    fn offer_unreserved(&self, datum: &[u8], trace: TraceHeaders<'_>) -> Offered {
        self.unreserved.fetch_add(1, Ordering::Relaxed);
        self.offer(datum, trace)
    }
}

fn limits() -> PortLimits {
    PortLimits {
        threads: 2,
        connections: PortConnections { max: 4, per_client: 4 },
        header_bytes: 16 * 1024,
        head: Duration::from_secs(15),
        write: Duration::from_secs(15),
        age: Duration::from_secs(3_600),
        drain: Duration::from_secs(1),
    }
}

/// Runs a client against a real port; returns its result and what was recorded.
async fn with<T>(
    sink: Script,
    client_policy: ClientPolicy,
    limits: PortLimits,
    client: impl AsyncFnOnce(SocketAddr) -> T,
) -> (T, Arc<Script>, Metrics) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let (sink, metrics) = (Arc::new(sink), Metrics::default());
    let sampling = Sampling { exports: false, ratio: 1.0 };
    let node = "node".to_owned();
    let redirector = Redirector::new(Arc::clone(&sink), metrics.clone(), node, sampling);
    redirector.set_links(LinkTable::parse(LINKS.as_bytes(), "links").unwrap());
    let redirector = Arc::new(redirector.with_client_policy(client_policy));
    let services = Services { redirector, collector: None, metrics: metrics.clone() };
    let shutdown = CancellationToken::new();
    let server = run(listener, services, limits, shutdown.clone());
    let client = async {
        let result = client(address).await;
        shutdown.cancel();
        result
    };
    let (served, result) = tokio::join!(server, client);
    served.unwrap();
    assert_eq!(metrics.connections.get(), 0);
    (result, sink, metrics)
}

/// Sends raw bytes and reads until the other end closes.
async fn exchange(address: SocketAddr, bytes: &[u8]) -> String {
    let mut stream = TcpStream::connect(address).await.unwrap();
    stream.write_all(bytes).await.unwrap();
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).await.unwrap();
    String::from_utf8(answer).unwrap()
}

/// Sends raw bytes to a real port; returns the answer and the recorded clicks.
async fn send(sink: Script, bytes: &[u8]) -> (String, Arc<Script>, Metrics) {
    with(sink, ClientPolicy::default(), limits(), async |address| exchange(address, bytes).await)
        .await
}

fn limited(metrics: &Metrics, limit: &'static str) -> u64 {
    metrics.limited.get_or_create(&LimitLabel { limit }).get()
}

fn request(head: &str, more: &str) -> Vec<u8> {
    format!("{head} HTTP/1.1\r\nHost: Go.Example:80\r\nConnection: close\r\n{more}\r\n").into()
}

async fn recorded(head: &str, more: &str) -> (String, Outcome, String) {
    let (answer, sink, _) = send(Script::default(), &request(head, more)).await;
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
async fn a_known_slug_leads_to_its_target_and_no_cache_may_store_the_answer() {
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
async fn a_parents_trace_continues_in_the_answer_and_the_record() {
    let more = format!("traceparent: {PARENT}\r\ntracestate: v=1\r\n");
    for (trusted, flag) in [("127.0.0.0/8", "-01"), ("", "-00")] {
        let proxies = Proxies { trusted: trusted.parse().unwrap(), ..Proxies::default() };
        let client_policy = ClientPolicy { proxies, ..ClientPolicy::default() };
        let (answer, sink, _) = with(Script::default(), client_policy, limits(), async |address| {
            exchange(address, &request("GET /a", &more)).await
        })
        .await;
        let records = sink.records.lock().unwrap();
        let (_, traceparent, tracestate) = &records[0];
        assert!(answer.contains(&format!("traceparent: {traceparent}\r\n")), "{answer}");
        // Whether it is sampled, only a trusted proxy decides.
        assert_eq!((&traceparent[..36], &traceparent[52..]), (&PARENT[..36], flag));
        assert_ne!(traceparent, PARENT);
        assert_eq!(tracestate, "v=1");
    }
}

#[tokio::test]
async fn without_a_parent_a_trace_starts_that_its_record_does_not_name() {
    let more = "traceparent: nonsense\r\ntracestate: v=1\r\n";
    let (answer, sink, _) = send(Script::default(), &request("GET /a", more)).await;
    let records = sink.records.lock().unwrap();
    let (datum, traceparent, tracestate) = &records[0];
    let (_, answered) = answer.split_once("traceparent: ").unwrap();
    let answered = schemas::TraceContext::parse(answered.lines().next().unwrap()).unwrap();
    assert!(!answered.sampled);
    assert_eq!([traceparent.as_str(), tracestate.as_str()], ["", ""]);
    let decoder = Decoder::new(NEWEST).unwrap();
    let event_id = decoder.decode(datum).unwrap().event_id;
    assert_eq!(answered.trace_id, event_id.into_bytes());
}

#[tokio::test]
async fn other_methods_are_refused_and_are_no_clicks() {
    for method in ["POST", "OPTIONS", "DELETE", "X"] {
        let head = format!("{method} /a");
        let (answer, sink, metrics) = send(Script::default(), &request(&head, "")).await;
        assert!(answer.starts_with("HTTP/1.1 405 ") && answer.contains("allow: GET, HEAD\r\n"));
        assert!(sink.records.lock().unwrap().is_empty());
        assert_eq!(metrics.clicks_offered.get(), 0);
    }
}

#[tokio::test]
async fn a_full_queue_changes_no_answer() {
    let sink = Script { full: true, ..Script::default() };
    let (answer, _, metrics) = send(sink, &request("GET /a", "")).await;
    assert!(answer.starts_with("HTTP/1.1 302 "), "{answer}");
    assert_eq!(metrics.clicks_offered.get(), 1);
}

#[tokio::test]
async fn a_head_too_long_and_bytes_that_are_no_request_are_refused() {
    let more = format!("x: {}\r\n", "y".repeat(2 * limits().header_bytes));
    let (answer, sink, metrics) = send(Script::default(), &request("GET /a", &more)).await;
    assert!(answer.starts_with("HTTP/1.1 431 "), "{answer}");
    assert_eq!(limited(&metrics, "header_bytes"), 1);
    assert!(sink.records.lock().unwrap().is_empty());
    let (answer, _, _) = send(Script::default(), b"\x16\x03\x01\x02\r\n\r\n").await;
    assert!(answer.starts_with("HTTP/1.1 400 "), "{answer}");
}

#[tokio::test]
async fn a_connection_carries_several_requests() {
    let mut bytes = b"GET /a HTTP/1.1\r\nHost: x\r\n\r\n".repeat(2);
    bytes.extend(request("GET /nope", ""));
    let (answer, sink, _) = send(Script::default(), &bytes).await;
    assert_eq!(answer.matches("HTTP/1.1 302 ").count(), 2);
    assert_eq!(answer.matches("HTTP/1.1 404 ").count(), 1);
    assert_eq!(sink.records.lock().unwrap().len(), 3);
}

#[tokio::test]
async fn a_head_that_does_not_come_in_time_ends_its_connection_and_no_other() {
    let short = PortLimits { head: Duration::from_millis(300), ..limits() };
    let (answer, sink, metrics) =
        with(Script::default(), ClientPolicy::default(), short, async |address| {
            let mut slow = TcpStream::connect(address).await.unwrap();
            slow.write_all(b"GET /a HTTP/1.1\r\nHos").await.unwrap();
            // A later head of a connection has the same time.
            let mut later = TcpStream::connect(address).await.unwrap();
            later.write_all(b"GET /a HTTP/1.1\r\nHost: x\r\n\r\nGET /a HT").await.unwrap();
            let answer = exchange(address, &request("GET /a", "")).await;
            let mut rest = Vec::new();
            slow.read_to_end(&mut rest).await.unwrap();
            assert!(!rest.starts_with(b"HTTP/1.1 302"), "half a head is no request");
            rest.clear();
            later.read_to_end(&mut rest).await.unwrap();
            assert_eq!(String::from_utf8(rest).unwrap().matches("HTTP/1.1 302").count(), 1);
            answer
        })
        .await;
    assert!(answer.starts_with("HTTP/1.1 302 "), "{answer}");
    assert_eq!((sink.records.lock().unwrap().len(), limited(&metrics, "header_seconds")), (2, 2));
}

#[tokio::test]
async fn a_client_that_never_reads_the_answers_is_disconnected() {
    let short = PortLimits { write: Duration::from_millis(300), ..limits() };
    let (_, _, metrics) =
        with(Script::default(), ClientPolicy::default(), short, async |address| {
            let mut client = TcpStream::connect(address).await.unwrap();
            let many = b"GET /a HTTP/1.1\r\nHost: x\r\n\r\n".repeat(1_000);
            // Until the port closes the connection.
            while client.write_all(&many).await.is_ok() {}
        })
        .await;
    assert_eq!(limited(&metrics, "write_seconds"), 1);
}

#[tokio::test]
async fn too_many_unknown_slugs_are_refused_and_known_ones_are_answered() {
    let client_policy =
        ClientPolicy { unknown: Some(Arc::new(RateLimiter::new(3))), ..ClientPolicy::default() };
    let (answer, sink, metrics) =
        with(Script::default(), client_policy, limits(), async |address| {
            let mut bytes = b"GET /nope HTTP/1.1\r\nHost: x\r\n\r\n".repeat(5);
            bytes.extend(request("GET /a", ""));
            exchange(address, &bytes).await
        })
        .await;
    for (status, times) in [("404", 3), ("429", 2), ("302", 1)] {
        assert_eq!(answer.matches(&format!("HTTP/1.1 {status} ")).count(), times, "{answer}");
    }
    assert_eq!((sink.records.lock().unwrap().len(), limited(&metrics, "unknown_slugs")), (4, 2));
}

#[tokio::test]
async fn a_click_has_the_client_that_a_trusted_proxy_names() {
    for (trusted, expected) in [("", [127, 0, 0, 1]), ("127.0.0.0/8", [203, 0, 113, 9])] {
        let header = ProxyHeader::XForwardedFor;
        let proxies = Proxies { trusted: trusted.parse().unwrap(), header };
        let client_policy = ClientPolicy { proxies, ..ClientPolicy::default() };
        let more = "X-Forwarded-For: 6.6.6.6\r\nX-Forwarded-For: 203.0.113.9:99\r\n";
        let (_, sink, _) = with(Script::default(), client_policy, limits(), async |address| {
            exchange(address, &request("GET /a", more)).await
        })
        .await;
        let records = sink.records.lock().unwrap();
        let decoder = Decoder::new(NEWEST).unwrap();
        assert_eq!(decoder.decode(&records[0].0).unwrap().client_ip, Some(&expected[..]));
    }
}

#[tokio::test]
async fn without_a_collector_its_path_is_closed() {
    let (answer, sink, _) = send(Script::default(), &request("POST /v1/clicks", "")).await;
    assert!(answer.starts_with("HTTP/1.1 404 ") && answer.contains("collector_off"), "{answer}");
    assert!(sink.records.lock().unwrap().is_empty());
}
