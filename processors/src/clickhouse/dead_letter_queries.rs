//! Queries of the view `dead_letters`: groups, a list, a count.

use broker::ServerError;
use clap::ValueEnum as _;
use clickhouse::Row;
use records::dead_letters::origin::Origin;
use records::dead_letters::state::DeadLetterState;
use serde::Deserialize;

use crate::clickhouse::server::{Server, server_error};

/// The columns of [`LetterRow`].
const COLUMNS: &str = "toString(origin_topic) AS topic, origin_partition, origin_offset, \
     toUnixTimestamp64Milli(origin_logged_at) AS logged_at_ms, redrive, \
     toUInt64(redrives) AS sent_copies, toString(state) AS state_name, toString(code) AS error_code, \
     toString(stage) AS error_stage, message, pattern, toString(group_id) AS letter_group, schema_id, \
     toString(stub) AS stub_kind, last_offset, toString(letter_topic) AS copy_topic, letter_partition, \
     letter_offset, value_bytes, toUnixTimestamp64Milli(first_failed_at) AS first_failed_at_ms, \
     toUnixTimestamp64Milli(last_failed_at) AS last_failed_at_ms, job";

/// One row of the view: an origin, its newest failure, and its state.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ListedLetter {
    /// The record that failed first.
    pub origin: Origin,
    /// 0: the origin itself failed last; n: its n-th copy did.
    pub redrive: u32,
    /// How many copies were sent.
    pub redrives: u64,
    /// State.
    pub state: DeadLetterState,
    /// Error code.
    pub code: String,
    /// Stage that failed.
    pub stage: String,
    /// Error message.
    pub message: String,
    /// The message without its numbers, ids and quoted texts.
    pub pattern: String,
    /// Id of its group.
    pub group_id: String,
    /// In the frame of the value; 0 without a frame.
    pub schema_id: u32,
    /// `record`, `batch`: only lengths and hashes were kept; empty: the record is complete.
    pub stub: String,
    /// Last offset of a batch that cannot be read.
    pub last_offset: u64,
    /// Dead-letter topic.
    pub letter_topic: String,
    /// Partition of the newest dead letter.
    pub letter_partition: u32,
    /// Its offset.
    pub letter_offset: u64,
    /// Length of the record's value.
    pub value_bytes: u64,
    /// First failure, milliseconds since 1970.
    pub first_failed_at_ms: i64,
    /// Newest failure.
    pub last_failed_at_ms: i64,
    /// The job that sent it last; empty: none.
    pub job: String,
}

#[derive(Row, Deserialize)]
struct LetterRow {
    topic: String,
    origin_partition: u32,
    origin_offset: u64,
    logged_at_ms: i64,
    redrive: u32,
    sent_copies: u64,
    state_name: String,
    error_code: String,
    error_stage: String,
    message: String,
    pattern: String,
    letter_group: String,
    schema_id: u32,
    stub_kind: String,
    last_offset: u64,
    copy_topic: String,
    letter_partition: u32,
    letter_offset: u64,
    value_bytes: u64,
    first_failed_at_ms: i64,
    last_failed_at_ms: i64,
    job: String,
}

impl LetterRow {
    fn letter(self) -> Result<ListedLetter, ServerError> {
        let state = DeadLetterState::from_str(&self.state_name, false).map_err(|_| {
            let text = format!(
                "the view dead_letters has the state {:?}, which this version does not know",
                self.state_name
            );
            ServerError::fatal("clickhouse_schema", text)
        })?;
        Ok(ListedLetter {
            origin: Origin {
                topic: self.topic,
                partition: self.origin_partition,
                offset: self.origin_offset,
                logged_at_ms: self.logged_at_ms,
            },
            redrive: self.redrive,
            redrives: self.sent_copies,
            state,
            code: self.error_code,
            stage: self.error_stage,
            message: self.message,
            pattern: self.pattern,
            group_id: self.letter_group,
            schema_id: self.schema_id,
            stub: self.stub_kind,
            last_offset: self.last_offset,
            letter_topic: self.copy_topic,
            letter_partition: self.letter_partition,
            letter_offset: self.letter_offset,
            value_bytes: self.value_bytes,
            first_failed_at_ms: self.first_failed_at_ms,
            last_failed_at_ms: self.last_failed_at_ms,
            job: self.job,
        })
    }
}

