//! The table of verdicts of audits, and the view of what is known now. The times of verdicts are the server's.

use std::collections::BTreeMap;
use std::time::Duration;

use broker::ServerError;
use clickhouse::Row;
use serde::Serialize;
use service::number::gauge;

use crate::audit::verdict::{AuditVerdict, DifferenceTimes};
use crate::clickhouse::job_table::durable;
use crate::clickhouse::server::{Server, within};
use crate::clickhouse::server_clock;

/// Bounds the insert.
const TIMEOUT: Duration = Duration::from_secs(4);

/// What verdicts are about.
#[derive(Debug, Clone)]
pub struct VerdictSubject {
    /// Log.
    pub topic: String,
    /// Consumer group whose position the audit reads.
    pub group: String,
    /// Interval of the runs; zero of a single one.
    pub every: Duration,
}

impl VerdictSubject {
    #[expect(clippy::expect_used, reason = "`--every` has this bound")]
    fn every_seconds(&self) -> u32 {
        u32::try_from(self.every.as_secs()).expect("an interval is of 366 days at most")
    }
}

/// A verdict to store.
#[derive(Debug, Clone, Copy)]
pub struct AgedVerdict<'a> {
    /// The verdict.
    pub verdict: &'a AuditVerdict,
    /// Time since its run began to compare.
    pub since_begin: Duration,
    /// Time since the end of its run.
    pub since_end: Duration,
}

#[derive(Row, Serialize)]
struct VerdictRow<'a> {
    topic: &'a str,
    group_id: &'a str,
    scope: &'a str,
    began_at: i64,
    judged_at: i64,
    state: &'a str,
    code: &'a str,
    every_seconds: u32,
    logged_from: Option<i64>,
    logged_until: Option<i64>,
    differences_from: Option<i64>,
    differences_until: Option<i64>,
    offsets: BTreeMap<i32, (i64, i64)>,
    records: u64,
    events: u64,
    missing: u64,
    duplicates: u64,
    misplaced: u64,
    surplus: u64,
    undecodable: u64,
    dead_lettered: u64,
    lagging: u64,
    in_jobs: &'a BTreeMap<String, u64>,
    ended_jobs: Vec<&'a str>,
}

impl<'a> VerdictRow<'a> {
    fn of(subject: &'a VerdictSubject, aged: &AgedVerdict<'a>, now_ms: i64) -> Self {
        let before = |time: Duration| now_ms.saturating_sub(gauge(time.as_millis()));
        let AgedVerdict { verdict, since_begin, since_end } = *aged;
        let AuditVerdict { scope, state, code, log, differences, counts } = verdict;
        let offsets = log.iter().flat_map(|log| &log.offsets);
        let (differences_from, differences_until) = match differences {
            None => (None, None),
            Some(DifferenceTimes::Within(times)) => (Some(times.from_ms), Some(times.until_ms)),
            Some(DifferenceTimes::Anywhere { from_ms }) => (Some(*from_ms), None),
        };
        Self {
            topic: &subject.topic,
            group_id: &subject.group,
            scope: scope.name(),
            began_at: before(since_begin),
            judged_at: before(since_end),
            state: state.name(),
            code,
            every_seconds: subject.every_seconds(),
            logged_from: log.as_ref().map(|log| log.from_ms),
            logged_until: log.as_ref().map(|log| log.until_ms),
            differences_from,
            differences_until,
            offsets: offsets.map(|(partition, own)| (*partition, (own.first, own.end))).collect(),
            records: counts.records,
            events: counts.events,
            missing: counts.missing,
            duplicates: counts.duplicates,
            misplaced: counts.misplaced,
            surplus: counts.surplus,
            undecodable: counts.undecodable,
            dead_lettered: counts.dead_lettered,
            lagging: counts.lagging,
            in_jobs: &counts.in_jobs,
            ended_jobs: counts.ended_jobs.iter().map(String::as_str).collect(),
        }
    }
}

/// Adds verdicts. Each replaces one of the same scope, state and minute, so that a repeated insert adds none.
///
/// # Errors
/// The server's refusal; all verdicts may be stored, or none.
pub async fn add(
    server: &Server,
    subject: &VerdictSubject,
    verdicts: &[AgedVerdict<'_>],
) -> Result<(), ServerError> {
    let now_ms = server_clock::now_ms(server).await?;
    let rows = verdicts.iter().map(|aged| VerdictRow::of(subject, aged, now_ms));
    // The client does not know the type of `offsets`, a tuple with names.
    let client = durable(server).with_validation(false);
    within(TIMEOUT, async {
        let mut insert = client.insert::<VerdictRow<'_>>("audit_verdict_versions").await?;
        for row in rows {
            insert.write(&row).await?;
        }
        insert.end().await
    })
    .await
}
