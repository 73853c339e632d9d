//! Keeps the engine alive: it runs in a process of its own, because a query may take it
//! down. The two share the listening socket. While the engine is open it accepts by itself
//! and nothing stands between it and its clients; until it is, and as soon as it is not,
//! the keeper answers 503 and starts it again on its data.
#![expect(clippy::disallowed_methods, reason = "how long an engine lived is read from a clock")]

use std::convert::Infallible;
use std::ffi::OsString;
use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::process::Stdio;
use std::time::{Duration, Instant};

use bytes::Bytes;
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper::header::{CONNECTION, HeaderValue, RETRY_AFTER};
use hyper::service::service_fn;
use hyper::{Response, StatusCode};
use hyper_util::rt::TokioIo;
use rustix::process::{Pid, Signal, kill_process};
use tokio::io::AsyncReadExt as _;
use tokio::net::TcpListener;
use tokio::process::{Child, Command};
use tokio::task::JoinSet;

use crate::exception::Exception;
use crate::http::FrontError;

/// The pause before an engine is started again: the first, and the longest.
const PAUSES: (Duration, Duration) = (Duration::from_millis(50), Duration::from_secs(1));
/// An engine that lived as long is started again without a long pause.
const HEALTHY: Duration = Duration::from_secs(10);
/// How long an engine may take to end; longer than it lets its queries run.
const END_WAIT: Duration = Duration::from_secs(13);
/// How long a refused request is read, so that its client hears the answer.
const DRAIN: Duration = Duration::from_secs(2);

/// How the engine's process is started. It gets the socket as standard input and says a
/// line on standard output when it accepts.
#[derive(Debug, Clone)]
pub struct Kept {
    /// The program.
    pub program: PathBuf,
    /// Its arguments.
    pub arguments: Vec<OsString>,
}

/// What ended a stretch of waiting.
enum Event {
    Ready,
    Ended(String),
    Shutdown,
}

/// Serves on `listen` until `shutdown` resolves, however often the engine dies.
///
/// # Errors
/// [`FrontError::Listen`]; [`FrontError::Ended`] when the first engine is never ready.
pub async fn keep(
    listen: SocketAddr,
    kept: &Kept,
    shutdown: impl Future<Output = ()>,
) -> Result<(), FrontError> {
    let failed = |source| FrontError::Listen { listen: Some(listen), source };
    let socket = std::net::TcpListener::bind(listen).map_err(failed)?;
    socket.set_nonblocking(true).map_err(failed)?;
    let listener = socket.try_clone().and_then(TcpListener::from_std).map_err(failed)?;
    let mut shutdown = std::pin::pin!(shutdown);
    let (mut proven, mut pause) = (false, PAUSES.0);
    loop {
        let began = Instant::now();
        let mut child = start(kept, &socket)?;
        let mut event = wait_ready(&listener, &mut child, &mut shutdown).await;
        if matches!(event, Event::Ready) {
            proven = true;
            event = tokio::select! {
                ended = child.wait() => Event::Ended(said(ended)),
                () = &mut shutdown => Event::Shutdown,
            };
        }
        let how = match event {
            Event::Shutdown | Event::Ready => {
                end(child).await;
                return Ok(());
            }
            Event::Ended(how) if !proven => return Err(FrontError::Ended(how)),
            Event::Ended(how) => how,
        };
        tracing::warn!(how, "the engine has ended; starting it again");
        pause = if began.elapsed() >= HEALTHY { PAUSES.0 } else { (pause * 2).min(PAUSES.1) };
        tokio::select! {
            () = &mut shutdown => return Ok(()),
            () = refuse(&listener) => {}
            () = tokio::time::sleep(pause) => {}
        }
    }
}

fn start(kept: &Kept, socket: &std::net::TcpListener) -> Result<Child, FrontError> {
    let started = socket.try_clone().and_then(|socket| {
        Command::new(&kept.program)
            .args(&kept.arguments)
            .stdin(Stdio::from(OwnedFd::from(socket)))
            .stdout(Stdio::piped())
            // `SYSTEM SHUTDOWN` and `SYSTEM KILL` are for the whole group.
            .process_group(0)
            .kill_on_drop(true)
            .spawn()
    });
    started.map_err(|error| FrontError::Ended(error.to_string()))
}

fn said(ended: std::io::Result<std::process::ExitStatus>) -> String {
    ended.map_or_else(|error| error.to_string(), |status| status.to_string())
}

/// Refuses everybody until the engine accepts.
async fn wait_ready(
    listener: &TcpListener,
    child: &mut Child,
    shutdown: &mut (impl Future<Output = ()> + Unpin),
) -> Event {
    let stdout = child.stdout.take();
    let ready = async {
        let mut byte = [0];
        if let Some(mut stdout) = stdout
            && stdout.read(&mut byte).await.is_ok_and(|len| len > 0)
        {
            return;
        }
        // Nothing more comes from an engine that has ended; `wait` says how.
        std::future::pending::<()>().await;
    };
    tokio::select! {
        () = ready => Event::Ready,
        ended = child.wait() => Event::Ended(said(ended)),
        () = shutdown => Event::Shutdown,
        () = refuse(listener) => Event::Ready,
    }
}

async fn end(mut child: Child) {
    let pid = child.id().and_then(|id| i32::try_from(id).ok()).and_then(Pid::from_raw);
    if let Some(pid) = pid {
        kill_process(pid, Signal::TERM).ok();
    }
    if tokio::time::timeout(END_WAIT, child.wait()).await.is_err() {
        tracing::warn!("the engine does not end; it is killed");
        child.kill().await.ok();
    }
}

/// Answers every request with 503, for ever.
async fn refuse(listener: &TcpListener) {
    let mut connections = JoinSet::new();
    loop {
        let accepted = tokio::select! {
            Some(_) = connections.join_next() => continue,
            accepted = listener.accept() => accepted,
        };
        let Ok((stream, _)) = accepted else {
            tokio::time::sleep(PAUSES.0).await;
            continue;
        };
        connections.spawn(async move {
            let connection = hyper::server::conn::http1::Builder::new()
                .serve_connection(TokioIo::new(stream), service_fn(sorry));
            tokio::time::timeout(DRAIN * 2, connection).await.ok();
        });
    }
}

async fn sorry(request: hyper::Request<Incoming>) -> Result<Response<Full<Bytes>>, Infallible> {
    let mut body = request.into_body();
    let drained = async { while let Some(Ok(_)) = body.frame().await {} };
    tokio::time::timeout(DRAIN, drained).await.ok();
    let text = "The engine has ended and is starting again on its data; ask again in a second";
    let exception = Exception::new(210, text, "NETWORK_ERROR");
    let mut response = Response::new(Full::new(Bytes::from(format!("{exception}\n"))));
    *response.status_mut() = StatusCode::SERVICE_UNAVAILABLE;
    let headers = response.headers_mut();
    headers.insert("X-ClickHouse-Exception-Code", HeaderValue::from(exception.code));
    headers.insert(RETRY_AFTER, HeaderValue::from_static("1"));
    headers.insert(CONNECTION, HeaderValue::from_static("close"));
    Ok(response)
}
