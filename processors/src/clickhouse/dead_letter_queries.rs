//! Queries of the view `dead_letters`: groups, a list, a count.

use broker::ServerError;
use clap::ValueEnum as _;
use clickhouse::Row;
use records::dead_letters::origin::Origin;
use records::dead_letters::state::DeadLetterState;
use serde::Deserialize;

use crate::clickhouse::origin_columns::{KEY, ORIGIN, is_one_of, naming_client, origin};
use crate::clickhouse::server::{Server, server_error};

/// The most origins of [`newest`], which the query of a list then names.
pub const NEWEST_MAX: u64 = 500;

/// The order of a list.
const NEWEST_FIRST: &str =
    "ORDER BY last_failed_at DESC, origin_topic, origin_partition, origin_offset DESC";

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
    let client = naming_client(server);
    let query = client.query_raw(&format!(
        "SELECT {COLUMNS} FROM dead_letters WHERE {condition} {NEWEST_FIRST} LIMIT {limit}"
    ));
    let mut rows = query.fetch::<LetterRow>().map_err(server_error)?;
    while let Some(row) = rows.next().await.map_err(server_error)? {
        take(row.letter()?)?;
    }
    Ok(())
}

/// The dead letters of a condition that failed last.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewestLetters {
    /// The condition that a dead letter is one of them.
    pub condition: String,
    /// How many dead letters meet the condition, these included.
    pub matching: u64,
}

#[derive(Row, Deserialize)]
struct NewestRow {
    topic_name: String,
    origin_partition: u32,
    origin_offset: u64,
    logged_at_ms: i64,
    matching: u64,
}

/// Finds those of the dead letters that meet `condition` that failed last, at most `limit`, which is
/// [`NEWEST_MAX`] at most, and counts all. A [`list`] of them costs the server much less than one of the
/// condition, for which it makes every row with all columns.
///
/// # Errors
/// The server's refusal.
pub async fn newest(
    server: &Server,
    condition: &str,
    limit: u64,
) -> Result<NewestLetters, ServerError> {
    let limit = limit.min(NEWEST_MAX);
    let client = server.client();
    let query = client.query_raw(&format!(
        "SELECT {ORIGIN}, count() OVER () AS matching FROM dead_letters WHERE {condition} \
         {NEWEST_FIRST} LIMIT {limit}"
    ));
    let rows = query.fetch_all::<NewestRow>().await.map_err(server_error)?;
    let matching = rows.first().map_or(0, |row| row.matching);
    let origins = rows.into_iter().map(|row| {
        origin(row.topic_name, row.origin_partition, row.origin_offset, row.logged_at_ms)
    });
    Ok(NewestLetters { condition: condition_of(condition, &origins.collect::<Vec<_>>()), matching })
}

/// The condition that a dead letter is one of `origins`, and still meets `condition`.
fn condition_of(condition: &str, origins: &[Origin]) -> String {
    if origins.is_empty() {
        return "false".to_owned();
    }
    format!("{} AND ({condition})", is_one_of(origins))
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
    // The texts of a group are those of any of its failures, which the id is a hash of: the view would find
    // them for every dead letter.
    let query = client.query_raw(&format!(
        "SELECT toString(group_id) AS id, texts.code AS error_code, texts.pattern AS message_pattern, \
         texts.schema AS schema, letters, states, first_ms, last_ms, \
         concat(newest.1, ':', toString(newest.2), ':', toString(newest.3), ':', \
         toString(toUnixTimestamp64Milli(newest.4))) AS sample FROM \
         (SELECT group_id, count() AS letters, [{states}] AS states, \
         countIf(state NOT IN ('resolved', 'discarded')) AS unresolved, \
         toUnixTimestamp64Milli(min(first_failed_at)) AS first_ms, \
         toUnixTimestamp64Milli(max(last_failed_at)) AS last_ms, argMax(({KEY}), last_failed_at) AS newest \
         FROM dead_letters WHERE {condition} GROUP BY group_id) AS counts \
         INNER JOIN (SELECT group_id, toString(any(code)) AS code, any(pattern) AS pattern, \
         any(schema_id) AS schema FROM dead_letter_versions GROUP BY group_id) AS texts USING (group_id) \
         ORDER BY unresolved DESC, letters DESC, id"
    ));
    query.fetch_all().await.map_err(server_error)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_newest_dead_letters_still_meet_the_condition_that_found_them() {
        assert_eq!(condition_of("a OR b", &[]), "false");
        let origins: [Origin; 2] = ["t:3:41:1000", "t:3:42:1000"].map(|text| text.parse().unwrap());
        let text = condition_of("a OR b", &origins);
        assert!(
            text.ends_with("['t', 't'], [3, 3], [41, 42], [1000, 1000])) AND (a OR b)"),
            "{text}"
        );
    }
}
