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
use hyper::header::{CONTENT_ENCODING, CONTENT_TYPE, EXPECT, HeaderValue};
use hyper::service::service_fn;
use hyper::{Method, Response, StatusCode, Version};
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::graceful::GracefulShutdown;
use tokio::net::TcpListener;
use tokio::runtime::Handle;
use tokio::sync::{Semaphore, oneshot};
use tokio::task::JoinSet;

use crate::answer::{Answer, AnswerBody, Manner, Own, Packing, refusal};
use crate::auth::{User, authenticate};
use crate::body::{Fault, Upload};
use crate::cancel_on_disconnect::Leash;
use crate::content_coding::Coding;
use crate::early_headers::{Early, Socket};
use crate::engine::{Engine, EngineError};
use crate::exception::Exception;
use crate::faults::{self, Applied, Cut, Faults};
use crate::multipart_form::{self, boundary};
use crate::progress;
use crate::query::{Query, Text};
use crate::request::Request;
use crate::result_spool::Spool;
use crate::running_queries::{Run, Running};
use crate::session::Sessions;

/// Queries that run at once; more wait.
const QUERIES_MAX: usize = 64;
/// How long running queries may take to end after the front was told to.
const DRAIN: Duration = Duration::from_secs(8);
/// Largest form; query parameters travel in forms.
const FORM_BYTES_MAX: usize = 16 << 20;

/// Where the front listens and what it serves.
#[derive(Debug)]
pub struct Settings {
    /// Listens already.
    pub listener: std::net::TcpListener,
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
    #[error("cannot listen{}", .listen.map(|listen| format!(" on {listen}")).unwrap_or_default())]
    Listen {
        /// The address, where it is known.
        listen: Option<SocketAddr>,
        /// Why.
        source: std::io::Error,
    },
    /// The engine's process cannot be started, or ended before it was open.
    #[error("the engine does not start ({0})")]
    Ended(String),
    /// A folder cannot be made.
    #[error("cannot make the folder {path}")]
    Folder {
        /// The folder.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
}

/// Everything that a query needs besides its request.
#[derive(Debug)]
pub(crate) struct Front {
    pub(crate) engine: Engine,
    pub(crate) running: Running,
    sessions: Sessions,
    faults: Faults,
    users: Vec<User>,
    spill: PathBuf,
    own: Own,
    queries: Arc<Semaphore>,
}

/// Opens the engine, calls `ready`, and serves until `shutdown` resolves; then lets running
/// queries end and closes the engine.
///
/// # Errors
/// See [`FrontError`]; all of them before the first request is taken.
pub async fn run(
    settings: Settings,
    ready: impl FnOnce(),
    shutdown: impl Future<Output = ()>,
) -> Result<(), FrontError> {
    for path in [&settings.data, &settings.spill] {
        let made = std::fs::create_dir_all(path);
        made.map_err(|source| FrontError::Folder { path: path.clone(), source })?;
    }
    let listener = settings.listener;
    let listener = listener.set_nonblocking(true).and_then(|()| TcpListener::from_std(listener));
    let listener = listener.map_err(|source| FrontError::Listen { listen: None, source })?;
    let engine = Engine::open(&settings.library, &settings.data)?;
    let own = introduce(&engine)?;
    tracing::info!(version = own.version, "the engine is open");
    ready();
    let (users, spill) = (settings.users, settings.spill);
    let queries = Arc::new(Semaphore::new(QUERIES_MAX));
    let sessions = Sessions::new(std::time::Instant::now);
    let running = Running::default();
    let faults = Faults::default();
    let front = Arc::new(Front { engine, running, sessions, faults, users, spill, own, queries });
    accept(listener, &front, shutdown).await;
    if let Ok(Front { engine, sessions, .. }) = Arc::try_unwrap(front) {
        drop(sessions);
        engine.close();
        tracing::info!("the engine is closed");
    }
    Ok(())
}

/// Asks the engine what it is; that it answers is part of its start.
fn introduce(engine: &Engine) -> Result<Own, FrontError> {
    let mut connection = engine.connect()?;
    let sql = b"SELECT version(), serverTimezone(), hostName()";
    let output = connection.execute(sql, "TabSeparatedRaw", &[]);
    let output = output.map_err(|error| FrontError::Silent(error.text))?;
    let text = String::from_utf8_lossy(output.bytes()).into_owned();
    let mut fields = text.trim_end().split('\t').map(str::to_owned);
    let mut field = || fields.next().unwrap_or_default();
    Ok(Own { version: field(), timezone: field(), host: field() })
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
        let (front, socket) = (Arc::clone(front), Socket::new(stream));
        let early = socket.early();
        let service = service_fn(move |request| serve(Arc::clone(&front), early.clone(), request));
        let connection = hyper::server::conn::http1::Builder::new()
            .timer(TokioTimer::new())
            .serve_connection(TokioIo::new(socket), service);
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
    early: Early,
    request: hyper::Request<Incoming>,
) -> Result<Response<AnswerBody>, Cut> {
    let (parts, body) = request.into_parts();
    let mut asked = Request::from_url_query(parts.uri.query().unwrap_or(""));
    for (name, value) in &parts.headers {
        asked.header(name.as_str(), &String::from_utf8_lossy(value.as_bytes()));
    }
    asked.read_only = !matches!(parts.method, Method::POST | Method::PUT);
    let reading = matches!(parts.method, Method::GET | Method::HEAD);
    if parts.uri.path() == faults::PATH {
        return Ok(front.fault(&asked, parts.uri.query().unwrap_or("")));
    }
    if parts.uri.path() == "/" {
        front.faults.meet().await?;
    }
    let answer = match parts.uri.path() {
        "/ping" | "/replicas_status" if reading => fine(),
        "/" if reading && parts.uri.query().is_none() => fine(),
        "/" if reading || !asked.read_only => {
            let header =
                |name| parts.headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or("");
            let content_type = header(CONTENT_TYPE).to_owned();
            match Coding::of_body(header(CONTENT_ENCODING)) {
                Ok(coding) => {
                    // HTTP/1.0 has another status line, and "100 Continue" would come in between.
                    let may = parts.version == Version::HTTP_11 && header(EXPECT).is_empty();
                    let early = may.then_some(&early);
                    Arc::clone(&front).query(asked, (content_type, coding), body, early).await
                }
                Err(exception) => front.refuse(&exception, ""),
            }
        }
        other => nowhere(other),
    };
    if answer.extensions().get::<Applied>().is_some() {
        front.faults.answer()?;
    }
    Ok(answer)
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
        let body = Bytes::from(exception.body(&self.own.version));
        let mut response = refusal(exception, query_id, body);
        self.own.sign(&mut response);
        response
    }

