//! The admin API of links: JSON over HTTP on a separate port, with a bearer token.
//!
//! Each change is one transaction of the store; visitors never wait for it.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt as _, Full, Limited};
use hyper::body::Incoming;
use hyper::header::{ALLOW, AUTHORIZATION, HeaderValue, WWW_AUTHENTICATE};
use hyper::{Method, Request, Response, StatusCode};
use percent_encoding::percent_decode_str;
use serde_json::json;
use service::http_server::{self, HttpLimits, reply};
use tokio::net::TcpListener;
use tokio::sync::Mutex;
use tokio_util::sync::CancellationToken;

use crate::bearer_token::BearerTokens;
use crate::clock::now;
use crate::links::link_entry::LinkEntry;
use crate::links::link_table::LinkTable;
use crate::links::store::Store;
use crate::links::store::change::{Change, Edit, Outcome};
use crate::links::store::error::{ChangeRefused, StoreError};
use crate::links::store_location::StoreLocation;
use crate::metrics::link_metrics::LinkMetrics;
use service::wakeup::Wakeup;

/// Most bytes of a body: several times as many as a link has.
const BODY_BYTES_MAX: usize = 16 * 1024;
/// Time limit of one request, from its head to its answer: for its body and for the store.
const TIMEOUT: Duration = Duration::from_secs(30);
/// Time limit of its body.
const BODY_TIMEOUT: Duration = Duration::from_secs(5);
/// Time limit of its head.
const HEAD_TIMEOUT: Duration = Duration::from_secs(5);
/// Time within which a client must begin to read its answer.
const WRITE_TIMEOUT: Duration = Duration::from_secs(5);
/// A client without a token has five seconds to send a head; its connection ends with the first answer.
const LIMITS: HttpLimits = HttpLimits {
    connections: 64,
    head: HEAD_TIMEOUT,
    write: WRITE_TIMEOUT,
    age: Duration::from_secs(10),
    work: TIMEOUT,
};
/// Most links of one answer.
const PAGE_MAX: u32 = 1000;
const PATH: &str = "/v1/links";

/// A parsed request.
enum ApiRequest {
    List { after: String, limit: u32 },
    Show(String),
    Change(Change),
}

/// The parts of the API.
#[derive(Debug)]
pub struct LinksApiParts {
    /// The location of the store.
    pub location: StoreLocation,
    /// The valid tokens.
    pub tokens: BearerTokens,
    /// The parts that it shares with the publisher.
    pub shared: LinksApiShared,
}

/// The parts that the API shares with the publisher of this host.
#[derive(Debug, Default)]
pub struct LinksApiShared {
    /// Notified of each change.
    pub wakeup: Arc<Wakeup>,
    /// The links of the topic: a change gets a version after that of the topic.
    pub table: Arc<LinkTable>,
    /// Counts refused tokens.
    pub metrics: LinkMetrics,
}

/// The API of one store.
#[derive(Debug)]
pub struct LinksApi {
    parts: LinksApiParts,
    /// One request at a time uses it. Others wait without a thread, until their time limit.
    store: Arc<Mutex<Option<Store>>>,
}

impl LinksApi {
    /// An API that opens the store at its first request.
    pub fn new(parts: LinksApiParts) -> Arc<Self> {
        Arc::new(Self { parts, store: Arc::default() })
    }

    /// Serves until `stop`. A change in progress is made or not, as in a crash.
    pub async fn serve(self: Arc<Self>, listener: TcpListener, stop: CancellationToken) {
        let answer = move |request| Arc::clone(&self).answer(request);
        http_server::run(listener, "links API", LIMITS, stop, answer).await;
    }

    async fn answer(self: Arc<Self>, request: Request<Incoming>) -> Response<Full<Bytes>> {
        let worked = tokio::time::timeout(TIMEOUT, self.work(request)).await;
        worked.unwrap_or_else(|_| {
            refused(
                StatusCode::SERVICE_UNAVAILABLE,
                "links_db_away",
                "the link store did not answer in time",
            )
        })
    }

