//! How far a query is, while it runs and its client has nothing yet: asked of the engine from
//! time to time, and told in headers, as ClickHouse does.

use std::sync::Arc;
use std::time::Duration;

use hyper::Response;
use tokio::sync::oneshot;

use crate::answer::{AnswerBody, summary};
use crate::early_headers::Early;
use crate::engine::Engine;
use crate::http::Front;
use crate::request::Request;
use crate::running_queries::is_named;
use crate::statement_class::Counts;

/// ClickHouse's own default.
const EVERY: Duration = Duration::from_millis(100);
/// No client wants it more often.
const EVERY_MIN: Duration = Duration::from_millis(10);

/// How often the request wants to be told; `None` if it does not.
pub(crate) fn interval(asked: &Request) -> Option<Duration> {
    let every = asked.setting("http_headers_progress_interval_ms");
    let every = every.and_then(|text| text.parse().ok()).map_or(EVERY, Duration::from_millis);
    asked.is_on("send_progress_in_http_headers").then_some(every.max(EVERY_MIN))
}

/// Waits for an answer, and tells of the progress until it begins.
pub(crate) async fn tell(
    front: &Arc<Front>,
    name: &str,
    (early, every): (&Early, Duration),
    mut answered: oneshot::Receiver<Response<AnswerBody>>,
) -> Result<Response<AnswerBody>, oneshot::error::RecvError> {
    loop {
        tokio::select! {
            biased;
            answer = &mut answered => return answer,
            () = tokio::time::sleep(every) => {}
        }
        let (front, name) = (Arc::clone(front), name.to_owned());
        let progress = tokio::task::spawn_blocking(move || ask(&front.engine, &name));
        if let Ok(Some(progress)) = progress.await {
            early.tell("X-ClickHouse-Progress", &progress);
        }
    }
}

/// `None` if the query does not run yet, or any more.
fn ask(engine: &Engine, name: &str) -> Option<String> {
    let sql = format!(
        "SELECT read_rows, read_bytes, written_rows, written_bytes, total_rows_approx, \
         toUInt64(elapsed * 1e9) FROM system.processes WHERE {}",
        is_named(name)
    );
    let mut connection = engine.connect().ok()?;
    let output = connection.execute(sql.as_bytes(), "TabSeparatedRaw", &[]).ok()?;
    let text = String::from_utf8_lossy(output.bytes()).into_owned();
    let numbers: Vec<u64> = text.split_whitespace().flat_map(str::parse).collect();
    let [rows_read, bytes_read, rows_written, bytes_written, total, elapsed] = numbers[..] else {
        return None;
    };
    let counts = Counts { rows_read, bytes_read, rows_written, bytes_written, ..Counts::default() };
    Some(summary(counts, total, Duration::from_nanos(elapsed)))
}