    /// Somebody who may write sets faults, and hears how many were met.
    fn fault(&self, asked: &Request, query: &str) -> Response<AnswerBody> {
        match authenticate(&self.users, &asked.credentials) {
            Ok(user) if !user.read_only => {
                let met = self.faults.set(query).to_string();
                Response::new(Either::Left(Full::new(Bytes::from(met))))
            }
            Ok(_) => nowhere(faults::PATH),
            Err(exception) => self.refuse(&exception, ""),
        }
    }

    async fn query(
        self: Arc<Self>,
        asked: Request,
        (content_type, coding): (String, Option<Coding>),
        body: Incoming,
        early: Option<&Early>,
    ) -> Response<AnswerBody> {
        let telling = early.zip(progress::interval(&asked));
        let query_id = asked.query_id.clone().unwrap_or_else(random_id);
        let user = match authenticate(&self.users, &asked.credentials) {
            Ok(user) => user.clone(),
            Err(exception) => return self.refuse(&exception, &query_id),
        };
        // Dropped with this future when the client goes away before its answer begins.
        let run = Arc::new(Run::default());
        let leash = Leash::new(&self, &run, &query_id);
        let Ok(turn) = Arc::clone(&self.queries).acquire_owned().await else {
            let exception =
                Exception::new(202, "The front is closing", "TOO_MANY_SIMULTANEOUS_QUERIES");
            return self.refuse(&exception, &query_id);
        };
        let (head, answered) = oneshot::channel();
        let upload = Upload::new(body, Handle::current());
        let work = Work {
            asked,
            content_type,
            coding,
            user,
            query_id: query_id.clone(),
            run,
            began: std::time::Instant::now(),
        };
        let front = Arc::clone(&self);
        tokio::task::spawn_blocking(move || {
            front.work(work, upload, head);
            drop(turn);
        });
        let answered = match telling {
            Some(telling) => progress::tell(&self, &query_id, telling, answered).await,
            None => answered.await,
        };
        let mut answer = answered.unwrap_or_else(|_| {
            // The client broke off, or the thread panicked; only the latter has a listener.
            let exception = Exception::new(
                1001,
                "The front failed on this query; see its log",
                "STD_EXCEPTION",
            );
            self.refuse(&exception, &query_id)
        });
        if early.is_some_and(Early::has_begun) {
            // It was said already; the header with the exception's code says otherwise.
            *answer.status_mut() = StatusCode::OK;
        }
        let (head, body) = answer.into_parts();
        let body = match body {
            Either::Right(mut download) => {
                download.tie(leash);
                Either::Right(download)
            }
            Either::Left(whole) => {
                leash.release();
                Either::Left(whole)
            }
        };
        Response::from_parts(head, body)
    }

