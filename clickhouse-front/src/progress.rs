//! The progress of a query that runs and has sent nothing yet: read from the engine periodically,
//! and sent in headers, as ClickHouse does.

use std::sync::Arc;
use std::time::Duration;

use hyper::Response;
use tokio::sync::oneshot;

use crate::answer::{AnswerBody, summary};
use crate::engine::Engine;
use crate::front::Front;
use crate::http::early_headers::EarlyHeaders;
use crate::query::counts::QueryCounts;
use crate::request::QueryRequest;
use crate::running_queries::name_condition;

/// ClickHouse's own default.
const INTERVAL: Duration = Duration::from_millis(100);
/// The shortest interval that a client gets.
const INTERVAL_MIN: Duration = Duration::from_millis(10);

/// The interval at which the request asks for progress headers; `None` without them.
pub(crate) fn interval(request: &QueryRequest) -> Option<Duration> {
    let interval = request.setting("http_headers_progress_interval_ms");
    let interval =
        interval.and_then(|text| text.parse().ok()).map_or(INTERVAL, Duration::from_millis);
    request.is_on("send_progress_in_http_headers").then_some(interval.max(INTERVAL_MIN))
}

/// Waits for the head of an answer, and sends the progress every `interval` until then.
pub(crate) async fn send_until_answer(
    front: &Arc<Front>,
    query_id: &str,
    early: &EarlyHeaders,
    interval: Duration,
    mut answer: oneshot::Receiver<Response<AnswerBody>>,
) -> Result<Response<AnswerBody>, oneshot::error::RecvError> {
    loop {
        tokio::select! {
            biased;
            answer = &mut answer => return answer,
            () = tokio::time::sleep(interval) => {}
        }
        let (front, query_id) = (Arc::clone(front), query_id.to_owned());
        let progress = tokio::task::spawn_blocking(move || read(&front.engine, &query_id));
        if let Ok(Some(progress)) = progress.await {
            early.send("X-ClickHouse-Progress", &progress);
        }
    }
}

/// `None` if the query does not run yet, or has ended.
fn read(engine: &Engine, query_id: &str) -> Option<String> {
    let sql = format!(
        "SELECT read_rows, read_bytes, written_rows, written_bytes, total_rows_approx, \
         toUInt64(elapsed * 1e9) FROM system.processes WHERE {}",
        name_condition(query_id)
    );
    let mut connection = engine.connect().ok()?;
    let output = connection.execute(sql.as_bytes(), "TabSeparatedRaw", &[]).ok()?;
    let text = String::from_utf8_lossy(output.bytes()).into_owned();
    let numbers: Vec<u64> = text.split_whitespace().flat_map(str::parse).collect();
    let [rows_read, bytes_read, rows_written, bytes_written, total, elapsed] = numbers[..] else {
        return None;
    };
    let counts = QueryCounts {
        rows_read,
        bytes_read,
        rows_written,
        bytes_written,
        ..QueryCounts::default()
    };
    Some(summary(counts, total, Duration::from_nanos(elapsed)))
}
