//! The queries of a redrive: it selects dead letters, and reads them in pages, in the order of their
//! origins.

use std::collections::HashMap;

use broker::ServerError;
use clap::ValueEnum as _;
use clickhouse::Row;
use records::dead_letters::origin::Origin;
use records::dead_letters::redrive_decision::{LetterLocation, SelectedLetter};
use records::dead_letters::redrive_plan::RedrivePlan;
use records::dead_letters::state::DeadLetterState;
use serde::Deserialize;

use crate::clickhouse::insert_settings::{PINNED, WAIT};
use crate::clickhouse::origin_columns::{KEY, ORIGIN, follows, is_one_of, naming_client, origin};
use crate::clickhouse::server::{Server, server_error};
use crate::clickhouse::sql_text::quoted;

/// Dead letters of a page.
const PAGE: usize = 1_000;
/// Origins that are read of a job at once.
pub const ITEMS: usize = 10_000;

/// Selects the dead letters of a plan for a job: adds an event `selected` to each that has none, in one
/// statement. Returns how many the job has selected.
///
/// # Errors
/// The server's refusal. Repeat it then: what was selected stays so, and counts within the limit.
pub async fn select(server: &Server, job: &str, plan: &RedrivePlan) -> Result<u64, ServerError> {
    let selected = selected(server, job).await?;
    let limit = plan.limit.map(|limit| format!("LIMIT {}", limit.saturating_sub(selected)));
    let (id, actor, reason) = (quoted(job), quoted(&plan.actor), quoted(&plan.reason));
    let text = format!(
        "INSERT INTO dead_letter_events ({KEY}, kind, redrive, job, event_id, occurred_at, actor, reason) \
         SELECT {KEY}, 'selected', 0, {id}, toFixedString('', 16), \
         fromUnixTimestamp64Micro(toInt64(0), 'UTC'), {actor}, {reason} \
         FROM dead_letters WHERE {condition} AND ({KEY}) NOT IN \
         (SELECT {KEY} FROM dead_letter_events WHERE job = {id} AND kind = 'selected') \
         ORDER BY {KEY} {limit}",
        condition = plan.condition,
        limit = limit.unwrap_or_default(),
    );
    let mut client = server.client();
    for (name, value) in PINNED.iter().chain([&WAIT]) {
        client = client.with_setting(*name, *value);
    }
    client.query_raw(&text).execute().await.map_err(server_error)?;
    self::selected(server, job).await
}

async fn selected(server: &Server, job: &str) -> Result<u64, ServerError> {
    let text = format!(
        "SELECT uniqExact({KEY}) FROM dead_letter_events WHERE job = {} AND kind = 'selected'",
        quoted(job)
    );
    server.client().query_raw(&text).fetch_one().await.map_err(server_error)
}

#[derive(Row, Deserialize)]
struct ItemRow {
    topic_name: String,
    origin_partition: u32,
    origin_offset: u64,
    logged_at_ms: i64,
    announced: u32,
    selected_at_us: i64,
}

/// Dead letters that follow each other in the order of their origins.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Page {
    /// The dead letters.
    pub letters: Vec<SelectedLetter>,
    /// The last origin of the page; `None`: no dead letter is left.
    pub last: Option<Origin>,
}

/// A dead letter that a job has selected and neither sent nor skipped.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SelectedItem {
    /// The dead letter.
    pub origin: Origin,
    /// The number of the copy that the job announced, if it announced one.
    pub announced: Option<u32>,
    /// When the job selected it, microseconds since 1970 by the server's clock.
    pub selected_at_us: i64,
}

/// The next dead letters after `after` that a job has selected and neither sent nor skipped, at most
/// [`ITEMS`], in the order of their origins. The server reads all events of the job for them.
///
/// # Errors
/// The server's refusal.
pub async fn items_of_job(
    server: &Server,
    job: &str,
    after: Option<&Origin>,
) -> Result<Vec<SelectedItem>, ServerError> {
    let text = format!(
        "SELECT {ORIGIN}, maxIf(redrive, kind = 'pending') AS announced, \
         toUnixTimestamp64Micro(minIf(at, kind = 'selected')) AS selected_at_us \
         FROM dead_letter_events WHERE job = {} AND {} GROUP BY {KEY} \
         HAVING countIf(kind = 'selected') > 0 AND countIf(kind IN ('sent', 'skipped', 'parked')) = 0 \
         ORDER BY {KEY} LIMIT {ITEMS}",
        quoted(job),
        follows(after),
    );
    let client = server.client();
    let rows = client.query_raw(&text).fetch_all::<ItemRow>().await.map_err(server_error)?;
    let item = |row: ItemRow| {
        let ItemRow { topic_name, origin_partition, origin_offset, logged_at_ms, .. } = row;
        let origin = origin(topic_name, origin_partition, origin_offset, logged_at_ms);
        let announced = Some(row.announced).filter(|number| *number > 0);
        SelectedItem { origin, announced, selected_at_us: row.selected_at_us }
    };
    Ok(rows.into_iter().map(item).collect())
}

