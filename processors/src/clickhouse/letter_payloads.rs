//! The bytes of dead letters that the table of payloads holds.

use std::collections::HashMap;

use broker::ServerError;
use clickhouse::Row;
use records::dead_letters::origin::Origin;
use records::dead_letters::redrive_decision::SelectedLetter;
use records::dead_letters::redriven_copy::RecordBytes;
use serde::Deserialize;
use serde_bytes::ByteBuf;

use crate::clickhouse::letter_history::KeptRecord;
use crate::clickhouse::origin_columns::{ORIGIN, arrays, naming_client, origin};
use crate::clickhouse::server::{Server, server_error};

#[derive(Row, Deserialize)]
struct PayloadRow {
    topic_name: String,
    origin_partition: u32,
    origin_offset: u64,
    logged_at_ms: i64,
    redrive: u32,
    is_cut: bool,
    value: Option<ByteBuf>,
    key: Option<ByteBuf>,
    own_headers: Vec<(String, Option<ByteBuf>)>,
}

/// What the table of payloads holds of these dead letters, by origin and number: of the origin itself (0),
/// and of the newest copy.
///
/// # Errors
/// The server's refusal.
pub async fn payloads(
    server: &Server,
    letters: &[&SelectedLetter],
) -> Result<HashMap<(Origin, u32), KeptRecord>, ServerError> {
    let kept = letters.iter().filter(|letter| letter.stub != "batch");
    let wanted: Vec<_> = kept.flat_map(|letter| keys(letter)).collect();
    if wanted.is_empty() {
        return Ok(HashMap::new());
    }
    let origins = arrays(wanted.iter().map(|(origin, _)| *origin));
    let numbers: Vec<_> = wanted.iter().map(|(_, number)| number.to_string()).collect();
    let text = format!(
        "SELECT {ORIGIN}, redrive, is_cut, value, key, \
         CAST(headers AS Array(Tuple(String, Nullable(String)))) AS own_headers \
         FROM dead_letter_payloads FINAL WHERE \
         (origin_topic, origin_partition, origin_offset, toUnixTimestamp64Milli(origin_logged_at), redrive) \
         IN (arrayZip({origins}, [{}]))",
        numbers.join(", ")
    );
    let client = naming_client(server);
    let rows = client.query_raw(&text).fetch_all::<PayloadRow>().await.map_err(server_error)?;
    let record = |row: PayloadRow| {
        let bytes = |bytes: Option<ByteBuf>| bytes.map(ByteBuf::into_vec);
        let headers = row.own_headers.into_iter().map(|(name, value)| (name, bytes(value)));
        let record = RecordBytes {
            key: bytes(row.key),
            value: bytes(row.value),
            headers: headers.collect(),
        };
        let origin =
            origin(row.topic_name, row.origin_partition, row.origin_offset, row.logged_at_ms);
        ((origin, row.redrive), KeptRecord { bytes: record, is_cut: row.is_cut })
    };
    Ok(rows.into_iter().map(record).collect())
}

/// The keys of the rows of a dead letter: its origin, and their numbers.
fn keys(letter: &SelectedLetter) -> impl Iterator<Item = (&Origin, u32)> {
    let copy = Some(letter.redrive).filter(|number| *number > 0);
    [0].into_iter().chain(copy).map(move |number| (&letter.origin, number))
}
