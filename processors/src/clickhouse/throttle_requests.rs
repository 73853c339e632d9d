//! The requests of operators that change the limits of a replay, in the table of requests. They hold from the
//! time of the request on, for every worker and also after the job is resumed.

use broker::ServerError;
use records::replay::throttle_limits::{LimitChange, ThrottleLimits};

use crate::clickhouse::job_table::{RequestRow, durable, in_time};
use crate::clickhouse::server::Server;

/// Adds requests. The server sets their time.
///
/// # Errors
/// The server's refusal; the requests may be stored or not.
pub(crate) async fn add_changes(
    server: &Server,
    id: &str,
    changes: &[LimitChange],
    actor: &str,
) -> Result<(), ServerError> {
    let values: Vec<_> = changes.iter().map(|change| (change.name(), change.value())).collect();
    in_time(async {
        let mut insert = durable(server).insert::<RequestRow<'_>>("job_requests").await?;
        for (request, value) in &values {
            insert.write(&RequestRow { id, request, value, actor }).await?;
        }
        insert.end().await
    })
    .await
}

/// The limits of a replay, by all requests since it was planned.
///
/// # Errors
/// The server's refusal.
pub(crate) async fn limits(server: &Server, id: &str) -> Result<ThrottleLimits, ServerError> {
    let client = server.client();
    let sql = "SELECT request, value FROM job_requests WHERE id = ? ORDER BY at";
    let rows = in_time(client.query(sql).bind(id).fetch_all::<(String, String)>()).await?;
    Ok(ThrottleLimits::after(rows.iter().map(|(name, value)| (name.as_str(), value.as_str()))))
}