/// The dead letters of these items, of which there is at least one, in the order of their origins; none for
/// an item without a dead letter.
///
/// # Errors
/// The server's refusal.
pub async fn letters_of(
    server: &Server,
    items: &[SelectedItem],
) -> Result<Vec<SelectedLetter>, ServerError> {
    let condition = is_one_of(items.iter().map(|item| &item.origin));
    let mut letters = numbered_letters(server, &condition, items.len()).await?;
    let items: HashMap<_, _> = items.iter().map(|item| (&item.origin, item)).collect();
    for letter in &mut letters {
        let Some(item) = items.get(&letter.origin) else { continue };
        letter.announced = item.announced;
        letter.has_changed = letter.changed_at_us > item.selected_at_us;
    }
    Ok(letters)
}

/// The next dead letters after `after` that meet the condition of a plan, without a job.
///
/// # Errors
/// The server's refusal.
pub async fn page_of_plan(
    server: &Server,
    plan: &RedrivePlan,
    after: Option<&Origin>,
) -> Result<Page, ServerError> {
    let condition = format!("{} AND {}", plan.condition, follows(after));
    let letters = numbered_letters(server, &condition, PAGE).await?;
    let last = letters.last().map(|letter| letter.origin.clone());
    Ok(Page { letters, last })
}

#[derive(Row, Deserialize)]
struct LetterRow {
    topic_name: String,
    origin_partition: u32,
    origin_offset: u64,
    logged_at_ms: i64,
    state_name: String,
    error_code: String,
    redrive: u32,
    copies: u64,
    stub_kind: String,
    letter_topic_name: String,
    letter_partition: u32,
    letter_offset: u64,
    value_bytes: u64,
    first_failed_at_ms: i64,
    changed_at_us: i64,
}

#[derive(Row, Deserialize)]
struct LastCopyRow {
    topic_name: String,
    origin_partition: u32,
    origin_offset: u64,
    logged_at_ms: i64,
    last_copy: u32,
}

/// Dead letters that meet a condition on the view, in the order of their origins, each with the greatest
/// number of its copies. The numbers are read after the states: the announcement of a copy between both
/// queries is a newer change than that of the state, by which the dead letter is left out before its copy
/// is announced.
async fn numbered_letters(
    server: &Server,
    condition: &str,
    limit: usize,
) -> Result<Vec<SelectedLetter>, ServerError> {
    let mut letters = letters(server, condition, limit).await?;
    if !letters.is_empty() {
        let named = is_one_of(letters.iter().map(|letter| &letter.origin));
        let copies = last_copies(server, &named).await?;
        for letter in &mut letters {
            letter.last_copy = copies.get(&letter.origin).copied().unwrap_or_default();
        }
    }
    Ok(letters)
}

/// Dead letters that meet a condition on the view, in the order of their origins, without the numbers of
/// their copies.
async fn letters(
    server: &Server,
    condition: &str,
    limit: usize,
) -> Result<Vec<SelectedLetter>, ServerError> {
    let client = naming_client(server);
    let text = format!(
        "SELECT {ORIGIN}, toString(state) AS state_name, toString(code) AS error_code, redrive, \
         toUInt64(redrives) AS copies, toString(stub) AS stub_kind, \
         toString(letter_topic) AS letter_topic_name, letter_partition, letter_offset, value_bytes, \
         toUnixTimestamp64Milli(first_failed_at) AS first_failed_at_ms, \
         toUnixTimestamp64Micro(changed_at) AS changed_at_us \
         FROM dead_letters WHERE {condition} ORDER BY {KEY} LIMIT {limit}"
    );
    let rows = client.query_raw(&text).fetch_all::<LetterRow>().await.map_err(server_error)?;
    rows.into_iter().map(LetterRow::letter).collect()
}

/// The greatest numbers of the copies of the origins that meet `condition`.
async fn last_copies(
    server: &Server,
    condition: &str,
) -> Result<HashMap<Origin, u32>, ServerError> {
    let text = format!(
        "SELECT {ORIGIN}, max(redrive) AS last_copy FROM dead_letter_events \
         WHERE kind = 'pending' AND {condition} GROUP BY {KEY}"
    );
    let client = naming_client(server);
    let rows = client.query_raw(&text).fetch_all::<LastCopyRow>().await.map_err(server_error)?;
    let entry = |row: LastCopyRow| {
        let LastCopyRow { topic_name, origin_partition, origin_offset, logged_at_ms, last_copy } =
            row;
        (origin(topic_name, origin_partition, origin_offset, logged_at_ms), last_copy)
    };
    Ok(rows.into_iter().map(entry).collect())
}

impl LetterRow {
    fn letter(self) -> Result<SelectedLetter, ServerError> {
        let state = state(&self.state_name)?;
        Ok(SelectedLetter {
            origin: origin(
                self.topic_name,
                self.origin_partition,
                self.origin_offset,
                self.logged_at_ms,
            ),
            state,
            code: self.error_code,
            redrive: self.redrive,
            copies: self.copies,
            last_copy: 0,
            announced: None,
            has_changed: false,
            changed_at_us: self.changed_at_us,
            stub: self.stub_kind,
            letter: LetterLocation {
                topic: self.letter_topic_name,
                partition: self.letter_partition,
                offset: self.letter_offset,
            },
            value_bytes: self.value_bytes,
            first_failed_at_ms: self.first_failed_at_ms,
        })
    }
}

/// The state of this name.
pub(super) fn state(name: &str) -> Result<DeadLetterState, ServerError> {
    DeadLetterState::from_str(name, false).map_err(|_| {
        let text = format!(
            "the view dead_letters has the state {name:?}, which this version does not know"
        );
        ServerError::fatal("clickhouse_schema", text)
    })
}