/// Calls `take` with each dead letter that meets `condition`, those that failed last first, at most
/// `limit`; keeps none. `condition` is that of a [`DeadLetterFilter`].
///
/// # Errors
/// The server's refusal, or that of `take`.
///
/// [`DeadLetterFilter`]: crate::clickhouse::dead_letter_filter::DeadLetterFilter
pub async fn list(
    server: &Server,
    condition: &str,
    limit: u64,
    mut take: impl FnMut(ListedLetter) -> Result<(), ServerError>,
) -> Result<(), ServerError> {
    let client = server.client();
    let query = client.query_raw(&format!(
        "SELECT {COLUMNS} FROM dead_letters WHERE {condition} \
         ORDER BY last_failed_at DESC, origin_topic, origin_partition, origin_offset DESC LIMIT {limit}"
    ));
    let mut rows = query.fetch::<LetterRow>().map_err(server_error)?;
    while let Some(row) = rows.next().await.map_err(server_error)? {
        take(row.letter()?)?;
    }
    Ok(())
}

/// How many dead letters meet `condition`.
///
/// # Errors
/// The server's refusal.
pub async fn count(server: &Server, condition: &str) -> Result<u64, ServerError> {
    let client = server.client();
    let text = format!("SELECT count() FROM dead_letters WHERE {condition}");
    client.query_raw(&text).fetch_one().await.map_err(server_error)
}

/// Dead letters of one error code, message pattern and schema id.
#[derive(Debug, Clone, PartialEq, Eq, Row, Deserialize)]
pub struct LetterGroup {
    /// Its id.
    pub id: String,
    /// Error code.
    pub error_code: String,
    /// Pattern of the messages.
    pub message_pattern: String,
    /// Schema id of the values; 0 without a frame.
    pub schema: u32,
    /// Dead letters.
    pub letters: u64,
    /// How many are in each state, in the order of [`DeadLetterState::ALL`].
    pub states: Vec<u64>,
    /// First failure, milliseconds since 1970.
    pub first_ms: i64,
    /// Newest failure.
    pub last_ms: i64,
    /// Origin of the newest failure.
    pub sample: String,
}

/// The groups of the dead letters that meet `condition`. The group with the most unresolved dead
/// letters is the first: those that are neither resolved nor discarded.
///
/// # Errors
/// The server's refusal.
pub async fn groups(server: &Server, condition: &str) -> Result<Vec<LetterGroup>, ServerError> {
    let states = DeadLetterState::ALL.map(|state| format!("countIf(state = '{state}')")).join(", ");
    let client = server.client();
    let query = client.query_raw(&format!(
        "SELECT toString(group_id) AS id, toString(any(code)) AS error_code, \
         any(pattern) AS message_pattern, any(schema_id) AS schema, count() AS letters, \
         [{states}] AS states, toUnixTimestamp64Milli(min(first_failed_at)) AS first_ms, \
         toUnixTimestamp64Milli(max(last_failed_at)) AS last_ms, \
         argMax(concat(origin_topic, ':', toString(origin_partition), ':', toString(origin_offset), ':', \
         toString(toUnixTimestamp64Milli(origin_logged_at))), last_failed_at) AS sample \
         FROM dead_letters WHERE {condition} GROUP BY group_id \
         ORDER BY countIf(state NOT IN ('resolved', 'discarded')) DESC, letters DESC, id"
    ));
    query.fetch_all().await.map_err(server_error)
}
