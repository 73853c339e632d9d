//! The requests of operators that change the limits of a replay, in the table of requests. They hold for every
//! worker, and also after the job is resumed.

use broker::ServerError;
use records::replay::throttle_limits::{LimitChange, ThrottleLimits};

use crate::clickhouse::job_table::{FirstRequest, add_requests, requests_from};
use crate::clickhouse::server::Server;

/// Adds requests, after all others of the job.
///
/// # Errors
/// The server's refusal; the requests may be stored or not.
pub(crate) async fn add_changes(
    server: &Server,
    id: &str,
    changes: &[LimitChange],
    actor: &str,
) -> Result<(), ServerError> {
    let requests: Vec<_> = changes.iter().map(|change| (change.name(), change.value())).collect();
    add_requests(server, id, &requests, actor).await
}

/// The limits of a replay, by all requests since it was planned.
///
/// # Errors
/// The server's refusal.
pub(crate) async fn limits(server: &Server, id: &str) -> Result<ThrottleLimits, ServerError> {
    let rows = requests_from(server, id, FirstRequest::default()).await?;
    Ok(ThrottleLimits::after(rows.iter().map(|(name, value)| (name.as_str(), value.as_str()))))
}
