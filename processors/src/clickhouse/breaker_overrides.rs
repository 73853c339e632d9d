//! The table of overrides of the storm breaker.

use broker::ServerError;

use crate::clickhouse::server::{Server, server_error};
use crate::run::sink::BreakerOverride;

/// Every override for a topic.
///
/// # Errors
/// The server's refusal.
pub async fn overrides(server: &Server, topic: &str) -> Result<Vec<BreakerOverride>, ServerError> {
    let client = server.client();
    let query = client.query(
        "SELECT kafka_topic, kafka_partition, first_offset, last_offset, reason \
         FROM breaker_overrides FINAL WHERE kafka_topic = ? ORDER BY ALL",
    );
    query.bind(topic).fetch_all().await.map_err(server_error)
}

/// Adds an override.
///
/// # Errors
/// The server's refusal.
pub async fn add_override(server: &Server, added: &BreakerOverride) -> Result<(), ServerError> {
    let insert = server.client().insert::<BreakerOverride>("breaker_overrides").await;
    let mut insert = insert.map_err(server_error)?;
    insert.write(added).await.map_err(server_error)?;
    insert.end().await.map_err(server_error)
}