    async fn work(self: Arc<Self>, request: Request<Incoming>) -> Response<Full<Bytes>> {
        let authorization = request.headers().get(AUTHORIZATION).map(HeaderValue::as_bytes);
        if !self.parts.tokens.admit(authorization) {
            self.parts.shared.metrics.tokens_refused.inc();
            let why = "send the header `Authorization: Bearer TOKEN`";
            let mut answer = refused(StatusCode::UNAUTHORIZED, "links_token", why);
            answer.headers_mut().insert(WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
            return answer;
        }
        let (head, body) = request.into_parts();
        let body = Limited::new(body, BODY_BYTES_MAX).collect();
        let body = match tokio::time::timeout(BODY_TIMEOUT, body).await {
            Ok(Ok(body)) => body.to_bytes(),
            Ok(Err(error)) => {
                return refused(StatusCode::PAYLOAD_TOO_LARGE, "link_refused", &error.to_string());
            }
            Err(_) => {
                let cause = "the body did not arrive in time";
                return refused(StatusCode::REQUEST_TIMEOUT, "link_refused", cause);
            }
        };
        let request = match parse(&head.method, head.uri.path(), head.uri.query(), &body) {
            Ok(request) => request,
            Err(answer) => return *answer,
        };
        self.perform(request).await
    }

    async fn perform(self: Arc<Self>, request: ApiRequest) -> Response<Full<Bytes>> {
        let mut store = Arc::clone(&self.store).lock_owned().await;
        let done = tokio::task::spawn_blocking(move || self.run(&mut store, &request)).await;
        done.unwrap_or_else(|error| {
            let status = StatusCode::INTERNAL_SERVER_ERROR;
            refused(status, "links_db_broken", &error.to_string())
        })
    }

    fn run(&self, store: &mut Option<Store>, request: &ApiRequest) -> Response<Full<Bytes>> {
        // After a failure the connection is not used again.
        let open = || {
            let slug_case = self.parts.shared.table.slug_case();
            Store::open(&self.parts.location).map(|store| store.with_slug_case(slug_case))
        };
        let answer = match store.take().map_or_else(open, Ok) {
            Err(error) => Err(error),
            Ok(mut opened) => {
                let answer = run(&mut opened, &self.parts.shared.table, request);
                if !matches!(answer, Err(StoreError::Unreachable(_) | StoreError::Unusable(_))) {
                    *store = Some(opened);
                }
                answer
            }
        };
        match answer {
            Ok((status, lines)) => {
                if matches!(request, ApiRequest::Change(_)) {
                    self.parts.shared.wakeup.notify();
                }
                reply(status, "application/x-ndjson", lines)
            }
            Err(error) => refused(status(&error), error.code(), &error.to_string()),
        }
    }
}

fn run(
    store: &mut Store,
    table: &LinkTable,
    request: &ApiRequest,
) -> Result<(StatusCode, String), StoreError> {
    let lines =
        |links: &[LinkEntry]| links.iter().map(|link| link.line() + "\n").collect::<String>();
    match request {
        ApiRequest::List { after, limit } => {
            Ok((StatusCode::OK, lines(&store.page(after, *limit)?)))
        }
        ApiRequest::Show(id) => match store.get(id)?.filter(|link| !link.deleted) {
            Some(link) => Ok((StatusCode::OK, lines(&[link]))),
            None => Err(ChangeRefused::NoSuch(id.clone()).into()),
        },
        ApiRequest::Change(change) => {
            let outcome = store.change_after(table, change, now())?;
            log_change(change, &outcome);
            match change {
                Change::Add(_) => Ok((StatusCode::CREATED, outcome.entry().line() + "\n")),
                Change::Put(_) | Change::Edit { .. } => {
                    Ok((StatusCode::OK, outcome.entry().line() + "\n"))
                }
                Change::Delete { .. } => Ok((StatusCode::NO_CONTENT, String::new())),
            }
        }
    }
}

/// Logs a change, without the target, whose query may hold a secret.
fn log_change(change: &Change, outcome: &Outcome) {
    let action = match change {
        Change::Add(_) => "add",
        Change::Put(_) => "put",
        Change::Edit { .. } => "edit",
        Change::Delete { .. } => "delete",
    };
    let LinkEntry { id, version, .. } = outcome.entry();
    tracing::info!(action, id, version, "the admin API changed a link");
}

/// Parses a request, or returns the answer to a malformed one.
fn parse(
    method: &Method,
    path: &str,
    query: Option<&str>,
    body: &[u8],
) -> Result<ApiRequest, Box<Response<Full<Bytes>>>> {
    let bad = |why: &str| Box::new(refused(StatusCode::BAD_REQUEST, "link_refused", why));
    let Some(rest) = path.strip_prefix(PATH) else {
        let why = "the only paths are /v1/links and /v1/links/ID";
        return Err(Box::new(refused(StatusCode::NOT_FOUND, "link_refused", why)));
    };
    let text = std::str::from_utf8(body).map_err(|_| bad("the body is not UTF-8"))?;
    let id = percent_decode_str(rest.strip_prefix('/').unwrap_or_default()).decode_utf8();
    let id = id.map_err(|_| bad("the id is not UTF-8"))?.into_owned();
    match (method, id.is_empty()) {
        (&Method::GET, true) => {
            let (mut after, mut limit) = (String::new(), PAGE_MAX);
            for (name, value) in url::form_urlencoded::parse(query.unwrap_or_default().as_bytes()) {
                match &*name {
                    "after" => after = value.into_owned(),
                    "limit" => {
                        limit = value.parse().map_err(|_| bad("limit must be a number"))?;
                    }
                    _ => return Err(bad("the only parameters are after and limit")),
                }
            }
            Ok(ApiRequest::List { after, limit: limit.min(PAGE_MAX) })
        }
        (&Method::GET, false) => Ok(ApiRequest::Show(id)),
        (&Method::POST | &Method::PUT, true) => {
            let entry = LinkEntry::parse(text).map_err(|cause| bad(&cause.to_string()))?;
            let put = *method == Method::PUT;
            Ok(ApiRequest::Change(if put { Change::Put(entry) } else { Change::Add(entry) }))
        }
        (&Method::PATCH, false) => {
            let edit: Edit = serde_json::from_str(text).map_err(|error| {
                bad(&format!(
                    "not a JSON object of changes, such as {{\"disabled\":true}}: {error}"
                ))
            })?;
            Ok(ApiRequest::Change(Change::Edit { id, edit }))
        }
        (&Method::DELETE, false) => Ok(ApiRequest::Change(Change::Delete { id })),
        (_, all) => {
            let allowed = if all { "GET, POST, PUT" } else { "GET, PATCH, DELETE" };
            let status = StatusCode::METHOD_NOT_ALLOWED;
            let mut answer =
                refused(status, "link_refused", &format!("allowed methods: {allowed}"));
            answer.headers_mut().insert(ALLOW, HeaderValue::from_static(allowed));
            Err(Box::new(answer))
        }
    }
}

fn status(error: &StoreError) -> StatusCode {
    match error {
        StoreError::Refused(ChangeRefused::NoSuch(_)) => StatusCode::NOT_FOUND,
        StoreError::Refused(ChangeRefused::Cause(_)) => StatusCode::BAD_REQUEST,
        StoreError::Refused(_) | StoreError::Conflict => StatusCode::CONFLICT,
        StoreError::Unreachable(_) | StoreError::Unpublished(_) => StatusCode::SERVICE_UNAVAILABLE,
        StoreError::Unusable(_) => StatusCode::INTERNAL_SERVER_ERROR,
    }
}

fn refused(status: StatusCode, code: &str, cause: &str) -> Response<Full<Bytes>> {
    let body = json!({ "error": code, "cause": cause }).to_string() + "\n";
    reply(status, "application/json", body)
}

#[cfg(test)]
mod tests {
    use schemas::LINK_VERSION_MAX;

