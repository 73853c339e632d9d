//! The tables of jobs and of requests to them. All times are the server's.
//!
//! An `Ok` of a write means that it is durable and that every later read sees it.

use std::collections::BTreeMap;
use std::time::Duration;

use broker::ServerError;
use clickhouse::{Client, Row};
use serde::{Deserialize, Serialize};

use crate::clickhouse::insert_settings::{PINNED, WAIT};
use crate::clickhouse::server::{Server, within};
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

/// The columns of a job, of which `plan` is an expression.
fn columns(plan: &str) -> String {
    format!(
        "id, version, kind, state, {plan} AS plan, counts, actor, host, message, \
         toUnixTimestamp64Micro(created_at) AS created_at_us, \
         toUnixTimestamp64Micro(updated_at) AS updated_at_us, \
         toUnixTimestamp64Micro(now64(6)) AS now_us"
    )
}

impl JobRow {
    fn stored(self) -> Result<StoredJob, ServerError> {
        let Some(state) = JobState::named(&self.state) else {
            return Err(unknown_state("job", &self.id, &self.state));
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

/// The error of a state of a later version of this program, in a table of `what`.
pub(super) fn unknown_state(what: &str, id: &str, state: &str) -> ServerError {
    let text = format!(
        "{what} {id} is {state:?}, a state that this version does not know: use a newer version"
    );
    ServerError::fatal("clickhouse_schema", text)
}

/// The newest version of a job.
///
/// # Errors
/// No job has the id (`job_unknown`), or the server's refusal.
pub async fn job(server: &Server, id: &str) -> Result<StoredJob, ServerError> {
    one(server, id, "plan", "jobs").await
}

/// The newest version of a job, with an empty plan: what a process reads each second. A plan may have 1,000 ranges.
///
/// # Errors
/// As [`job`].
pub async fn report(server: &Server, id: &str) -> Result<StoredJob, ServerError> {
    one(server, id, "''", "job_versions FINAL").await
}

async fn one(server: &Server, id: &str, plan: &str, of: &str) -> Result<StoredJob, ServerError> {
    let client = server.client();
    let sql = format!("SELECT {} FROM {of} WHERE id = ?", columns(plan));
    let row = within(TIMEOUT, client.query(&sql).bind(id).fetch_optional::<JobRow>()).await?;
    let unknown = || {
        let text = format!(
            "no job has the id {id:?}: `processors replay list` lists the replays, `processors dlq jobs` all jobs"
        );
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
    let sql = format!("SELECT {} FROM jobs {order} LIMIT {LISTED_MAX}", columns("plan"));
    let rows = within(TIMEOUT, client.query(&sql).fetch_all::<JobRow>()).await?;
    rows.into_iter().map(JobRow::stored).collect()
}

#[derive(Row, Serialize)]
struct VersionRow<'a> {
    id: &'a str,
    version: u64,
    kind: &'a str,
    state: &'a str,
    counts: &'a BTreeMap<String, u64>,
    actor: &'a str,
    host: &'a str,
    message: &'a str,
    created_at: i64,
}

#[derive(Row, Serialize)]
struct PlanRow<'a> {
    id: &'a str,
    plan: &'a str,
}

/// Stores the plan of a new job, before its first version.
///
/// # Errors
/// The server's refusal; the plan may be stored or not.
pub async fn add_plan(server: &Server, id: &str, plan: &str) -> Result<(), ServerError> {
    within(TIMEOUT, async {
        let mut insert = durable(server).insert::<PlanRow<'_>>("job_plans").await?;
        insert.write(&PlanRow { id, plan }).await?;
        insert.end().await
    })
    .await
}

/// Stores the plan of a job whose versions hold it, as an earlier version of this program wrote them. A later
/// version of the job, which holds none, replaces them.
///
/// # Errors
/// The server's refusal; the plan may be stored or not.
pub async fn keep_plan(server: &Server, id: &str) -> Result<(), ServerError> {
    let sql = "INSERT INTO job_plans SELECT id, plan FROM job_versions FINAL \
               WHERE id = ? AND plan != ''";
    within(TIMEOUT, durable(server).query(sql).bind(id).execute()).await
}

/// Adds a version of a job, without its plan. The server sets its time.
///
/// # Errors
/// The server's refusal; the version may be stored or not.
pub async fn add_version(server: &Server, job: &Job) -> Result<(), ServerError> {
    let row = VersionRow {
        id: &job.id,
        version: job.version.0,
        kind: &job.kind,
        state: job.state.name(),
        counts: &job.counts,
        actor: &job.actor,
        host: &job.host,
        message: &job.message,
        created_at: job.created_at_us,
    };
    within(TIMEOUT, async {
        let mut insert = durable(server).insert::<VersionRow<'_>>("job_versions").await?;
        insert.write(&row).await?;
        insert.end().await
    })
    .await
}

/// A request to the process that runs a job.
#[derive(Row, Serialize)]
struct RequestRow<'a> {
    id: &'a str,
    number: u64,
    request: &'a str,
    value: &'a str,
    actor: &'a str,
}

/// Adds a request to the process that runs a job, after all others.
///
/// # Errors
/// The server's refusal; the request may be stored or not.
pub async fn add_request(
    server: &Server,
    id: &str,
    request: JobRequest,
    actor: &str,
) -> Result<(), ServerError> {
    let request = match request {
        JobRequest::None => return Ok(()),
        JobRequest::Cancel => (job_request::CANCEL, String::new()),
        JobRequest::Rate(rate) => (job_request::RATE, rate.to_string()),
    };
    add_requests(server, id, &[request], actor).await
}

/// Adds requests (names and values) after all others of the job. Requests are ordered by their numbers, since the
/// server's clock may be set back; two that are added at once may have the same number, and then their times decide.
///
/// # Errors
/// The server's refusal; the requests may be stored or not.
pub(super) async fn add_requests(
    server: &Server,
    id: &str,
    requests: &[(&str, String)],
    actor: &str,
) -> Result<(), ServerError> {
    let number = next_request(server, id).await?.number;
    within(TIMEOUT, async {
        let mut insert = durable(server).insert::<RequestRow<'_>>("job_requests").await?;
        for (request, value) in requests {
            insert.write(&RequestRow { id, number, request, value, actor }).await?;
        }
        insert.end().await
    })
    .await
}

/// Which requests to a job are for a process: those from a number on. Requests of earlier versions of this program have
/// the number 0; of them, those from a time on. The default is all requests.
#[derive(Debug, Clone, Copy, Default)]
pub struct FirstRequest {
    number: u64,
    at_us: i64,
}

/// The request after all others of a job.
///
/// # Errors
/// The server's refusal.
pub async fn next_request(server: &Server, id: &str) -> Result<FirstRequest, ServerError> {
    let client = server.client();
    let sql =
        "SELECT max(number) + 1, toUnixTimestamp64Micro(now64(6)) FROM job_requests WHERE id = ?";
    let query = client.query(sql).bind(id);
    let (number, at_us) = within(TIMEOUT, query.fetch_one::<(u64, i64)>()).await?;
    Ok(FirstRequest { number, at_us })
}

/// The request that holds for a job, of those from `first` on. All are read each time: a request that becomes
/// visible after a later one is not missed.
///
/// # Errors
/// The server's refusal.
pub async fn requests(
    server: &Server,
    id: &str,
    first: FirstRequest,
) -> Result<JobRequest, ServerError> {
    let rows = requests_from(server, id, first).await?;
    Ok(job_request::newest(rows.iter().map(|(name, value)| (name.as_str(), value.as_str()))))
}

/// Names and values of the requests to a job from `first` on, in their order: those of earlier versions of this
/// program come before all others.
///
/// # Errors
/// The server's refusal.
pub(super) async fn requests_from(
    server: &Server,
    id: &str,
    first: FirstRequest,
) -> Result<Vec<(String, String)>, ServerError> {
    let client = server.client();
    let sql = "SELECT request, value FROM job_requests WHERE id = ? AND \
               (number >= ? OR number = 0 AND toUnixTimestamp64Micro(at) >= ?) ORDER BY number, at";
    let query = client.query(sql).bind(id).bind(first.number).bind(first.at_us);
    within(TIMEOUT, query.fetch_all::<(String, String)>()).await
}

/// A client whose acknowledged inserts are durable and seen by every later read.
pub(super) fn durable(server: &Server) -> Client {
    let settings = PINNED.iter().chain([&WAIT]);
    settings.fold(server.client(), |client, (name, value)| client.with_setting(*name, *value))
}
