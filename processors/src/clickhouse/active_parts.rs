//! The active parts of the table of clicks.

use std::time::Duration;

use broker::ServerError;

use crate::clickhouse::server::{Server, within};

/// Bounds a query.
const TIMEOUT: Duration = Duration::from_secs(4);

/// The number of active parts of the partition that has most of them.
///
/// # Errors
/// The server's refusal; retryable while it does not answer.
pub(crate) async fn most_active_parts(server: &Server) -> Result<u64, ServerError> {
    let client = server.client();
    let query = client.query(
        "SELECT max(parts) FROM (SELECT count() AS parts FROM system.parts WHERE active \
         AND database = currentDatabase() AND table = 'click_versions' GROUP BY partition_id)",
    );
    within(TIMEOUT, query.fetch_one::<u64>()).await
}
