//! The admin port: `/metrics` for Prometheus, `/livez` and `/readyz` for supervisors.
//!
//! It gets a metric registry and a health probe, and depends on nothing else of the service. Do not bind
//! it to an address that visitors can reach.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::header::ALLOW;
use hyper::{Method, Request, Response, StatusCode};
use prometheus_client::encoding::text::{encode_eof, encode_registry};
use prometheus_client::registry::Registry;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use crate::host_header::AdminHosts;
use crate::http_server::{self, HttpLimits, reply};
use crate::process_metrics;

/// Scrapers and probes are few. The port always accepts one more connection: it closes the one that is
/// idle longest.
const LIMITS: HttpLimits = HttpLimits {
    connections: 32,
    head: Duration::from_secs(5),
    write: Duration::from_secs(5),
    age: Duration::from_secs(10),
    work: Duration::from_secs(5),
};
const OPEN_METRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";
const PLAIN: &str = "text/plain; charset=utf-8";

/// The result of a health probe.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Health {
    /// Ready, without a problem.
    Ready,
    /// Ready, with these problems. Answers 200 as well.
    Degraded(Vec<String>),
    /// Not ready, for this reason. Answers 503.
    NotReady(String),
}

impl Health {
    /// The same, with more problems.
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
                let causes: Vec<_> = causes.iter().map(|cause| one_problem(cause)).collect();
                (StatusCode::OK, format!("ready\ndegraded: {}\n", causes.join("; ")))
            }
            Self::NotReady(cause) => {
                (StatusCode::SERVICE_UNAVAILABLE, format!("not ready: {cause}\n"))
            }
        }
    }
}

/// The text of one problem, which a reader finds between `; ` on one line.
fn one_problem(cause: &str) -> String {
    cause.replace("; ", ", ").replace(['\n', '\r'], " ")
}

/// Serves until `shutdown`, then drops open connections: the loss of a scrape in flight does no harm.
pub async fn run<P>(
    listener: TcpListener,
    registry: Arc<Registry>,
    probe: P,
    hosts: AdminHosts,
    shutdown: CancellationToken,
) where
    P: Fn() -> Health + Send + Sync + 'static,
{
    let (probe, process) = (Arc::new(probe), Arc::new(process_metrics::registry()));
    let answer = move |request: Request<Incoming>| {
        let admitted = hosts.admit(request.headers());
        let registries = [&*registry, &*process];
        let answer = if admitted { answer(&request, registries, &*probe) } else { misdirected() };
        std::future::ready(answer)
    };
    http_server::run(listener, "admin", LIMITS, shutdown, answer).await;
}

fn misdirected() -> Response<Full<Bytes>> {
    let cause = "name this host by its address, or list its name in CLICKTRAIL_ADMIN_HOSTS\n";
    reply(StatusCode::MISDIRECTED_REQUEST, PLAIN, cause.to_owned())
}

fn answer(
    request: &Request<Incoming>,
    registries: [&Registry; 2],
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
        "/metrics" => match metrics_page(registries) {
            Ok(page) => reply(StatusCode::OK, OPEN_METRICS, page),
            Err(error) => reply(StatusCode::INTERNAL_SERVER_ERROR, PLAIN, format!("{error}\n")),
        },
        _ => reply(StatusCode::NOT_FOUND, PLAIN, "/metrics /livez /readyz\n".to_owned()),
    }
}

/// All metrics as one page of OpenMetrics.
fn metrics_page(registries: [&Registry; 2]) -> Result<String, std::fmt::Error> {
    let mut page = String::new();
    for registry in registries {
        encode_registry(&mut page, registry)?;
    }
    encode_eof(&mut page)?;
    Ok(page)
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    use tokio::task::JoinSet;

    async fn request(health: Health, head: &str) -> String {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let mut registry = Registry::default();
        let counter = prometheus_client::metrics::counter::Counter::<u64>::default();
        registry.register("seen", "Seen", counter.clone());
        counter.inc();
        let shutdown = CancellationToken::new();
        let probe = move || health.clone();
        let mut server = JoinSet::new();
        let hosts = AdminHosts::default();
        server.spawn(run(listener, Arc::new(registry), probe, hosts, shutdown.clone()));
        let mut stream = tokio::net::TcpStream::connect(address).await.unwrap();
        let (head, host) = head.split_once(" from ").unwrap_or((head, "x"));
        let text = format!("{head} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n");
        stream.write_all(text.as_bytes()).await.unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.unwrap();
        shutdown.cancel();
        server.join_next().await.unwrap().unwrap();
        answer
    }

    #[tokio::test]
    async fn a_degraded_service_is_ready_and_reports_its_problems() {
        let degraded = Health::Degraded(vec!["no broker".to_owned()]);
        let answer = request(degraded, "GET /readyz").await;
        assert!(answer.starts_with("HTTP/1.1 200 OK"), "{answer}");
        assert!(answer.ends_with("ready\ndegraded: no broker\n"), "{answer}");
        let problems = ["rules_refused: line 3\nis bad; the old rules stay", "no broker"];
        let degraded = Health::Degraded(problems.map(str::to_owned).into());
        let answer = request(degraded, "GET /readyz").await;
        let expected = "degraded: rules_refused: line 3 is bad, the old rules stay; no broker\n";
        assert!(answer.ends_with(expected), "{answer}");
        let answer = request(Health::NotReady("no links".to_owned()), "GET /readyz").await;
        assert!(answer.starts_with("HTTP/1.1 503"), "{answer}");
    }

    #[tokio::test]
    async fn metrics_are_open_metrics_text() {
        let answer = request(Health::Ready, "GET /metrics").await;
        assert!(answer.contains("seen_total 1"), "{answer}");
        assert!(answer.contains(OPEN_METRICS), "{answer}");
        assert!(answer.ends_with("# EOF\n"), "{answer}");
        assert_eq!(answer.matches("# EOF").count(), 1, "{answer}");
        let started =
            answer.lines().find_map(|line| line.strip_prefix("process_start_time_seconds "));
        let started: f64 = started.unwrap().parse().unwrap();
        // Later than 2024, and not in milliseconds.
        assert!((1.7e9..1e11).contains(&started), "{started}");
    }

    #[tokio::test]
    async fn other_methods_and_paths_are_refused() {
        assert!(request(Health::Ready, "POST /livez").await.starts_with("HTTP/1.1 405"));
        assert!(request(Health::Ready, "GET /x").await.starts_with("HTTP/1.1 404"));
        assert!(request(Health::Ready, "HEAD /livez").await.starts_with("HTTP/1.1 200"));
    }

    #[tokio::test]
    async fn l11_a_name_of_the_web_gets_no_answer_of_any_path() {
        for path in ["/metrics", "/readyz", "/livez", "/x"] {
            for host in ["evil.example", "evil.example:9180", "127.0.0.1.evil.example"] {
                let answer = request(Health::Ready, &format!("GET {path} from {host}")).await;
                assert!(answer.starts_with("HTTP/1.1 421"), "{answer}");
                assert!(!answer.contains("seen_total"), "{answer}");
            }
        }
        for host in ["127.0.0.1:9180", "producer:9180", "localhost", "10.1.2.3:9180"] {
            let answer = request(Health::Ready, &format!("GET /readyz from {host}")).await;
            assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
        }
    }
}
