//! One query between the runtime, which has its connection, and the thread that runs it.

use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;
use http_body_util::Either;
use hyper::body::Incoming;
use hyper::{Response, StatusCode};
use tokio::runtime::Handle;
use tokio::sync::oneshot;

use crate::answer::{Answer, AnswerBody, AnswerCompression, AnswerOptions, refusal};
use crate::auth::{User, authenticate};
use crate::exception::Exception;
use crate::front::Front;
use crate::http::body::{Upload, UploadError};
use crate::http::cancel_on_disconnect::CancelOnDisconnect;
use crate::http::content_coding::ContentCoding;
use crate::http::early_headers::EarlyHeaders;
use crate::http::multipart_form::{self, boundary};
use crate::progress;
use crate::query::Query;
use crate::query::text::QueryText;
use crate::random_id::{random_id, random_tag};
use crate::request::QueryRequest;
use crate::result_spool::ResultSpool;
use crate::running_queries::QueryRun;
use crate::server_info::ServerInfo;

/// Largest form; query parameters are sent in forms.
const FORM_BYTES_MAX: usize = 16 << 20;

/// A request for a query, without its body.
#[derive(Debug)]
pub(crate) struct QueryInput {
    /// Parameters and headers.
    pub(crate) request: QueryRequest,
    /// The `Content-Type` of the body.
    pub(crate) content_type: String,
    /// The `Content-Encoding` of the body.
    pub(crate) coding: Option<ContentCoding>,
}

/// Runs a query on a thread that may block, and returns its answer when that begins.
pub(crate) async fn run(
    front: &Arc<Front>,
    input: QueryInput,
    body: Incoming,
    early: Option<&EarlyHeaders>,
) -> Response<AnswerBody> {
    let with_progress = early.zip(progress::interval(&input.request));
    let query_id = input.request.query_id.clone().unwrap_or_else(|| random_id((front.clock)()));
    let user = match authenticate(&front.users, &input.request.credentials) {
        Ok(user) => user.clone(),
        Err(exception) => return refuse(&front.info, &exception, &query_id),
    };
    // Dropped with this future when the client disconnects before its answer begins.
    let run = Arc::new(QueryRun::default());
    let cancel = CancelOnDisconnect::new(front, &run, &query_id);
    let Ok(slot) = Arc::clone(&front.slots).acquire_owned().await else {
        let exception =
            Exception::new(202, "The front is closing", "TOO_MANY_SIMULTANEOUS_QUERIES");
        return refuse(&front.info, &exception, &query_id);
    };
    let (head, answer) = oneshot::channel();
    let upload = Upload::new(body, Handle::current());
    let began = (front.clock)();
    let task = QueryTask { input, user, query_id: query_id.clone(), run, began };
    let shared = Arc::clone(front);
    tokio::task::spawn_blocking(move || {
        task.run(&shared, upload, head);
        drop(slot);
    });
    let answer = match with_progress {
        Some((early, interval)) => {
            progress::send_until_answer(front, &query_id, early, interval, answer).await
        }
        None => answer.await,
    };
    let mut answer = answer.unwrap_or_else(|_| {
        // The client has disconnected, or the thread panicked; only the latter has a reader.
        let exception =
            Exception::new(1001, "The front failed on this query; see its log", "STD_EXCEPTION");
        refuse(&front.info, &exception, &query_id)
    });
    if early.is_some_and(EarlyHeaders::has_begun) {
        // This status was sent already; the header with the exception's code reports the error.
        *answer.status_mut() = StatusCode::OK;
    }
    let (head, body) = answer.into_parts();
    let body = match body {
        Either::Right(mut download) => {
            download.set_cancel(cancel);
            Either::Right(download)
        }
        Either::Left(bytes) => {
            cancel.disarm();
            Either::Left(bytes)
        }
    };
    Response::from_parts(head, body)
}

/// The answer to a request whose query does not run.
pub(crate) fn refuse(
    info: &ServerInfo,
    exception: &Exception,
    query_id: &str,
) -> Response<AnswerBody> {
    let body = Bytes::from(exception.body(&info.version));
    let mut response = refusal(exception, query_id, body);
    info.add_headers(&mut response);
    response
}

/// A query on its thread.
struct QueryTask {
    input: QueryInput,
    user: User,
    query_id: String,
    run: Arc<QueryRun>,
    began: Instant,
}

impl QueryTask {
    fn run(
        mut self,
        front: &Front,
        mut upload: Upload,
        head: oneshot::Sender<Response<AnswerBody>>,
    ) {
        let text = self.read_text(&mut upload);
        let Self { input: QueryInput { request, .. }, user, query_id, run, began } = self;
        let spill = front.spill.join(random_id((front.clock)()));
        let spool = request.waits_for_end().then(|| ResultSpool::new(spill.clone()));
        let options = AnswerOptions {
            query_id: query_id.clone(),
            format: text.as_ref().ok().map(|text| text.format(&request)),
            is_insert: text.as_ref().is_ok_and(|text| text.statement.verb == "INSERT"),
            compression: compression(&request),
            tag: random_tag((front.clock)()),
            buffer: request.buffer_bytes(),
            progress: request.is_on("send_progress_in_http_headers"),
            began,
            clock: front.clock,
            server: server_info(&front.info, &request),
        };
        let answer = Answer::new(options, head, spool);
        let text = match text {
            Ok(text) => text,
            Err(UploadError::Disconnected) => return,
            Err(UploadError::Damaged(exception)) => {
                upload.drain();
                return answer.fail(&exception);
            }
        };
        let replace = request.is_on("replace_running_query");
        let query = Query {
            engine: &front.engine,
            request: &request,
            sessions: &front.sessions,
            user: &user,
            run: &run,
            query_id: &query_id,
            spill,
        };
        match front.running.begin(&query_id, &run, replace, &front.engine) {
            Ok(guard) => query.run(&text, &mut upload, answer, guard),
            Err(exception) => {
                upload.drain();
                answer.fail(&exception);
            }
        }
    }

    /// Reads the body up to the data of an insert.
    fn read_text(&mut self, upload: &mut Upload) -> Result<QueryText, UploadError> {
        let QueryInput { request, content_type, coding } = &mut self.input;
        if let Some(coding) = *coding {
            upload.decode(coding)?;
        }
        if let Some(boundary) = boundary(content_type) {
            let mut body = Vec::new();
            while let Some(piece) = upload.next_piece()? {
                body.extend_from_slice(&piece);
                if body.len() > FORM_BYTES_MAX {
                    let text = "The form is larger than 16 MiB";
                    return Err(Exception::new(408, text, "BAD_REQUEST_PARAMETER").into());
                }
            }
            request.add_form(multipart_form::fields(&body, &boundary)?)?;
        } else if request.decompress {
            upload.decompress();
        }
        QueryText::read(&request.query, upload)
    }
}

fn compression(request: &QueryRequest) -> AnswerCompression {
    match request.coding() {
        _ if request.compress => AnswerCompression::Blocks,
        Some((coding, level)) => AnswerCompression::Coding(coding, level),
        None => AnswerCompression::None,
    }
}

/// The server in the time zone that the request sets.
fn server_info(info: &ServerInfo, request: &QueryRequest) -> ServerInfo {
    let zone = request.setting("session_timezone").filter(|zone| !zone.is_empty());
    ServerInfo { timezone: zone.unwrap_or(&info.timezone).to_owned(), ..info.clone() }
}
