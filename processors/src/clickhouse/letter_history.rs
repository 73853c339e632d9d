//! What the tables hold about one dead letter beside its row of the view.

use broker::ServerError;
use clickhouse::Row;
use records::dead_letters::origin::Origin;
use records::dead_letters::redriven_copy::RecordBytes;
use serde::Deserialize;
use serde_bytes::ByteBuf;

use crate::clickhouse::dead_letter_filter::OriginArgument;
use crate::clickhouse::server::{Server, server_error};

/// Failures, events and bytes of one dead letter.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct LetterHistory {
    /// Its failures, by the number of the redrive; the newest 1,000.
    pub failures: Vec<LetterFailure>,
    /// What was done with it, in the order of time; the newest 1,000.
    pub events: Vec<LetterEvent>,
    /// The record that failed last; `None` once the table has deleted its bytes.
    pub record: Option<KeptRecord>,
    /// The value that later redrives send instead.
    pub repair: Option<LetterRepair>,
}

/// The most failures, and the most events.
const ROWS_MAX: u32 = 1_000;

/// One failure.
#[derive(Debug, Clone, PartialEq, Eq, Row, Deserialize)]
pub struct LetterFailure {
    /// 0: the origin itself failed; n: its n-th copy.
    pub redrive: u32,
    /// Milliseconds since 1970.
    pub failed_at_ms: i64,
    /// Error code.
    pub error_code: String,
    /// Error message.
    pub message: String,
    /// The record that failed.
    pub record_topic: String,
    /// Likewise.
    pub failed_partition: u32,
    /// Likewise.
    pub failed_offset: u64,
    /// Its dead letter.
    pub copy_topic: String,
    /// Likewise.
    pub letter_partition: u32,
    /// Likewise.
    pub letter_offset: u64,
}

/// One event.
#[derive(Debug, Clone, PartialEq, Eq, Row, Deserialize)]
pub struct LetterEvent {
    /// What happened.
    pub event: String,
    /// Number of the copy; 0 where there is none.
    pub redrive: u32,
    /// Job; empty where there is none.
    pub job: String,
    /// User.
    pub actor: String,
    /// Why.
    pub reason: String,
    /// Milliseconds since 1970.
    pub at_ms: i64,
}

/// The newest repair.
#[derive(Debug, Clone, PartialEq, Eq, Row, Deserialize)]
pub struct LetterRepair {
    /// What it changed.
    pub change: String,
    /// The value that it made.
    pub value: ByteBuf,
    /// User.
    pub actor: String,
    /// Milliseconds since 1970.
    pub at_ms: i64,
}

/// A record as the table of payloads keeps it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeptRecord {
    /// Its bytes.
    pub bytes: RecordBytes,
    /// Whether value, key or headers of the record are longer.
    pub is_cut: bool,
}

#[derive(Row, Deserialize)]
struct KeptRow {
    value: Option<ByteBuf>,
    is_cut: bool,
    key: Option<ByteBuf>,
    own_headers: Vec<(ByteBuf, Option<ByteBuf>)>,
}

impl KeptRow {
    fn record(self) -> KeptRecord {
        let bytes = |bytes: Option<ByteBuf>| bytes.map(ByteBuf::into_vec);
        let name = |name: &ByteBuf| String::from_utf8_lossy(name).into_owned();
        let headers = self.own_headers.into_iter().map(|(own, value)| (name(&own), bytes(value)));
        let headers = headers.collect();
        let bytes = RecordBytes { key: bytes(self.key), value: bytes(self.value), headers };
        KeptRecord { bytes, is_cut: self.is_cut }
    }
}

/// Reads it; `redrive` is the number of the copy whose bytes are wanted.
///
/// # Errors
/// The server's refusal.
pub async fn letter_history(
    server: &Server,
    origin: &Origin,
    redrive: u32,
) -> Result<LetterHistory, ServerError> {
    let client = server.client();
    let key = OriginArgument::Exact(origin.clone()).sql("");
    let failures = client.query(&format!(
        "SELECT redrive, toUnixTimestamp64Milli(failed_at) AS failed_at_ms, \
         toString(code) AS error_code, message, toString(failed_topic) AS record_topic, \
         failed_partition, failed_offset, toString(letter_topic) AS copy_topic, letter_partition, \
         letter_offset FROM dead_letter_versions FINAL WHERE {key} \
         ORDER BY redrive DESC LIMIT {ROWS_MAX}"
    ));
    let mut failures: Vec<LetterFailure> = failures.fetch_all().await.map_err(server_error)?;
    failures.reverse();
    let events = client.query(&format!(
        "SELECT toString(kind) AS event, redrive, job, actor, reason, \
         toUnixTimestamp64Milli(toDateTime64(at, 3, 'UTC')) AS at_ms \
         FROM dead_letter_events WHERE {key} ORDER BY at DESC, redrive DESC LIMIT {ROWS_MAX}"
    ));
    let mut events: Vec<LetterEvent> = events.fetch_all().await.map_err(server_error)?;
    events.reverse();
    let kept = client.query(&format!(
        "SELECT value, is_cut, key, \
         CAST(headers AS Array(Tuple(String, Nullable(String)))) AS own_headers \
         FROM dead_letter_payloads FINAL WHERE {key} AND redrive = {redrive}"
    ));
    let kept: Option<KeptRow> = kept.fetch_optional().await.map_err(server_error)?;
    let repair = client.query(&format!(
        "SELECT toString(repair) AS change, value, actor, \
         toUnixTimestamp64Milli(toDateTime64(at, 3, 'UTC')) AS at_ms \
         FROM dead_letter_repairs FINAL WHERE {key}"
    ));
    let repair = repair.fetch_optional().await.map_err(server_error)?;
    Ok(LetterHistory { failures, events, record: kept.map(KeptRow::record), repair })
}
