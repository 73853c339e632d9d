//! The table of verdicts of the continuous audit. The server sets their times.

use std::collections::BTreeMap;
use std::time::Duration;

use broker::ServerError;
use clickhouse::Row;
use serde::Serialize;

use crate::audit::verdict::AuditVerdict;
use crate::clickhouse::job_table::durable;
use crate::clickhouse::server::{Server, within};

/// Bounds the insert.
const TIMEOUT: Duration = Duration::from_secs(4);

/// What a verdict is about.
#[derive(Debug, Clone)]
pub struct VerdictSubject {
    /// Log.
    pub topic: String,
    /// Consumer group whose position the audit reads.
    pub group: String,
    /// Interval of the runs.
    pub every: Duration,
}

impl VerdictSubject {
    #[expect(clippy::expect_used, reason = "`--every` has this bound")]
    fn every_seconds(&self) -> u32 {
        u32::try_from(self.every.as_secs()).expect("an interval is of 366 days at most")
    }
}

#[derive(Row, Serialize)]
struct VerdictRow<'a> {
    topic: &'a str,
    group_id: &'a str,
    state: &'a str,
    code: &'a str,
    every_seconds: u32,
    logged_from: Option<i64>,
    logged_until: Option<i64>,
    offsets: BTreeMap<i32, (i64, i64)>,
    records: u64,
    events: u64,
    missing: u64,
    duplicates: u64,
    undecodable: u64,
    dead_lettered: u64,
    lagging: u64,
    in_jobs: &'a BTreeMap<String, u64>,
    ended_jobs: Vec<&'a str>,
}

/// Adds a verdict. It replaces one of the same state and minute, so that a repeated insert adds none.
///
/// # Errors
/// The server's refusal; the verdict may be stored or not.
pub async fn add(
    server: &Server,
    subject: &VerdictSubject,
    verdict: &AuditVerdict,
) -> Result<(), ServerError> {
    let AuditVerdict { state, code, log, counts } = verdict;
    let offsets = log.iter().flat_map(|log| &log.offsets);
    let row = VerdictRow {
        topic: &subject.topic,
        group_id: &subject.group,
        state: state.name(),
        code,
        every_seconds: subject.every_seconds(),
        logged_from: log.as_ref().map(|log| log.from_ms),
        logged_until: log.as_ref().map(|log| log.until_ms),
        offsets: offsets.map(|(partition, own)| (*partition, (own.first, own.end))).collect(),
        records: counts.records,
        events: counts.events,
        missing: counts.missing,
        duplicates: counts.duplicates,
        undecodable: counts.undecodable,
        dead_lettered: counts.dead_lettered,
        lagging: counts.lagging,
        in_jobs: &counts.in_jobs,
        ended_jobs: counts.ended_jobs.iter().map(String::as_str).collect(),
    };
    // The client does not know the type of `offsets`, a tuple with names.
    let client = durable(server).with_validation(false);
    within(TIMEOUT, async {
        let mut insert = client.insert::<VerdictRow<'_>>("audit_verdict_versions").await?;
        insert.write(&row).await?;
        insert.end().await
    })
    .await
}
