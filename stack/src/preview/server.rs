//! Serves the page and its API on loopback.

use std::convert::Infallible;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::{Component, Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use dashboards::Dashboard;
use http_body_util::{BodyExt as _, Full, Limited};
use hyper::body::Incoming;
use hyper::header::{CACHE_CONTROL, CONTENT_TYPE, HOST};
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use serde_json::{Value, json};
use tokio::sync::oneshot;
use tokio::task::JoinSet;

use super::check::{NO_PROMETHEUS, PreviewCheck, check};
use super::http_client::HttpClient;
use super::page;
use super::queries::{PreviewServers, Queries, QueryError};
use super::question::Question;
use crate::clickhouse::DATABASE;
use crate::error::{IoContext as _, StackError};
use crate::interrupt::Interrupt;
use crate::part::Part;
use crate::stack::Stack;

/// The port that the preview has if it is free: one above Grafana's.
const PORT: u16 = 3001;
const JSON: &str = "application/json";
/// The longest question, and the longest wait for its head.
const QUESTION_BYTES_MAX: usize = 1 << 20;
const HEAD_WAIT: Duration = Duration::from_secs(10);
/// How often a preview looks for an interrupt.
const POLL: Duration = Duration::from_millis(100);

/// A running preview; it ends when this is dropped.
#[derive(Debug)]
pub struct Preview {
    /// Where it listens.
    pub address: SocketAddr,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<std::thread::JoinHandle<()>>,
}

/// An answer, or a status and an error.
type Routed = Result<Response<Full<Bytes>>, (StatusCode, String)>;

/// What all connections share.
#[derive(Debug)]
struct Served {
    queries: Queries,
    /// Each dashboard: its `uid`, and the text of its file.
    files: Vec<(String, &'static str)>,
    page: PathBuf,
}

impl Stack {
    /// Builds the page of the preview if it is not in the cache, and returns its folder.
    ///
    /// # Errors
    /// npm is missing, or it fails; another file is in the cache than was built.
    pub fn build_preview(&self) -> Result<PathBuf, StackError> {
        page::ensure(self.cache(), self.reporter(), &self.interrupt())
    }

    /// Whether the page of the preview is built.
    pub fn has_preview(&self) -> bool {
        page::is_built(self.cache())
    }

    /// Serves the dashboards of this stack without Grafana, on port 3001 or, if that is taken, on a free one.
    ///
    /// # Errors
    /// As [`Stack::build_preview`] and [`Stack::ports`].
    pub fn preview(&self, port: Option<u16>) -> Result<Preview, StackError> {
        let ports = self.ports()?;
        let servers = PreviewServers {
            clickhouse: ports.address(Part::ClickHouse),
            database: DATABASE.to_owned(),
            prometheus: ports.has(Part::Prometheus).then(|| ports.address(Part::Prometheus)),
        };
        self.preview_of(servers, port)
    }

    /// As [`Stack::preview`], with other servers than this stack's.
    ///
    /// # Errors
    /// As [`Stack::build_preview`].
    pub fn preview_of(
        &self,
        servers: PreviewServers,
        port: Option<u16>,
    ) -> Result<Preview, StackError> {
        let page = self.build_preview()?;
        let what = || "reading the dashboards".to_owned();
        let read = |(_, text)| {
            let dashboard =
                Dashboard::parse(text).map_err(std::io::Error::other).io_context(what)?;
            Ok((dashboard, text))
        };
        let dashboards = dashboards::files().into_iter().map(read);
        let dashboards = dashboards.collect::<Result<Vec<_>, StackError>>()?;
        let files = dashboards.iter().map(|(it, text)| (it.uid.clone(), *text)).collect();
        let queries = Queries {
            dashboards: dashboards.into_iter().map(|(dashboard, _)| dashboard).collect(),
            servers,
            client: HttpClient::new(),
        };
        let listen = |port: u16| TcpListener::bind((Ipv4Addr::LOCALHOST, port));
        let listener = match port {
            Some(port) => listen(port),
            None => listen(PORT).or_else(|_| listen(0)),
        };
        let listener = listener.io_context(|| "listening for the preview".to_owned())?;
        Preview::start(listener, Served { queries, files, page })
            .io_context(|| "starting the preview".to_owned())
    }
}

impl Preview {
    /// The address of a dashboard; of the first one if `uid` is empty.
    #[must_use]
    pub fn url(&self, uid: &str) -> String {
        let path = if uid.is_empty() { String::new() } else { format!("d/{uid}") };
        format!("http://{}/{path}", self.address)
    }

    /// Returns after an interrupt.
    pub fn serve_until(&self, interrupt: &Interrupt) {
        while interrupt.check().is_ok() {
            std::thread::sleep(POLL);
        }
    }

    /// Asks every query of every dashboard once for a range, in milliseconds since 1970.
    #[must_use]
    pub fn check(&self, from: i64, to: i64) -> PreviewCheck {
        check(self.address, from, to)
    }

    fn start(listener: TcpListener, served: Served) -> std::io::Result<Self> {
        listener.set_nonblocking(true)?;
        let address = listener.local_addr()?;
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let (stop, stopped) = oneshot::channel();
        let thread = std::thread::spawn(move || {
            // An error ends the preview only; the next request to it shows that.
            runtime.block_on(serve(listener, Arc::new(served), stopped)).ok();
        });
        Ok(Self { address, stop: Some(stop), thread: Some(thread) })
    }
}

impl Drop for Preview {
    fn drop(&mut self) {
        drop(self.stop.take());
        self.thread.take().map(std::thread::JoinHandle::join).map(Result::ok);
    }
}

async fn serve(
    listener: TcpListener,
    served: Arc<Served>,
    mut stopped: oneshot::Receiver<()>,
) -> std::io::Result<()> {
    let listener = tokio::net::TcpListener::from_std(listener)?;
    let mut connections = JoinSet::new();
    loop {
        let stream = tokio::select! {
            accepted = listener.accept() => accepted?.0,
            _ = &mut stopped => return Ok(()),
        };
        while connections.try_join_next().is_some() {}
        let served = Arc::clone(&served);
        let service = service_fn(move |request| {
            let served = Arc::clone(&served);
            async move { Ok::<_, Infallible>(served.respond(request).await) }
        });
        let mut http = hyper::server::conn::http1::Builder::new();
        http.timer(TokioTimer::new()).header_read_timeout(HEAD_WAIT);
        // A browser that disconnects is no error.
        let connection = http.serve_connection(TokioIo::new(stream), service);
        connections.spawn(async move { connection.await.ok() });
    }
}

impl Served {
    async fn respond(&self, request: Request<Incoming>) -> Response<Full<Bytes>> {
        let refused = |(status, text)| json_reply(status, &json!({"error": text}));
        self.route(request).await.unwrap_or_else(refused)
    }

    async fn route(&self, request: Request<Incoming>) -> Routed {
        let refused = |status, text: &str| Err((status, text.to_owned()));
        // A page of another host must not reach this server through a name of its own.
        let host = request.headers().get(HOST).and_then(|host| host.to_str().ok());
        if !host.is_some_and(is_loopback) {
            return refused(
                StatusCode::MISDIRECTED_REQUEST,
                "the preview answers on loopback only",
            );
        }
        let path = request.uri().path().to_owned();
        match (request.method(), path.as_str()) {
            (&Method::POST, "/api/query") => {
                let kind = request.headers().get(CONTENT_TYPE);
                if kind.is_none_or(|kind| kind != JSON) {
                    // A form of another page cannot have this type.
                    return refused(StatusCode::UNSUPPORTED_MEDIA_TYPE, "a question is JSON");
                }
                let body = Limited::new(request.into_body(), QUESTION_BYTES_MAX).collect().await;
                let bad = |error: String| (StatusCode::BAD_REQUEST, error);
                let body = body.map_err(|error| bad(error.to_string()))?.to_bytes();
                let question: Question =
                    serde_json::from_slice(&body).map_err(|error| bad(error.to_string()))?;
                // A query that fails is the answer of a server, and not a fault of the preview.
                match self.queries.answer(&question).await {
                    Ok(answer) => Ok(json_reply(StatusCode::OK, &json!(answer))),
                    Err(error @ QueryError::Invalid(_)) => Err(bad(error.to_string())),
                    Err(error) => {
                        let code = match error {
                            QueryError::NoPrometheus => NO_PROMETHEUS,
                            QueryError::Invalid(_) | QueryError::Failed(_) => "query_failed",
                        };
                        let body = json!({"error": error.to_string(), "code": code});
                        Ok(json_reply(StatusCode::OK, &body))
                    }
                }
            }
            (&Method::GET, "/api/dashboards") => Ok(json_reply(StatusCode::OK, &self.list())),
            (&Method::GET, path) => match path.strip_prefix("/api/dashboards/") {
                Some(uid) => match self.files.iter().find(|(own, _)| own == uid) {
                    Some((_, text)) => Ok(reply(StatusCode::OK, JSON, (*text).into())),
                    None => refused(StatusCode::NOT_FOUND, "no dashboard has this uid"),
                },
                None if path == "/" || path.starts_with("/d/") => self.file("index.html"),
                None => self.file(path.trim_start_matches('/')),
            },
            _ => refused(StatusCode::METHOD_NOT_ALLOWED, "the preview reads only"),
        }
    }

    fn list(&self) -> Value {
        let item = |(uid, text): &(String, &str)| {
            let file: Value = serde_json::from_str(text).unwrap_or_default();
            let tags = if file["tags"].is_array() { file["tags"].clone() } else { json!([]) };
            json!({"uid": uid, "title": file["title"], "tags": tags})
        };
        self.files.iter().map(item).collect()
    }

    /// A file of the page.
    fn file(&self, name: &str) -> Routed {
        let missing = || (StatusCode::NOT_FOUND, "the preview has no such page".to_owned());
        let is_plain = |part| matches!(part, Component::Normal(_));
        if !Path::new(name).components().all(is_plain) {
            return Err(missing());
        }
        let kind = match Path::new(name).extension().and_then(|kind| kind.to_str()) {
            Some("html") => "text/html; charset=utf-8",
            Some("js") => "text/javascript; charset=utf-8",
            Some("css") => "text/css; charset=utf-8",
            Some("svg") => "image/svg+xml",
            _ => return Err(missing()),
        };
        let bytes = std::fs::read(self.page.join(name)).map_err(|_| missing())?;
        Ok(reply(StatusCode::OK, kind, bytes.into()))
    }
}

fn is_loopback(host: &str) -> bool {
    let name = host.rsplit_once(':').filter(|(_, port)| port.parse::<u16>().is_ok());
    ["127.0.0.1", "localhost"].contains(&name.map_or(host, |(name, _)| name))
}

fn json_reply(status: StatusCode, body: &Value) -> Response<Full<Bytes>> {
    reply(status, JSON, body.to_string().into())
}

fn reply(status: StatusCode, kind: &'static str, body: Bytes) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(body));
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, hyper::header::HeaderValue::from_static(kind));
    headers.insert(CACHE_CONTROL, hyper::header::HeaderValue::from_static("no-cache"));
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_names_of_loopback_are_answered() {
        for host in ["127.0.0.1:3001", "localhost:3001", "localhost"] {
            assert!(is_loopback(host), "{host}");
        }
        for host in ["example.com", "127.0.0.1.example.com:3001", "localhost:x", "", ":3001"] {
            assert!(!is_loopback(host), "{host}");
        }
    }

    #[test]
    fn a_path_leaves_no_folder_of_the_page() {
        let page = std::env::temp_dir().join(format!("clicktrail-page-{}", std::process::id()));
        std::fs::create_dir_all(&page).unwrap();
        std::fs::write(page.join("page.js"), "x").unwrap();
        let client = HttpClient::new();
        let clickhouse = SocketAddr::from((Ipv4Addr::LOCALHOST, 1));
        let database = DATABASE.to_owned();
        let servers = PreviewServers { clickhouse, database, prometheus: None };
        let queries = Queries { dashboards: Vec::new(), servers, client };
        let served = Served { queries, files: Vec::new(), page: page.clone() };
        assert_eq!(served.file("page.js").unwrap().status(), StatusCode::OK);
        for name in ["../page.js", "/etc/hosts.js", "x/../page.js", "", "page.sha256", "none.js"] {
            assert_eq!(served.file(name).unwrap_err().0, StatusCode::NOT_FOUND, "{name}");
        }
        std::fs::remove_dir_all(page).unwrap();
    }
}
