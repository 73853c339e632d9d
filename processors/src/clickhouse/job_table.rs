//! The tables of jobs and of requests to them. All times are the server's.
//!
//! An `Ok` of a write means that it is durable and that every later read sees it.

use std::collections::BTreeMap;
use std::time::Duration;

use broker::ServerError;
use clickhouse::{Client, Row};
use serde::{Deserialize, Serialize};

use crate::clickhouse::insert_settings::{PINNED, WAIT};
use crate::clickhouse::server::{Server, server_error};
use crate::jobs::job::{Job, JobState, JobVersion, StoredJob};
use crate::jobs::job_request::{self, JobRequest};

/// Bounds each request, so that a running job finds out in time that it cannot report.
const TIMEOUT: Duration = Duration::from_secs(4);
/// Jobs that a list shows.
const LISTED_MAX: u32 = 1000;

#[derive(Row, Deserialize)]
struct JobRow {
    id: String,
    version: u64,
    kind: String,
    state: String,
    plan: String,
    counts: Vec<(String, u64)>,
    actor: String,
    host: String,
    message: String,
    created_at_us: i64,
    updated_at_us: i64,
    now_us: i64,
}

const COLUMNS: &str = "id, version, kind, state, plan, counts, actor, host, message, \
    toUnixTimestamp64Micro(created_at) AS created_at_us, \
    toUnixTimestamp64Micro(updated_at) AS updated_at_us, \
    toUnixTimestamp64Micro(now64(6)) AS now_us";

impl JobRow {
    fn stored(self) -> Result<StoredJob, ServerError> {
        let Some(state) = JobState::named(&self.state) else {
            let text = format!(
                "job {} is {:?}, a state that this version does not know: use a newer version",
                self.id, self.state
            );
            return Err(ServerError::fatal("clickhouse_schema", text));
        };
        let job = Job {
            id: self.id,
            version: JobVersion(self.version),
            kind: self.kind,
            state,
            plan: self.plan,
            counts: self.counts.into_iter().collect(),
            actor: self.actor,
            host: self.host,
            message: self.message,
            created_at_us: self.created_at_us,
            updated_at_us: self.updated_at_us,
        };
        Ok(StoredJob { job, now_us: self.now_us })
    }
}

/// The newest version of a job.
///
/// # Errors
/// No job has the id (`job_unknown`), or the server's refusal.
pub async fn job(server: &Server, id: &str) -> Result<StoredJob, ServerError> {
    let client = server.client();
    let query = client.query(&format!("SELECT {COLUMNS} FROM jobs WHERE id = ?")).bind(id);
    let row = in_time(query.fetch_optional::<JobRow>()).await?;
    let unknown = || {
        let text = format!("no job has the id {id:?}: `processors dlq jobs` lists the jobs");
        ServerError::fatal("job_unknown", text)
    };
    row.ok_or_else(unknown)?.stored()
}

/// The newest thousand jobs, the newest one first.
///
/// # Errors
/// The server's refusal.
pub async fn jobs(server: &Server) -> Result<Vec<StoredJob>, ServerError> {
    let client = server.client();
    let order = "ORDER BY created_at DESC, id DESC";
    let query = client.query(&format!("SELECT {COLUMNS} FROM jobs {order} LIMIT {LISTED_MAX}"));
    let rows = in_time(query.fetch_all::<JobRow>()).await?;
    rows.into_iter().map(JobRow::stored).collect()
}

/// The server's time, microseconds since 1970.
///
/// # Errors
/// The server's refusal.
pub async fn now_us(server: &Server) -> Result<i64, ServerError> {
    let client = server.client();
    in_time(client.query("SELECT toUnixTimestamp64Micro(now64(6))").fetch_one::<i64>()).await
}

#[derive(Row, Serialize)]
struct VersionRow<'a> {
    id: &'a str,
    version: u64,
    kind: &'a str,
    state: &'a str,
    plan: &'a str,
    counts: &'a BTreeMap<String, u64>,
    actor: &'a str,
    host: &'a str,
    message: &'a str,
    created_at: i64,
}

/// Adds a version of a job. The server sets its time.
///
/// # Errors
/// The server's refusal; the version may be stored or not.
pub async fn add_version(server: &Server, job: &Job) -> Result<(), ServerError> {
    let row = VersionRow {
        id: &job.id,
        version: job.version.0,
        kind: &job.kind,
        state: job.state.name(),
        plan: &job.plan,
        counts: &job.counts,
        actor: &job.actor,
        host: &job.host,
        message: &job.message,
        created_at: job.created_at_us,
    };
    in_time(async {
        let mut insert = durable(server).insert::<VersionRow<'_>>("job_versions").await?;
        insert.write(&row).await?;
        insert.end().await
    })
    .await
}

/// A request to the process that runs a job.
#[derive(Row, Serialize)]
pub(super) struct RequestRow<'a> {
    pub(super) id: &'a str,
    pub(super) request: &'a str,
    pub(super) value: &'a str,
    pub(super) actor: &'a str,
}

/// Adds a request to the process that runs a job. The server sets its time.
///
/// # Errors
/// The server's refusal; the request may be stored or not.
pub async fn add_request(
    server: &Server,
    id: &str,
    request: JobRequest,
    actor: &str,
) -> Result<(), ServerError> {
    let (request, value) = match request {
        JobRequest::None => return Ok(()),
        JobRequest::Cancel => (job_request::CANCEL, String::new()),
        JobRequest::Rate(rate) => (job_request::RATE, rate.to_string()),
    };
    let row = RequestRow { id, request, value: &value, actor };
    in_time(async {
        let mut insert = durable(server).insert::<RequestRow<'_>>("job_requests").await?;
        insert.write(&row).await?;
        insert.end().await
    })
    .await
}

/// The request that holds for a job, of those since a time. All are read each time: a request that becomes
/// visible after a later one is not missed.
///
/// # Errors
/// The server's refusal.
pub async fn requests(server: &Server, id: &str, since_us: i64) -> Result<JobRequest, ServerError> {
    let client = server.client();
    let query = client
        .query(
            "SELECT request, value FROM job_requests WHERE id = ? \
             AND at >= fromUnixTimestamp64Micro(toInt64(?)) ORDER BY at",
        )
        .bind(id)
        .bind(since_us);
    let rows = in_time(query.fetch_all::<(String, String)>()).await?;
    Ok(job_request::newest(rows.iter().map(|(name, value)| (name.as_str(), value.as_str()))))
}

/// A client whose acknowledged inserts are durable and seen by every later read.
pub(super) fn durable(server: &Server) -> Client {
    let settings = PINNED.iter().chain([&WAIT]);
    settings.fold(server.client(), |client, (name, value)| client.with_setting(*name, *value))
}

/// The answer to a request, within a bounded time.
pub(super) async fn in_time<T>(
    request: impl Future<Output = Result<T, clickhouse::error::Error>>,
) -> Result<T, ServerError> {
    let answer = tokio::time::timeout(TIMEOUT, request).await.map_err(|_| {
        let text = format!("the server did not answer within {} s", TIMEOUT.as_secs());
        ServerError::retryable("clickhouse_timeout", text)
    })?;
    answer.map_err(server_error)
}
