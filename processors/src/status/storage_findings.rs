//! What is wrong with the storage of one ClickHouse server: its disks, parts and replicated tables. Pure.

use broker::ServerError;

use crate::status::alert_condition::AlertCondition;
use crate::status::facts::{DiskState, PartsState, ReplicaState};
use crate::status::shown_values::{bytes, duration, percent};
use crate::status::status_finding::StatusFinding;

/// What the server answered.
#[derive(Debug, Clone, Copy)]
pub(super) struct StorageFacts<'a> {
    /// Its URL, if there are several servers.
    pub(super) url: Option<&'a str>,
    pub(super) disks: &'a Result<Vec<DiskState>, ServerError>,
    pub(super) parts: &'a Result<PartsState, ServerError>,
    pub(super) replicas: &'a Result<ReplicaState, ServerError>,
}

/// A fact that ClickHouse did not answer.
pub(super) fn not_answered(what: &str, error: &ServerError) -> StatusFinding {
    let check = "processors setup --check".to_owned();
    let finding = StatusFinding::of_error(&format!("ClickHouse, {what}"), error, check);
    // The user may lack the right to read a table of the system.
    if error.code == "clickhouse_access" { finding.unknown() } else { finding }
}

impl StorageFacts<'_> {
    /// All findings.
    pub(super) fn findings(&self) -> Vec<StatusFinding> {
        let mut findings = self.not_answered();
        let on = self.on();
        for disk in self.disks.iter().flatten().filter(|disk| disk.total > 0) {
            let free = disk.free as f64 / disk.total as f64;
            if AlertCondition::DiskFilling.is_met(free) {
                let text = format!(
                    "disk {} of ClickHouse{on} has {} free ({})",
                    disk.name,
                    percent(free),
                    bytes(disk.free as f64)
                );
                let next = self
                    .query("SELECT name, path, formatReadableSize(free_space) FROM system.disks");
                findings.push(StatusFinding::alert(AlertCondition::DiskFilling, text, next));
            }
        }
        findings.extend(self.parts.as_ref().ok().and_then(|parts| self.of_parts(parts)));
        if let Ok(replicas) = self.replicas {
            findings.extend(self.of_replicas(replicas));
        }
        findings
    }

    fn not_answered(&self) -> Vec<StatusFinding> {
        let facts = [
            ("disks", self.disks.as_ref().err()),
            ("parts", self.parts.as_ref().err()),
            ("replicas", self.replicas.as_ref().err()),
        ];
        let on = self.on();
        let failed = |(what, error): (&str, Option<&ServerError>)| {
            Some(not_answered(&format!("{what}{on}"), error?))
        };
        facts.into_iter().filter_map(failed).collect()
    }

    fn of_parts(&self, parts: &PartsState) -> Option<StatusFinding> {
        let (slow, fail) = parts.limits;
        AlertCondition::PartsNearLimit.is_met(parts.most as f64).then(|| {
            let text = format!(
                "partition {}{} has {} parts; inserts slow down at {slow} and fail at {fail}",
                parts.most_in,
                self.on(),
                parts.most
            );
            let next = self.query("SELECT table, elapsed, progress FROM system.merges");
            StatusFinding::alert(AlertCondition::PartsNearLimit, text, next)
        })
    }

    fn of_replicas(&self, replicas: &ReplicaState) -> Vec<StatusFinding> {
        let (mut findings, on) = (Vec::new(), self.on());
        let next = || self.query("SELECT table, is_readonly, absolute_delay FROM system.replicas");
        if replicas.read_only > 0 {
            let text = format!(
                "{} of {} replicated tables{on} are read-only",
                replicas.read_only, replicas.tables
            );
            findings.push(StatusFinding::of_heading("clickhouse_read_only", text, next()));
        }
        let delay = replicas.delay_seconds as f64;
        if AlertCondition::RowsLate.limit().is_wrong(delay) {
            let text = format!("a replica of a table{on} is {} late", duration(delay));
            findings.push(StatusFinding::of_heading("dashboard-flat", text, next()));
        }
        findings
    }

    /// Where it is, to follow the name of a part.
    fn on(&self) -> String {
        self.url.map(|url| format!(" on {url}")).unwrap_or_default()
    }

    /// The command that asks this server.
    fn query(&self, sql: &str) -> String {
        let server = self.url.map(|url| format!("CLICKHOUSE_URL={url} ")).unwrap_or_default();
        format!("{server}ch \"{sql}\"")
    }
}