    fn work(
        &self,
        mut work: Work,
        mut upload: Upload,
        head: oneshot::Sender<Response<AnswerBody>>,
    ) {
        let gathered = work.gather(&mut upload);
        let Work { asked, user, query_id, run, began, .. } = work;
        let spill = self.spill.join(random_id());
        let held = asked.wait_end.then(|| Spool::new(spill.clone()));
        let manner = Manner {
            query_id: query_id.clone(),
            format: gathered.as_ref().map(|text| text.format(&asked)).unwrap_or_default(),
            inserts: gathered.as_ref().is_ok_and(|text| text.statement.verb == "INSERT"),
            packing: match (asked.compress, asked.coding()) {
                (true, _) => Packing::Blocks,
                (false, Some((coding, level))) => Packing::Coded(coding, level),
                (false, None) => Packing::Plain,
            },
            tag: random_tag(),
            buffer: asked.buffer,
            progress: asked.is_on("send_progress_in_http_headers"),
            began,
            own: Own {
                timezone: asked
                    .setting("session_timezone")
                    .filter(|zone| !zone.is_empty())
                    .unwrap_or(&self.own.timezone)
                    .to_owned(),
                ..self.own.clone()
            },
        };
        let answer = Answer::new(manner, head, held);
        let text = match gathered {
            Ok(text) => text,
            Err(Fault::Gone) => return,
            Err(Fault::Bad(exception)) => {
                upload.drain();
                return answer.fail(&exception);
            }
        };
        let replace = asked.is_on("replace_running_query");
        let query = Query {
            engine: &self.engine,
            request: &asked,
            sessions: &self.sessions,
            user: &user,
            run: (&run, &query_id),
            spill,
        };
        match self.running.begin(&query_id, &run, replace, &self.engine) {
            Ok(turn) => query.run(&text, &mut upload, answer, turn),
            Err(exception) => {
                upload.drain();
                answer.fail(&exception);
            }
        }
    }
}

/// A request on its way to the engine.
struct Work {
    asked: Request,
    content_type: String,
    coding: Option<Coding>,
    user: User,
    query_id: String,
    run: Arc<Run>,
    began: std::time::Instant,
}

impl Work {
    /// Reads the body as far as it is not an insert's data.
    fn gather(&mut self, upload: &mut Upload) -> Result<Text, Fault> {
        if let Some(coding) = self.coding {
            upload.decode(coding)?;
        }
        if let Some(boundary) = boundary(&self.content_type) {
            let mut body = Vec::new();
            while let Some(piece) = upload.next_piece()? {
                body.extend_from_slice(&piece);
                if body.len() > FORM_BYTES_MAX {
                    let text = "The form is larger than 16 MiB";
                    return Err(Exception::new(408, text, "BAD_REQUEST_PARAMETER").into());
                }
            }
            self.asked.form(multipart_form::read(&body, &boundary)?)?;
        } else if self.asked.decompress {
            upload.unpack();
        }
        Text::gather(&self.asked.query, upload)
    }
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
