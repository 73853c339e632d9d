//! Supervises the engine: it runs in a process of its own, because a query can crash it. The two
//! processes share the listening socket. While the engine is open, it accepts connections itself;
//! before and after, the supervisor answers 503 and starts the engine again on its data.
#![expect(clippy::disallowed_methods, reason = "how long an engine ran is read from a clock")]

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
use tokio::net::{TcpListener, TcpStream};
use tokio::process::{Child, Command};

use crate::exception::Exception;
use crate::http::FrontError;
use crate::http::accept::accept;

/// The shortest pause before an engine is started again.
const PAUSE_MIN: Duration = Duration::from_millis(50);
/// The longest.
const PAUSE_MAX: Duration = Duration::from_secs(1);
/// An engine that ran as long is started again after the shortest pause.
const HEALTHY: Duration = Duration::from_secs(10);
/// How long an engine may take to end; longer than it lets its queries run.
const END_WAIT: Duration = Duration::from_secs(13);
/// How long a refused request is read, so that its client reads the answer.
const DRAIN: Duration = Duration::from_secs(2);

/// The engine's process. Its standard input is the socket; it writes a line to standard output when
/// it accepts connections.
#[derive(Debug, Clone)]
pub struct Supervised {
    /// The program.
    pub program: PathBuf,
    /// Its arguments.
    pub arguments: Vec<OsString>,
}

/// What ended a wait.
enum Event {
    Ready,
    Ended(String),
    Shutdown,
}

/// Serves on `listen` until `shutdown` resolves, however often the engine dies.
///
/// # Errors
/// [`FrontError::Listen`]; [`FrontError::Ended`] when the first engine is never ready.
pub async fn supervise(
    listen: SocketAddr,
    engine: &Supervised,
    shutdown: impl Future<Output = ()>,
) -> Result<(), FrontError> {
    let failed = |source| FrontError::Listen { listen: Some(listen), source };
    let socket = std::net::TcpListener::bind(listen).map_err(failed)?;
    socket.set_nonblocking(true).map_err(failed)?;
    let listener = socket.try_clone().and_then(TcpListener::from_std).map_err(failed)?;
    let mut shutdown = std::pin::pin!(shutdown);
    let (mut was_ready, mut pause) = (false, PAUSE_MIN);
    loop {
        let began = Instant::now();
        let mut child = start(engine, &socket)?;
        let mut event = wait_ready(&listener, &mut child, &mut shutdown).await;
        if matches!(event, Event::Ready) {
            was_ready = true;
            event = tokio::select! {
                ended = child.wait() => Event::Ended(describe(ended)),
                () = &mut shutdown => Event::Shutdown,
            };
        }
        let how = match event {
            Event::Shutdown | Event::Ready => {
                end(child).await;
                return Ok(());
            }
            Event::Ended(how) if !was_ready => return Err(FrontError::Ended(how)),
            Event::Ended(how) => how,
        };
        tracing::warn!(how, "the engine has ended; starting it again");
        pause = if began.elapsed() >= HEALTHY { PAUSE_MIN } else { (pause * 2).min(PAUSE_MAX) };
        tokio::select! {
            () = &mut shutdown => return Ok(()),
            () = refuse(&listener) => {}
            () = tokio::time::sleep(pause) => {}
        }
    }
}

fn start(engine: &Supervised, socket: &std::net::TcpListener) -> Result<Child, FrontError> {
    let started = socket.try_clone().and_then(|socket| {
        Command::new(&engine.program)
            .args(&engine.arguments)
            .stdin(Stdio::from(OwnedFd::from(socket)))
            .stdout(Stdio::piped())
            // `SYSTEM SHUTDOWN` and `SYSTEM KILL` are for the whole group.
            .process_group(0)
            .kill_on_drop(true)
            .spawn()
    });
    started.map_err(|error| FrontError::Ended(error.to_string()))
}

fn describe(ended: std::io::Result<std::process::ExitStatus>) -> String {
    ended.map_or_else(|error| error.to_string(), |status| status.to_string())
}

/// Refuses all requests until the engine accepts connections.
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
        // An engine that has ended writes nothing more; `wait` says how it ended.
        std::future::pending::<()>().await;
    };
    tokio::select! {
        () = ready => Event::Ready,
        ended = child.wait() => Event::Ended(describe(ended)),
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
        tracing::warn!("the engine does not end; killing it");
        child.kill().await.ok();
    }
}

/// Answers every request with 503, without end.
async fn refuse(listener: &TcpListener) {
    let connection = |stream: TcpStream| {
        let connection = hyper::server::conn::http1::Builder::new()
            .serve_connection(TokioIo::new(stream), service_fn(unavailable));
        async move {
            tokio::time::timeout(DRAIN * 2, connection).await.ok();
        }
    };
    accept(listener, connection, std::future::pending()).await;
}

async fn unavailable(
    request: hyper::Request<Incoming>,
) -> Result<Response<Full<Bytes>>, Infallible> {
    let mut body = request.into_body();
    let drained = async { while let Some(Ok(_)) = body.frame().await {} };
    tokio::time::timeout(DRAIN, drained).await.ok();
    let text = "The engine has ended and is starting again on its data; retry in a second";
    let exception = Exception::new(210, text, "NETWORK_ERROR");
    let mut response = Response::new(Full::new(Bytes::from(format!("{exception}\n"))));
    *response.status_mut() = StatusCode::SERVICE_UNAVAILABLE;
    let headers = response.headers_mut();
    headers.insert("X-ClickHouse-Exception-Code", HeaderValue::from(exception.code));
    headers.insert(RETRY_AFTER, HeaderValue::from_static("1"));
    headers.insert(CONNECTION, HeaderValue::from_static("close"));
    Ok(response)
}
