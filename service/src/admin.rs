//! The admin port: `/metrics` for Prometheus, `/livez` and `/readyz` for whoever supervises.
//!
//! Generic over what is served: it gets a metric registry and a probe, and knows
//! nothing else of the service. Never bind it where visitors can reach it.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::header::{ALLOW, CONTENT_TYPE};
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use prometheus_client::registry::Registry;
use tokio::net::TcpListener;
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

/// Scrapers and probes are few; more connections than this wait.
const CONNECTIONS_MAX: usize = 32;
const HEAD_READ_TIMEOUT: Duration = Duration::from_secs(10);
/// After an accept error (out of descriptors), so that the loop does not spin.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);
const OPEN_METRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";
const PLAIN: &str = "text/plain; charset=utf-8";

/// What a probe found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Health {
    /// Takes work, all well.
    Ready,
    /// Takes work; what is named does not work as it should. Still answers 200.
    Degraded(Vec<String>),
    /// Does not take work, for this reason. Answers 503.
    NotReady(String),
}

impl Health {
    /// The same, with more that does not work as it should.
    #[must_use]
    pub fn with(self, mut more: Vec<String>) -> Self {
        match self {
            Self::Ready if more.is_empty() => Self::Ready,
            Self::Ready => Self::Degraded(more),
            Self::Degraded(mut causes) => {
                causes.append(&mut more);
                Self::Degraded(causes)
            }
            Self::NotReady(cause) => Self::NotReady(cause),
        }
    }

    fn answer(&self) -> (StatusCode, String) {
        match self {
            Self::Ready => (StatusCode::OK, "ready\n".to_owned()),
            Self::Degraded(causes) => {
                (StatusCode::OK, format!("ready\ndegraded: {}\n", causes.join("; ")))
            }
            Self::NotReady(cause) => {
                (StatusCode::SERVICE_UNAVAILABLE, format!("not ready: {cause}\n"))
            }
        }
    }
}

/// Serves until `shutdown`, then drops what is open (a scrape in flight is no loss).
pub async fn run<P>(
    listener: TcpListener,
    registry: Arc<Registry>,
    probe: P,
    shutdown: CancellationToken,
) where
    P: Fn() -> Health + Send + Sync + 'static,
{
    let probe = Arc::new(probe);
    let slots = Arc::new(Semaphore::new(CONNECTIONS_MAX));
    let mut connections = JoinSet::new();
    loop {
        let accepted = tokio::select! {
            () = shutdown.cancelled() => break,
            Some(_) = connections.join_next() => continue,
            accepted = accept(&listener, &slots) => accepted,
        };
        let (stream, slot) = match accepted {
            Ok(accepted) => accepted,
            Err(error) => {
                tracing::warn!(%error, "admin port cannot accept");
                tokio::time::sleep(ACCEPT_PAUSE).await;
                continue;
            }
        };
        let (registry, probe) = (Arc::clone(&registry), Arc::clone(&probe));
        let service = service_fn(move |request| {
            let response = answer(&request, &registry, &*probe);
            std::future::ready(Ok::<_, Infallible>(response))
        });
        connections.spawn(async move {
            let served = hyper::server::conn::http1::Builder::new()
                .timer(TokioTimer::new())
                .header_read_timeout(HEAD_READ_TIMEOUT)
                .serve_connection(TokioIo::new(stream), service)
                .await;
            if let Err(error) = served {
                tracing::debug!(%error, "admin connection ended");
            }
            drop(slot);
        });
    }
}

async fn accept(
    listener: &TcpListener,
    slots: &Arc<Semaphore>,
) -> std::io::Result<(tokio::net::TcpStream, tokio::sync::OwnedSemaphorePermit)> {
    let slot = Arc::clone(slots).acquire_owned().await.map_err(std::io::Error::other)?;
    let (stream, _) = listener.accept().await?;
    Ok((stream, slot))
}

fn answer(
    request: &Request<Incoming>,
    registry: &Registry,
    probe: &dyn Fn() -> Health,
) -> Response<Full<Bytes>> {
    if !matches!(*request.method(), Method::GET | Method::HEAD) {
        let mut refused = reply(StatusCode::METHOD_NOT_ALLOWED, PLAIN, "GET or HEAD\n".to_owned());
        refused.headers_mut().insert(ALLOW, hyper::header::HeaderValue::from_static("GET, HEAD"));
        return refused;
    }
    match request.uri().path() {
        "/livez" => reply(StatusCode::OK, PLAIN, "alive\n".to_owned()),
        "/readyz" => {
            let (status, body) = probe().answer();
            reply(status, PLAIN, body)
        }
        "/metrics" => {
            let mut body = String::new();
            match prometheus_client::encoding::text::encode(&mut body, registry) {
                Ok(()) => reply(StatusCode::OK, OPEN_METRICS, body),
                Err(error) => reply(StatusCode::INTERNAL_SERVER_ERROR, PLAIN, format!("{error}\n")),
            }
        }
        _ => reply(StatusCode::NOT_FOUND, PLAIN, "/metrics /livez /readyz\n".to_owned()),
    }
}

fn reply(status: StatusCode, content_type: &'static str, body: String) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(Bytes::from(body)));
    *response.status_mut() = status;
    let content_type = hyper::header::HeaderValue::from_static(content_type);
    response.headers_mut().insert(CONTENT_TYPE, content_type);
    response
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

    async fn ask(health: Health, head: &str) -> String {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let mut registry = Registry::default();
        let counter = prometheus_client::metrics::counter::Counter::<u64>::default();
        registry.register("seen", "Seen", counter.clone());
        counter.inc();
        let shutdown = CancellationToken::new();
        let probe = move || health.clone();
        let mut server = JoinSet::new();
        server.spawn(run(listener, Arc::new(registry), probe, shutdown.clone()));
        let mut stream = tokio::net::TcpStream::connect(address).await.unwrap();
        let request = format!("{head} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.unwrap();
        shutdown.cancel();
        server.join_next().await.unwrap().unwrap();
        answer
    }

    #[tokio::test]
    async fn a_degraded_service_is_ready_and_says_what_is_wrong() {
        let degraded = Health::Degraded(vec!["no broker".to_owned()]);
        let answer = ask(degraded, "GET /readyz").await;
        assert!(answer.starts_with("HTTP/1.1 200 OK"), "{answer}");
        assert!(answer.ends_with("ready\ndegraded: no broker\n"), "{answer}");
        let answer = ask(Health::NotReady("no links".to_owned()), "GET /readyz").await;
        assert!(answer.starts_with("HTTP/1.1 503"), "{answer}");
    }

    #[tokio::test]
    async fn metrics_are_open_metrics_text() {
        let answer = ask(Health::Ready, "GET /metrics").await;
        assert!(answer.contains("seen_total 1"), "{answer}");
        assert!(answer.contains(OPEN_METRICS), "{answer}");
        assert!(answer.ends_with("# EOF\n"), "{answer}");
    }

    #[tokio::test]
    async fn other_methods_and_paths_are_refused() {
        assert!(ask(Health::Ready, "POST /livez").await.starts_with("HTTP/1.1 405"));
        assert!(ask(Health::Ready, "GET /x").await.starts_with("HTTP/1.1 404"));
        assert!(ask(Health::Ready, "HEAD /livez").await.starts_with("HTTP/1.1 200"));
    }
}
