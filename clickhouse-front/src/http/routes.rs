//! The paths of the front: health checks, queries, faults.

use std::sync::Arc;

use bytes::Bytes;
use http_body_util::{Either, Full};
use hyper::body::Incoming;
use hyper::header::{CONTENT_ENCODING, CONTENT_TYPE, EXPECT, HeaderValue};
use hyper::{Method, Response, StatusCode, Version};

use crate::answer::AnswerBody;
use crate::auth::authenticate;
use crate::faults::{self, AppliedInsert, InjectedFault};
use crate::front::Front;
use crate::http::content_coding::ContentCoding;
use crate::http::early_headers::EarlyHeaders;
use crate::query::task::{self, QueryInput, refuse};
use crate::request::QueryRequest;

/// Answers one request.
///
/// # Errors
/// An injected fault, which closes the connection.
pub(crate) async fn serve(
    front: Arc<Front>,
    early: EarlyHeaders,
    request: hyper::Request<Incoming>,
) -> Result<Response<AnswerBody>, InjectedFault> {
    let (parts, body) = request.into_parts();
    let mut request = QueryRequest::from_url_query(parts.uri.query().unwrap_or(""));
    for (name, value) in &parts.headers {
        request.header(name.as_str(), &String::from_utf8_lossy(value.as_bytes()));
    }
    request.read_only = !matches!(parts.method, Method::POST | Method::PUT);
    let is_get = matches!(parts.method, Method::GET | Method::HEAD);
    if parts.uri.path() == faults::PATH {
        return Ok(set_faults(&front, &request, parts.uri.query().unwrap_or("")));
    }
    if parts.uri.path() == "/" {
        front.faults.before_request().await?;
    }
    let answer = match parts.uri.path() {
        "/ping" | "/replicas_status" if is_get => ok(),
        "/" if is_get && parts.uri.query().is_none() => ok(),
        "/" if is_get || !request.read_only => {
            let header =
                |name| parts.headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or("");
            match ContentCoding::of_body(header(CONTENT_ENCODING)) {
                Ok(coding) => {
                    let content_type = header(CONTENT_TYPE).to_owned();
                    // HTTP/1.0 has another status line, and "100 Continue" would precede the head.
                    let may = parts.version == Version::HTTP_11 && header(EXPECT).is_empty();
                    let early = may.then_some(&early);
                    let input = QueryInput { request, content_type, coding };
                    task::run(&front, input, body, early).await
                }
                Err(exception) => refuse(&front.info, &exception, ""),
            }
        }
        other => not_found(other),
    };
    if answer.extensions().get::<AppliedInsert>().is_some() {
        front.faults.before_answer()?;
    }
    Ok(answer)
}

fn ok() -> Response<AnswerBody> {
    let mut response = Response::new(Either::Left(Full::new(Bytes::from_static(b"Ok.\n"))));
    let html = HeaderValue::from_static("text/html; charset=UTF-8");
    response.headers_mut().insert(CONTENT_TYPE, html);
    response
}

fn not_found(path: &str) -> Response<AnswerBody> {
    let text = format!(
        "There is no handle {path}\n\nUse / or /ping for health checks.\nSend queries from your program with POST method or GET /?query=...\n"
    );
    let mut response = Response::new(Either::Left(Full::new(Bytes::from(text))));
    *response.status_mut() = StatusCode::NOT_FOUND;
    response
}

/// A user that may write sets faults; the answer is the number of requests with a fault so far.
fn set_faults(front: &Front, request: &QueryRequest, query: &str) -> Response<AnswerBody> {
    match authenticate(&front.users, &request.credentials) {
        Ok(user) if !user.read_only => {
            let injected = front.faults.set(query).to_string();
            Response::new(Either::Left(Full::new(Bytes::from(injected))))
        }
        Ok(_) => not_found(faults::PATH),
        Err(exception) => refuse(&front.info, &exception, ""),
    }
}