    use super::*;
    use crate::links::link::Link;

    fn api(folder: &std::path::Path) -> Arc<LinksApi> {
        LinksApi::new(LinksApiParts {
            location: StoreLocation::File(folder.join("links.db")),
            tokens: BearerTokens::one("a token of some length").unwrap(),
            shared: LinksApiShared::default(),
        })
    }

    fn refusal(method: &str, path: &str, body: &str) -> (u16, String) {
        let method = Method::from_bytes(method.as_bytes()).unwrap();
        let (path, query) = path.split_once('?').map_or((path, None), |(p, q)| (p, Some(q)));
        let refused = parse(&method, path, query, body.as_bytes()).err().unwrap();
        (refused.status().as_u16(), format!("{:?}", refused.body()))
    }

    #[test]
    fn a_request_that_cannot_be_read_is_answered_with_the_reason() {
        for (method, path, body, status, part) in [
            ("GET", "/v1/other", "", 404, "the only paths are"),
            ("DELETE", "/v1/links", "", 405, "GET, POST, PUT"),
            ("POST", "/v1/links/a", "", 405, "GET, PATCH, DELETE"),
            ("POST", "/v1/links", "{}", 400, "missing field `slug`"),
            ("PATCH", "/v1/links/a", r#"{"slug":"b"}"#, 400, "unknown field `slug`"),
            ("GET", "/v1/links?limit=x", "", 400, "limit must be a number"),
            ("GET", "/v1/links/%ff", "", 400, "not UTF-8"),
        ] {
            let (got, text) = refusal(method, path, body);
            assert!(got == status && text.contains(part), "{method} {path}: {got} {text}");
        }
    }

    #[test]
    fn an_id_with_a_slash_is_one_id() {
        let folder = tempfile::tempdir().unwrap();
        let api = api(folder.path());
        let body = br#"{"slug":"a","domain":"go.example","url":"https://example.com/"}"#;
        let mut store = None;
        let mut status = |request: &ApiRequest| api.run(&mut store, request).status();
        let add = parse(&Method::POST, "/v1/links", None, body).ok().unwrap();
        assert_eq!(status(&add), 201);
        assert_eq!(status(&add), 409);
        for path in ["/v1/links/go.example/a", "/v1/links/go.example%2Fa"] {
            let show = parse(&Method::GET, path, None, b"").ok().unwrap();
            assert_eq!(status(&show), 200, "{path}");
        }
        let delete = parse(&Method::DELETE, "/v1/links/go.example/a", None, b"").ok().unwrap();
        assert_eq!(status(&delete), 204);
        assert_eq!(status(&delete), 404);
    }

    #[test]
    fn h11_a_change_of_a_link_that_the_topic_has_in_a_later_version_comes_after_that() {
        let folder = tempfile::tempdir().unwrap();
        let api = api(folder.path());
        let mut store = None;
        let body = |text: &str| format!(r#"{{"slug":"a","url":"http://{text}/"}}"#);
        let mut run = |method, path: &str, text: &str| {
            let request = parse(&method, path, None, text.as_bytes()).ok().unwrap();
            let answer = api.run(&mut store, &request);
            (answer.status().as_u16(), format!("{:?}", answer.body()))
        };
        assert_eq!(run(Method::POST, "/v1/links", &body("ours")).0, 201);
        let foreign = r#"{"slug":"a","url":"http://evil/","version":1000}"#;
        let foreign = Link::of(&LinkEntry::parse(foreign).unwrap()).unwrap();
        api.parts.shared.table.apply(foreign.clone());
        // The content is what the store has already, and not what visitors get.
        let (status, text) = run(Method::PUT, "/v1/links", &body("ours"));
        assert!(status == 200 && text.contains(r#"\"version\":1001"#), "{status} {text}");
        let (status, text) = run(Method::PUT, "/v1/links", &body("ours"));
        assert!(status == 200 && text.contains(r#"\"version\":1001"#), "{status} {text}");
        let (status, text) = run(Method::PATCH, "/v1/links/a", r#"{"url":"http://new/"}"#);
        assert!(status == 200 && text.contains(r#"\"version\":1002"#), "{status} {text}");
    }

    #[tokio::test]
    async fn m9_requests_that_wait_for_a_stuck_store_leave_nothing_behind() {
        let folder = tempfile::tempdir().unwrap();
        let api = api(folder.path());
        let stuck = Arc::clone(&api.store).lock_owned().await;
        for _ in 0..100 {
            let request = ApiRequest::Show("a".to_owned());
            let answer = Arc::clone(&api).perform(request);
            tokio::time::timeout(Duration::from_millis(1), answer).await.unwrap_err();
        }
        assert_eq!(Arc::strong_count(&api), 1, "no thread works for a request that has ended");
        drop(stuck);
        let answer = Arc::clone(&api).perform(ApiRequest::Show("a".to_owned())).await;
        assert_eq!(answer.status(), 404);
    }

    #[test]
    fn m12_a_version_beyond_the_last_is_answered_400_and_a_change_of_the_last_409() {
        let folder = tempfile::tempdir().unwrap();
        let api = api(folder.path());
        let body =
            |version: i64| format!(r#"{{"slug":"a","url":"http://x/","version":{version}}}"#);
        for method in [Method::POST, Method::PUT] {
            for version in [i64::MAX, LINK_VERSION_MAX + 1, 0, -1] {
                let refused = parse(&method, "/v1/links", None, body(version).as_bytes());
                assert_eq!(refused.err().unwrap().status(), 400, "{version}");
            }
        }
        let mut store = None;
        let add = parse(&Method::POST, "/v1/links", None, body(LINK_VERSION_MAX - 1).as_bytes());
        assert_eq!(api.run(&mut store, &add.ok().unwrap()).status(), 201);
        for status in [200, 409] {
            let edit =
                Edit { status: Some(if status == 200 { 301 } else { 302 }), ..Edit::default() };
            let change = ApiRequest::Change(Change::Edit { id: "a".to_owned(), edit });
            let answer = api.run(&mut store, &change);
            assert_eq!(answer.status(), status);
        }
        let delete = ApiRequest::Change(Change::Delete { id: "a".to_owned() });
        let answer = api.run(&mut store, &delete);
        let text = format!("{:?}", answer.body());
        assert!(answer.status() == 409 && text.contains("the last possible one"), "{text}");
    }
}
