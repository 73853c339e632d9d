//! Requests to the servers that queries go to.

use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt as _, Full, Limited};
use hyper::{Request, StatusCode};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;

/// The longest answer; a panel shows a few thousand rows.
const BYTES_MAX: usize = 64 << 20;
/// The longest wait for one; servers stop a query earlier.
const WAIT: Duration = Duration::from_secs(40);

/// Sends requests, and keeps connections.
#[derive(Debug, Clone)]
pub(crate) struct HttpClient {
    client: Client<HttpConnector, Full<Bytes>>,
}

impl HttpClient {
    pub(crate) fn new() -> Self {
        Self { client: Client::builder(TokioExecutor::new()).build_http() }
    }

    /// The status and the body of an answer; an error is a text for the viewer.
    pub(crate) async fn send(
        &self,
        request: Request<Full<Bytes>>,
    ) -> Result<(StatusCode, Bytes), String> {
        let answered = async {
            let response = self.client.request(request).await.map_err(|error| error.to_string())?;
            let status = response.status();
            let body = Limited::new(response.into_body(), BYTES_MAX).collect().await;
            Ok((status, body.map_err(|error| error.to_string())?.to_bytes()))
        };
        let late = || format!("no answer within {} s", WAIT.as_secs());
        tokio::time::timeout(WAIT, answered).await.unwrap_or_else(|_| Err(late()))
    }
}
