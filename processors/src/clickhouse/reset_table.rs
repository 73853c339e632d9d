//! The table of resets of consumer groups. All times are the server's.
//!
//! An `Ok` of a write means that it is durable and that every later read sees it.

use std::collections::BTreeMap;
use std::time::Duration;

use broker::ServerError;
use clickhouse::Row;
use serde::{Deserialize, Serialize};

use crate::clickhouse::job_table::{durable, unknown_state};
use crate::clickhouse::server::{Server, within};
use crate::jobs::job::JobVersion;
use crate::resets::reset::{Reset, ResetState, StoredReset, left};

/// Bounds a request of a command, which has to renew its reset in time.
const TIMEOUT: Duration = Duration::from_secs(4);
/// Bounds the request that each member sends every second.
const MEMBER_TIMEOUT: Duration = Duration::from_secs(2);

const LEFT_US: &str =
    "toUnixTimestamp64Micro(lasts_until) - toUnixTimestamp64Micro(now64(6)) AS left_us";
/// The versions of a group are next to each other in the table, so that this reads the last of them only.
const NEWEST: &str =
    "FROM reset_versions WHERE group_id = ? ORDER BY group_id DESC, version DESC LIMIT 1";

#[derive(Row, Deserialize)]
struct ResetRow {
    group_id: String,
    version: u64,
    id: String,
    topic: String,
    state: String,
    targets: Vec<(i32, i64)>,
    job: String,
    actor: String,
    host: String,
    message: String,
    left_us: i64,
}

/// The newest version of the newest reset of a group.
///
/// # Errors
/// The server's refusal.
pub(crate) async fn newest(
    server: &Server,
    group: &str,
) -> Result<Option<StoredReset>, ServerError> {
    let columns = "group_id, version, id, topic, state, targets, job, actor, host, message";
    let client = server.client();
    let query = client.query(&format!("SELECT {columns}, {LEFT_US} {NEWEST}")).bind(group);
    let Some(row) = within(TIMEOUT, query.fetch_optional::<ResetRow>()).await? else {
        return Ok(None);
    };
    let Some(state) = ResetState::named(&row.state) else {
        return Err(unknown_state("reset", &row.id, &row.state));
    };
    let reset = Reset {
        group: row.group_id,
        version: JobVersion(row.version),
        id: row.id,
        topic: row.topic,
        state,
        targets: row.targets.into_iter().collect(),
        job: row.job,
        actor: row.actor,
        host: row.host,
        message: row.message,
    };
    Ok(Some(StoredReset { reset, left_us: row.left_us }))
}

/// The id of the open reset of a group, and how many microseconds it still lasts.
///
/// # Errors
/// The server's refusal.
pub(crate) async fn open(
    server: &Server,
    group: &str,
) -> Result<Option<(String, u64)>, ServerError> {
    let client = server.client();
    let query = client.query(&format!("SELECT id, state, {LEFT_US} {NEWEST}")).bind(group);
    let row = within(MEMBER_TIMEOUT, query.fetch_optional::<(String, String, i64)>()).await?;
    let open = row.filter(|(_, state, _)| state == ResetState::Open.name());
    Ok(open.and_then(|(id, _, left_us)| Some((id, left(left_us)?))))
}

#[derive(Row, Serialize)]
struct VersionRow<'a> {
    group_id: &'a str,
    version: u64,
    id: &'a str,
    topic: &'a str,
    state: &'a str,
    targets: &'a BTreeMap<i32, i64>,
    job: &'a str,
    actor: &'a str,
    host: &'a str,
    message: &'a str,
}

/// Adds a version of a reset. The server sets its times.
///
/// # Errors
/// The server's refusal; the version may be stored or not.
pub(crate) async fn add_version(server: &Server, reset: &Reset) -> Result<(), ServerError> {
    let row = VersionRow {
        group_id: &reset.group,
        version: reset.version.0,
        id: &reset.id,
        topic: &reset.topic,
        state: reset.state.name(),
        targets: &reset.targets,
        job: &reset.job,
        actor: &reset.actor,
        host: &reset.host,
        message: &reset.message,
    };
    within(TIMEOUT, async {
        let mut insert = durable(server).insert::<VersionRow<'_>>("reset_versions").await?;
        insert.write(&row).await?;
        insert.end().await
    })
    .await
}
