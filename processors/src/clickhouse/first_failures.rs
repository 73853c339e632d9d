//! The dead letters of origins themselves, which are not those of their copies. The writer of a record may
//! forge the headers of a copy, and with them a newer failure of any origin.

use std::collections::HashMap;

use broker::ServerError;
use clickhouse::Row;
use records::dead_letters::origin::Origin;
use records::dead_letters::redrive_decision::LetterLocation;
use serde::Deserialize;

use crate::clickhouse::origin_columns::{ORIGIN, is_one_of, naming_client, origin};
use crate::clickhouse::server::{Server, server_error};

#[derive(Row, Deserialize)]
struct FailureRow {
    topic_name: String,
    origin_partition: u32,
    origin_offset: u64,
    logged_at_ms: i64,
    letter_topic_name: String,
    letter_partition: u32,
    letter_offset: u64,
}

/// Where the complete dead letters of these origins are. The result has no entry for an origin of which the
/// table has the failures of copies only, or a stub.
///
/// # Errors
/// The server's refusal.
pub async fn first_failures(
    server: &Server,
    origins: &[&Origin],
) -> Result<HashMap<Origin, LetterLocation>, ServerError> {
    if origins.is_empty() {
        return Ok(HashMap::new());
    }
    let text = format!(
        "SELECT {ORIGIN}, toString(letter_topic) AS letter_topic_name, letter_partition, letter_offset \
         FROM dead_letter_versions FINAL WHERE redrive = 0 AND stub = '' AND {}",
        is_one_of(origins.iter().copied())
    );
    let client = naming_client(server);
    let rows = client.query_raw(&text).fetch_all::<FailureRow>().await.map_err(server_error)?;
    let entry = |row: FailureRow| {
        let key = origin(row.topic_name, row.origin_partition, row.origin_offset, row.logged_at_ms);
        let (topic, partition, offset) =
            (row.letter_topic_name, row.letter_partition, row.letter_offset);
        (key, LetterLocation { topic, partition, offset })
    };
    Ok(rows.into_iter().map(entry).collect())
}
