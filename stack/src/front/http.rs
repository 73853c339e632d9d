//! The server: connections, paths, sign-in, and the hand-over of each query to a
//! thread that may block. It ends when told to, after the queries that are running.
#![expect(
    clippy::disallowed_methods,
    reason = "a query's random name needs no seed of the caller's"
)]

use std::hash::{BuildHasher as _, RandomState};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{Either, Full};
use hyper::body::Incoming;
use hyper::header::{CONTENT_ENCODING, CONTENT_TYPE, HeaderValue};
use hyper::service::service_fn;
use hyper::{Method, Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::graceful::GracefulShutdown;
use tokio::net::TcpListener;
use tokio::runtime::Handle;
use tokio::sync::{Semaphore, oneshot};
use tokio::task::JoinSet;

use super::answer::{Answer, AnswerBody, Manner, Packing, refusal};
use super::auth::{User, authenticate};
use super::body::{Fault, Upload};
use super::engine::{Engine, EngineError};
use super::errors::Exception;
use super::query::{Query, Text};
use super::request::{Request, boundary, form};
use super::spool::Spool;

/// Queries that run at once; more wait.
const QUERIES_MAX: usize = 64;
/// How long running queries may take to end after the front was told to.
const DRAIN: Duration = Duration::from_secs(8);
/// Largest form; query parameters travel in forms.
const FORM_BYTES_MAX: usize = 16 << 20;

/// Where the front listens and what it serves.
#[derive(Debug, Clone)]
pub struct Settings {
    /// Address to listen on.
    pub listen: SocketAddr,
    /// The engine's data folder.
    pub data: PathBuf,
    /// Folder for results on their way.
    pub spill: PathBuf,
    /// The engine's library.
    pub library: PathBuf,
    /// Who may sign in.
    pub users: Vec<User>,
}

/// Why the front does not run.
#[derive(Debug, thiserror::Error)]
pub enum FrontError {
    /// The engine does not start.
    #[error(transparent)]
    Engine(#[from] EngineError),
    /// The first query failed.
    #[error("the engine does not answer: {0}")]
    Silent(String),
    /// The address is taken or may not be used.
    #[error("cannot listen on {listen}")]
    Listen {
        /// The address.
        listen: SocketAddr,
        /// Why.
        source: std::io::Error,
    },
    /// A folder cannot be made.
    #[error("cannot make the folder {path}")]
    Folder {
        /// The folder.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
}

#[derive(Debug)]
struct Front {
    engine: Engine,
    users: Vec<User>,
    spill: PathBuf,
    version: String,
    queries: Arc<Semaphore>,
}

/// Serves until `shutdown` resolves, then lets running queries end and closes the engine.
///
/// # Errors
/// See [`FrontError`]; all of them before the first request is taken.
pub async fn run(settings: Settings, shutdown: impl Future<Output = ()>) -> Result<(), FrontError> {
    for path in [&settings.data, &settings.spill] {
        let made = std::fs::create_dir_all(path);
        made.map_err(|source| FrontError::Folder { path: path.clone(), source })?;
    }
    let listen = settings.listen;
    let listener = TcpListener::bind(listen).await;
    let listener = listener.map_err(|source| FrontError::Listen { listen, source })?;
    let engine = Engine::open(&settings.library, &settings.data)?;
    let version = engine_version(&engine)?;
    tracing::info!(%listen, version, "the engine is open");
    let (users, spill) = (settings.users, settings.spill);
    let queries = Arc::new(Semaphore::new(QUERIES_MAX));
    let front = Arc::new(Front { engine, users, spill, version, queries });
    accept(listener, &front, shutdown).await;
    if let Ok(front) = Arc::try_unwrap(front) {
        front.engine.close();
        tracing::info!("the engine is closed");
    }
    Ok(())
}

fn engine_version(engine: &Engine) -> Result<String, FrontError> {
    let mut connection = engine.connect()?;
    let output = connection.execute(b"SELECT version()", "TabSeparated", &[]);
    let output = output.map_err(|error| FrontError::Silent(error.text))?;
    Ok(String::from_utf8_lossy(output.bytes()).trim().to_owned())
}

async fn accept(listener: TcpListener, front: &Arc<Front>, shutdown: impl Future<Output = ()>) {
    let graceful = GracefulShutdown::new();
    let mut connections = JoinSet::new();
    let mut shutdown = std::pin::pin!(shutdown);
    loop {
        let accepted = tokio::select! {
            () = &mut shutdown => break,
            Some(_) = connections.join_next() => continue,
            accepted = listener.accept() => accepted,
        };
        let stream = match accepted {
            Ok((stream, _)) => stream,
            Err(error) => {
                // Out of file descriptors, most likely: others must end first.
                tracing::warn!(%error, "cannot accept a connection");
                tokio::time::sleep(Duration::from_millis(50)).await;
                continue;
            }
        };
        stream.set_nodelay(true).ok();
        let front = Arc::clone(front);
        let service = service_fn(move |request| serve(Arc::clone(&front), request));
        let connection = hyper::server::conn::http1::Builder::new()
            .timer(TokioTimer::new())
            .serve_connection(TokioIo::new(stream), service);
        let connection = graceful.watch(connection);
        connections.spawn(async move {
            if let Err(error) = connection.await {
                tracing::debug!(%error, "a connection broke");
            }
        });
    }
    drop(listener);
    if tokio::time::timeout(DRAIN, graceful.shutdown()).await.is_err() {
        tracing::warn!("queries still run after {DRAIN:?}; they are cut");
    }
    connections.shutdown().await;
}

async fn serve(
    front: Arc<Front>,
    request: hyper::Request<Incoming>,
) -> Result<Response<AnswerBody>, std::convert::Infallible> {
    let (parts, body) = request.into_parts();
    let mut asked = Request::from_url_query(parts.uri.query().unwrap_or(""));
    for (name, value) in &parts.headers {
        asked.header(name.as_str(), &String::from_utf8_lossy(value.as_bytes()));
    }
    asked.read_only = !matches!(parts.method, Method::POST | Method::PUT);
    let reading = matches!(parts.method, Method::GET | Method::HEAD);
    let answer = match parts.uri.path() {
        "/ping" | "/replicas_status" if reading => fine(),
        "/" if reading && parts.uri.query().is_none() => fine(),
        "/" if reading || !asked.read_only => {
            let header =
                |name| parts.headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or("");
            let (content_type, encoding) =
                (header(CONTENT_TYPE).to_owned(), header(CONTENT_ENCODING));
            match refuse_encoding(encoding) {
                Some(exception) => front.refuse(&exception, ""),
                None => front.query(asked, content_type, body).await,
            }
        }
        other => nowhere(other),
    };
    Ok(answer)
}

fn refuse_encoding(encoding: &str) -> Option<Exception> {
    let text = format!("Content-Encoding {encoding} is not supported by the stack's front");
    (!encoding.is_empty() && encoding != "identity")
        .then(|| Exception::new(48, &text, "NOT_IMPLEMENTED"))
}

fn fine() -> Response<AnswerBody> {
    let mut response = Response::new(Either::Left(Full::new(Bytes::from_static(b"Ok.\n"))));
    let kind = HeaderValue::from_static("text/html; charset=UTF-8");
    response.headers_mut().insert(CONTENT_TYPE, kind);
    response
}

fn nowhere(path: &str) -> Response<AnswerBody> {
    let text = format!(
        "There is no handle {path}\n\nUse / or /ping for health checks.\nSend queries from your program with POST method or GET /?query=...\n"
    );
    let mut response = Response::new(Either::Left(Full::new(Bytes::from(text))));
    *response.status_mut() = StatusCode::NOT_FOUND;
    response
}

impl Front {
    fn refuse(&self, exception: &Exception, query_id: &str) -> Response<AnswerBody> {
        refusal(exception, query_id, Bytes::from(exception.body(&self.version)))
    }

    async fn query(
        self: Arc<Self>,
        asked: Request,
        content_type: String,
        body: Incoming,
    ) -> Response<AnswerBody> {
        let query_id = asked.query_id.clone().unwrap_or_else(random_id);
        let user = match authenticate(&self.users, &asked.credentials) {
            Ok(user) => user.clone(),
            Err(exception) => return self.refuse(&exception, &query_id),
        };
        let Ok(turn) = Arc::clone(&self.queries).acquire_owned().await else {
            let exception =
                Exception::new(202, "The front is closing", "TOO_MANY_SIMULTANEOUS_QUERIES");
            return self.refuse(&exception, &query_id);
        };
        let (head, answered) = oneshot::channel();
        let upload = Upload::new(body, Handle::current());
        let front = Arc::clone(&self);
        let id = query_id.clone();
        tokio::task::spawn_blocking(move || {
            front.work(asked, &content_type, upload, (&user, &id, head));
            drop(turn);
        });
        answered.await.unwrap_or_else(|_| {
            // The client broke off, or the thread panicked; only the latter has a listener.
            let exception = Exception::new(
                1001,
                "The front failed on this query; see its log",
                "STD_EXCEPTION",
            );
            self.refuse(&exception, &query_id)
        })
    }

    fn work(
        &self,
        mut asked: Request,
        content_type: &str,
        mut upload: Upload,
        (user, query_id, head): (&User, &str, oneshot::Sender<Response<AnswerBody>>),
    ) {
        let gathered = gather(&mut asked, content_type, &mut upload);
        let packing = match (asked.compress, asked.lz4_frames) {
            (true, _) => Packing::Blocks,
            (false, true) => Packing::Frames,
            (false, false) => Packing::Plain,
        };
        let format = gathered.as_ref().map(|text| text.format(&asked)).unwrap_or_default();
        let (query_id, version) = (query_id.to_owned(), self.version.clone());
        let spill = self.spill.join(random_id());
        let held = asked.wait_end.then(|| Spool::new(spill.clone()));
        let answer = Answer::new(
            Manner { query_id, format, packing, tag: random_tag(), version },
            head,
            held,
        );
        match gathered {
            Ok(text) => Query { engine: &self.engine, request: &asked, user, spill }.run(
                &text,
                &mut upload,
                answer,
            ),
            Err(Fault::Gone) => {}
            Err(Fault::Bad(exception)) => {
                upload.drain();
                answer.fail(&exception);
            }
        }
    }
}

fn gather(asked: &mut Request, content_type: &str, upload: &mut Upload) -> Result<Text, Fault> {
    if let Some(boundary) = boundary(content_type) {
        let mut body = Vec::new();
        while let Some(piece) = upload.next_piece()? {
            body.extend_from_slice(&piece);
            if body.len() > FORM_BYTES_MAX {
                let text = "The form is larger than 16 MiB";
                return Err(Exception::new(408, text, "BAD_REQUEST_PARAMETER").into());
            }
        }
        for (name, value) in form(&body, &boundary)? {
            asked.parameter(name, value);
        }
    } else if asked.decompress {
        upload.unpack();
    }
    Text::gather(&asked.query, upload)
}

/// Sixteen random letters, ClickHouse's length for the mark of an exception.
fn random_tag() -> String {
    let digits = random_id().into_bytes().into_iter().filter(u8::is_ascii_hexdigit).rev().take(16);
    digits.map(|digit| char::from(b'a' + digit % 26)).collect()
}

/// A random name in the shape of a UUID; the standard library's hash seeds are random enough.
fn random_id() -> String {
    let half = || RandomState::new().hash_one(std::time::Instant::now());
    let id = (u128::from(half()) << 64 | u128::from(half())) & !(0xf << 76) & !(0b11 << 62)
        | 4 << 76
        | 0b10 << 62;
    let hex = format!("{id:032x}");
    [&hex[..8], &hex[8..12], &hex[12..16], &hex[16..20], &hex[20..]].join("-")
}
