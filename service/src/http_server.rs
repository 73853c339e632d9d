//! An HTTP/1 server for a port with few clients: the admin port and the admin API of links.
//!
//! Visitors are served by the producer's public port, which has more threads and other limits.

use std::convert::Infallible;
use std::future::Future;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::header::{CONTENT_TYPE, HeaderValue};
use hyper::service::service_fn;
use hyper::{Request, Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::TcpListener;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::accept;

/// Most bytes of a request's head.
const HEAD_BYTES_MAX: usize = 16 * 1024;
/// Time in which a head must be complete, and longest idle time.
const HEAD_TIMEOUT: Duration = Duration::from_secs(10);

/// Serves until `shutdown`, then drops what is open. `port` names the port in logs.
pub async fn run<A, F>(
    listener: TcpListener,
    port: &'static str,
    connections_max: usize,
    shutdown: CancellationToken,
    answer: A,
) where
    A: Fn(Request<Incoming>) -> F + Clone + Send + 'static,
    F: Future<Output = Response<Full<Bytes>>> + Send,
{
    let mut connections = JoinSet::new();
    let accepting = accept::run(listener, port, connections_max, shutdown, |accepted| {
        while connections.try_join_next().is_some() {}
        let answer = answer.clone();
        let service = service_fn(move |request| {
            let answered = answer(request);
            async move { Ok::<_, Infallible>(answered.await) }
        });
        connections.spawn(async move {
            let served = hyper::server::conn::http1::Builder::new()
                .timer(TokioTimer::new())
                .header_read_timeout(HEAD_TIMEOUT)
                .max_buf_size(HEAD_BYTES_MAX)
                .serve_connection(TokioIo::new(accepted.stream), service)
                .await;
            if let Err(error) = served {
                tracing::debug!(port, %error, "a connection ended");
            }
            drop(accepted.slot);
        });
        Ok(())
    });
    // Serving a connection does not fail here.
    if let Err(error) = accepting.await {
        tracing::error!(port, %error, "the port has ended");
    }
}

/// A complete answer.
pub fn reply(
    status: StatusCode,
    content_type: &'static str,
    body: String,
) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(Bytes::from(body)));
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    response
}
