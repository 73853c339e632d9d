//! The table of repairs: values that are sent instead of the original ones. The newest one of an origin
//! counts.

use std::collections::HashMap;

use broker::ServerError;
use clickhouse::Row;
use records::dead_letters::origin::Origin;
use records::dead_letters::repair::{KeyFacts, Repaired};
use serde::{Deserialize, Serialize};
use serde_bytes::{ByteBuf, Bytes};
use uuid::Uuid;

use crate::clickhouse::insert_settings::{PINNED, WAIT};
use crate::clickhouse::origin_columns::{ORIGIN, is_one_of, naming_client, origin};
use crate::clickhouse::server::{Server, server_error};

/// A stored repair.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredRepair {
    /// What it changed: `edit`, or the name of a [`Repair`].
    ///
    /// [`Repair`]: records::dead_letters::repair::Repair
    pub repair: String,
    /// The value that every later redrive sends, and its key facts.
    pub repaired: Repaired,
}

#[derive(Row, Serialize)]
struct InsertedRepair<'a> {
    origin_topic: &'a str,
    origin_partition: u32,
    origin_offset: u64,
    origin_logged_at: i64,
    value: &'a Bytes,
    repair: &'a str,
    event_id: [u8; 16],
    occurred_at: i64,
    actor: &'a str,
}

/// Adds a repair, which replaces an earlier one of the origin. `Ok` means that it is durable.
///
/// # Errors
/// The server's refusal.
pub async fn add_repair(
    server: &Server,
    origin: &Origin,
    added: &StoredRepair,
    actor: &str,
) -> Result<(), ServerError> {
    add_repairs(server, &[(origin, added)], actor).await
}

/// As [`add_repair`], of several origins in one insert.
///
/// # Errors
/// The server's refusal.
pub async fn add_repairs(
    server: &Server,
    added: &[(&Origin, &StoredRepair)],
    actor: &str,
) -> Result<(), ServerError> {
    // Without it, the client asks for the columns before each insert; a migration fixes them.
    let mut client = server.client().with_validation(false);
    for (name, value) in PINNED.iter().chain([&WAIT]) {
        client = client.with_setting(*name, *value);
    }
    let insert = client.insert::<InsertedRepair<'_>>("dead_letter_repairs").await;
    let mut insert = insert.map_err(server_error)?;
    for (origin, added) in added {
        let row = InsertedRepair {
            origin_topic: &origin.topic,
            origin_partition: origin.partition,
            origin_offset: origin.offset,
            origin_logged_at: origin.logged_at_ms,
            value: Bytes::new(&added.repaired.value),
            repair: &added.repair,
            event_id: added.repaired.key_facts.event_id.into_bytes(),
            occurred_at: added.repaired.key_facts.occurred_at_us,
            actor,
        };
        insert.write(&row).await.map_err(server_error)?;
    }
    insert.end().await.map_err(server_error)
}

#[derive(Row, Deserialize)]
struct RepairRow {
    topic_name: String,
    origin_partition: u32,
    origin_offset: u64,
    logged_at_ms: i64,
    change: String,
    value: ByteBuf,
    event_id: [u8; 16],
    occurred_at_us: i64,
}

/// The stored repairs of these origins. The result has no entry for an origin without one.
///
/// # Errors
/// The server's refusal.
pub async fn repairs_of<'o>(
    server: &Server,
    origins: impl IntoIterator<Item = &'o Origin>,
) -> Result<HashMap<Origin, StoredRepair>, ServerError> {
    let mut origins = origins.into_iter().peekable();
    if origins.peek().is_none() {
        return Ok(HashMap::new());
    }
    let text = format!(
        "SELECT {ORIGIN}, toString(repair) AS change, value, event_id, \
         toUnixTimestamp64Micro(occurred_at) AS occurred_at_us \
         FROM dead_letter_repairs FINAL WHERE {}",
        is_one_of(origins)
    );
    let client = naming_client(server);
    let rows = client.query_raw(&text).fetch_all::<RepairRow>().await.map_err(server_error)?;
    let entry = |row: RepairRow| {
        let key = origin(row.topic_name, row.origin_partition, row.origin_offset, row.logged_at_ms);
        let event_id = Uuid::from_bytes(row.event_id);
        let key_facts = KeyFacts { event_id, occurred_at_us: row.occurred_at_us };
        let repaired = Repaired { value: row.value.into_vec(), key_facts };
        (key, StoredRepair { repair: row.change, repaired })
    };
    Ok(rows.into_iter().map(entry).collect())
}
