//! The server: opens the engine, accepts connections, and ends on shutdown after the queries that
//! run.
#![expect(clippy::disallowed_methods, reason = "sessions and random ids read a clock")]

pub(crate) mod accept;
pub(crate) mod body;
pub(crate) mod cancel_on_disconnect;
pub(crate) mod content_coding;
pub(crate) mod early_headers;
pub(crate) mod multipart_form;
pub(crate) mod routes;

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::graceful::GracefulShutdown;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;

use crate::auth::User;
use crate::engine::Engine;
use crate::engine::library::EngineError;
use crate::faults::Faults;
use crate::front::Front;
use crate::http::accept::accept;
use crate::http::early_headers::Socket;
use crate::http::routes::serve;
use crate::running_queries::RunningQueries;
use crate::server_info::ServerInfo;
use crate::session::Sessions;

/// Queries that run at once; more wait.
const QUERIES_MAX: usize = 64;
/// How long running queries may take to end after the shutdown of the front has begun.
const DRAIN: Duration = Duration::from_secs(8);

/// Where the front listens and what it serves.
#[derive(Debug)]
pub struct FrontSettings {
    /// Listens already.
    pub listener: std::net::TcpListener,
    /// The engine's data folder.
    pub data: PathBuf,
    /// Folder for results that are not sent yet.
    pub spill: PathBuf,
    /// The engine's library.
    pub library: PathBuf,
    /// The users that may sign in.
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
    FirstQuery(String),
    /// The address is taken or may not be used.
    #[error("cannot listen{}", .listen.map(|listen| format!(" on {listen}")).unwrap_or_default())]
    Listen {
        /// The address, where it is known.
        listen: Option<SocketAddr>,
        /// Why.
        source: std::io::Error,
    },
    /// The engine's process cannot be started, or ended before it was ready.
    #[error("the engine does not start ({0})")]
    Ended(String),
    /// A folder cannot be created.
    #[error("cannot create the folder {path}")]
    Folder {
        /// The folder.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
}

/// Opens the engine, calls `ready`, and serves until `shutdown` resolves; then lets running
/// queries end and closes the engine.
///
/// # Errors
/// See [`FrontError`]; all of them before the first request is taken.
pub async fn run(
    settings: FrontSettings,
    ready: impl FnOnce(),
    shutdown: impl Future<Output = ()>,
) -> Result<(), FrontError> {
    for path in [&settings.data, &settings.spill] {
        let created = std::fs::create_dir_all(path);
        created.map_err(|source| FrontError::Folder { path: path.clone(), source })?;
    }
    let listener = settings.listener;
    let listener = listener.set_nonblocking(true).and_then(|()| TcpListener::from_std(listener));
    let listener = listener.map_err(|source| FrontError::Listen { listen: None, source })?;
    let engine = Engine::open(&settings.library, &settings.data)?;
    let info = server_info(&engine)?;
    tracing::info!(version = info.version, "the engine is open");
    ready();
    let front = Arc::new(Front {
        engine,
        running: RunningQueries::default(),
        sessions: Sessions::new(Instant::now),
        faults: Faults::default(),
        users: settings.users,
        spill: settings.spill,
        info,
        slots: Arc::new(Semaphore::new(QUERIES_MAX)),
        clock: Instant::now,
    });
    serve_connections(listener, &front, shutdown).await;
    if let Ok(Front { engine, sessions, .. }) = Arc::try_unwrap(front) {
        drop(sessions);
        engine.close();
        tracing::info!("the engine is closed");
    }
    Ok(())
}

/// Reads from the engine what answers report about it. The engine has started when it answers.
fn server_info(engine: &Engine) -> Result<ServerInfo, FrontError> {
    let mut connection = engine.connect()?;
    let sql = b"SELECT version(), serverTimezone(), hostName()";
    let output = connection.execute(sql, "TabSeparatedRaw", &[]);
    let output = output.map_err(|error| FrontError::FirstQuery(error.text))?;
    let text = String::from_utf8_lossy(output.bytes()).into_owned();
    let mut fields = text.trim_end().split('\t').map(str::to_owned);
    let mut field = || fields.next().unwrap_or_default();
    Ok(ServerInfo { version: field(), timezone: field(), host: field() })
}

async fn serve_connections(
    listener: TcpListener,
    front: &Arc<Front>,
    shutdown: impl Future<Output = ()>,
) {
    let graceful = GracefulShutdown::new();
    let connection = |stream: TcpStream| {
        stream.set_nodelay(true).ok();
        let (front, socket) = (Arc::clone(front), Socket::new(stream));
        let early = socket.early();
        let service = service_fn(move |request| serve(Arc::clone(&front), early.clone(), request));
        let connection = hyper::server::conn::http1::Builder::new()
            .timer(TokioTimer::new())
            .serve_connection(TokioIo::new(socket), service);
        let connection = graceful.watch(connection);
        async move {
            if let Err(error) = connection.await {
                tracing::debug!(%error, "a connection has failed");
            }
        }
    };
    let mut connections = accept(&listener, connection, shutdown).await;
    drop(listener);
    if tokio::time::timeout(DRAIN, graceful.shutdown()).await.is_err() {
        tracing::warn!("queries still run after {DRAIN:?}; their connections are closed");
    }
    connections.shutdown().await;
}
