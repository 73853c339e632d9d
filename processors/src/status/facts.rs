//! The facts about the pipeline, each as its part answered. Pure.
//!
//! A fact that a part did not answer is an error, never 0.

use broker::ServerError;
use serde::Serialize;

use crate::clickhouse::held_dead_letters::HeldDeadLetters;
use crate::status::known_balance::KnownBalance;
use crate::status::metric_samples::MetricSamples;

/// All facts.
#[derive(Debug, Clone)]
pub struct StatusFacts {
    /// When they were asked for, milliseconds since 1970, by the clock of this host.
    pub at_ms: i64,
    /// Addresses of the brokers.
    pub brokers: String,
    /// Brokers, topics and the live group.
    pub kafka: Result<KafkaFacts, ServerError>,
    /// Each schema registry.
    pub registries: Vec<RegistryFacts>,
    /// URL of ClickHouse, without secrets.
    pub clickhouse_url: String,
    /// ClickHouse; of a cluster, the server that answers queries over all clicks.
    pub clickhouse: ClickHouseFacts,
    /// Each server of a cluster, in the order of the shards; none: there is one server.
    pub shard_servers: Vec<ShardServerFacts>,
    /// Each admin port.
    pub services: Vec<ServiceFacts>,
}

/// Facts that the brokers answer.
#[derive(Debug, Clone)]
pub struct KafkaFacts {
    /// Brokers of the cluster.
    pub brokers: usize,
    /// Clicktrail's topics.
    pub topics: Vec<TopicState>,
    /// The live group.
    pub group: Result<GroupState, ServerError>,
}

/// A topic.
#[derive(Debug, Clone, Default, Serialize)]
pub struct TopicState {
    /// Its name.
    pub name: String,
    /// Its partitions; 0 if it does not exist.
    pub partitions: usize,
    /// Of these, partitions without a leader.
    pub leaderless: usize,
    /// Of these, partitions with fewer replicas in sync than they have.
    pub underreplicated: usize,
}

/// The live group.
#[derive(Debug, Clone, Default, Serialize)]
pub struct GroupState {
    /// Its name.
    pub name: String,
    /// Its members; `None`: the brokers do not name them.
    pub members: Option<usize>,
    /// Records that the group has not committed, of the partitions whose leaders answered.
    pub lag_records: i64,
    /// Partitions whose leaders did not answer.
    pub unknown_partitions: usize,
    /// When the broker appended the oldest of these records, milliseconds since 1970. `None`: the lag is 0, or no
    /// leader sent the record in time.
    pub oldest_unread_ms: Option<i64>,
    /// Of one second; `None`: the brokers did not answer twice.
    pub rates: Option<GroupRates>,
}

/// Records a second.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct GroupRates {
    /// Appended to the log.
    pub appended: i64,
    /// Committed by the group.
    pub committed: i64,
}

/// A schema registry.
#[derive(Debug, Clone)]
pub struct RegistryFacts {
    /// Its URL, without secrets.
    pub url: String,
    /// The subjects under which the newest schema is not registered.
    pub unregistered: Result<Vec<String>, ServerError>,
}

/// Facts that ClickHouse answers.
#[derive(Debug, Clone)]
pub struct ClickHouseFacts {
    /// Version of the server.
    pub version: Result<String, ServerError>,
    /// Its disks.
    pub disks: Result<Vec<DiskState>, ServerError>,
    /// Active parts of the database.
    pub parts: Result<PartsState, ServerError>,
    /// Replicated tables of the database.
    pub replicas: Result<ReplicaState, ServerError>,
    /// The newest click, milliseconds since 1970; `None`: there is none within a day.
    pub newest_click_ms: Result<Option<i64>, ServerError>,
    /// Dead letters, by state and code.
    pub dead_letters: Result<Vec<HeldDeadLetters>, ServerError>,
    /// Jobs that have not ended, and those that have left the gap of a skip open.
    pub jobs: Result<Vec<OpenJob>, ServerError>,
    /// What audits have found; `None`: no verdict is stored.
    pub balance: Result<Option<KnownBalance>, ServerError>,
    /// The newest change of a link, milliseconds since 1970; `None`: there is no link.
    pub newest_link_ms: Result<Option<i64>, ServerError>,
}

/// A server of a cluster.
#[derive(Debug, Clone)]
pub struct ShardServerFacts {
    /// Number of its shard.
    pub shard: u32,
    /// Its URL, without secrets.
    pub url: String,
    /// Its version.
    pub version: Result<String, ServerError>,
    /// Its disks.
    pub disks: Result<Vec<DiskState>, ServerError>,
    /// Active parts of the database.
    pub parts: Result<PartsState, ServerError>,
    /// Replicated tables of the database.
    pub replicas: Result<ReplicaState, ServerError>,
    /// Its newest click, milliseconds since 1970; `None`: there is none within a day.
    pub newest_click_ms: Result<Option<i64>, ServerError>,
    /// Its clock less that of this host, milliseconds.
    pub clock_ahead_ms: Result<i64, ServerError>,
}

/// A disk of ClickHouse.
#[derive(Debug, Clone, Serialize)]
pub struct DiskState {
    /// Its name.
    pub name: String,
    /// Free bytes.
    pub free: u64,
    /// All bytes.
    pub total: u64,
}

/// Active parts.
#[derive(Debug, Clone, Default, Serialize)]
pub struct PartsState {
    /// All of the database.
    pub all: u64,
    /// Those of the partition that has most.
    pub most: u64,
    /// That partition, with its table.
    pub most_in: String,
    /// From how many in one partition on inserts slow down, and fail.
    pub limits: (u64, u64),
}

/// Replicated tables.
#[derive(Debug, Clone, Copy, Default, Serialize)]
pub struct ReplicaState {
    /// Their number.
    pub tables: u64,
    /// Of these, tables that are read-only.
    pub read_only: u64,
    /// The longest delay of one, seconds.
    pub delay_seconds: u64,
}

/// A job that has not ended, or has left the gap of a skip open.
#[derive(Debug, Clone, Serialize)]
pub struct OpenJob {
    /// Its id.
    pub id: String,
    /// What it does.
    pub kind: String,
    /// Its state.
    pub state: &'static str,
    /// Seconds since it was planned.
    pub age_seconds: i64,
    /// Whether it has begun and no process works on it.
    pub is_abandoned: bool,
    /// Whether it has ended or was not started for an hour, and the offsets that a skip left to it have no rows.
    pub has_left_gap: bool,
    /// The command that resumes it.
    pub resume: String,
}

/// An admin port.
#[derive(Debug, Clone)]
pub struct ServiceFacts {
    /// Its address.
    pub address: String,
    /// What it answered.
    pub answer: Result<ServiceAnswer, ServiceFailure>,
}

/// Why an admin port gave no facts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ServiceFailure {
    /// No process listens.
    Refused,
    /// It did not answer within this many seconds.
    Silent(u64),
    /// It cannot be asked, or the answer is not one of an admin port.
    Failed(String),
}

/// What an admin port answered.
#[derive(Debug, Clone)]
pub struct ServiceAnswer {
    /// The process.
    pub kind: ServiceKind,
    /// The answer of `/readyz`.
    pub readiness: Readiness,
    /// The metrics.
    pub first: MetricSamples,
    /// The metrics a second later.
    pub last: MetricSamples,
}

/// Which process an admin port is of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ServiceKind {
    /// `producer serve`.
    Producer,
    /// `processors run`.
    Processors,
    /// `processors audit --follow`.
    Audit,
}

impl ServiceKind {
    const ALL: [Self; 3] = [Self::Producer, Self::Processors, Self::Audit];

    /// Its name.
    pub fn name(self) -> &'static str {
        match self {
            Self::Producer => "producer",
            Self::Processors => "processors",
            Self::Audit => "audit",
        }
    }

    /// The process of a page of metrics.
    pub(super) fn of(page: &MetricSamples) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| page.has_prefix(&format!("clicktrail_{}_", kind.name())))
    }
}

/// The answer of `/readyz`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Readiness {
    /// Ready, with these problems.
    Ready(Vec<String>),
    /// Not ready, for this reason.
    NotReady(String),
}

impl Readiness {
    /// Reads an answer; `None`: it is not one of an admin port.
    pub(super) fn read(status: u16, body: &str) -> Option<Self> {
        let body = body.trim();
        match (status, body.strip_prefix("ready")) {
            (200, Some(rest)) => {
                let problems = rest.trim().strip_prefix("degraded: ").unwrap_or_default();
                let problems = problems.split("; ").filter(|problem| !problem.is_empty());
                Some(Self::Ready(problems.map(str::to_owned).collect()))
            }
            (503, None) => {
                let reason = body.strip_prefix("not ready: ")?;
                Some(Self::NotReady(reason.to_owned()))
            }
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_of_readyz_is_read_with_each_of_its_problems() {
        let ready = |problems: &[&str]| {
            Readiness::Ready(problems.iter().map(|it| (*it).to_owned()).collect())
        };
        assert_eq!(Readiness::read(200, "ready\n"), Some(ready(&[])));
        let degraded = "ready\ndegraded: no broker: unacknowledged; clock_skewed: x\n";
        let expected = ready(&["no broker: unacknowledged", "clock_skewed: x"]);
        assert_eq!(Readiness::read(200, degraded), Some(expected));
        let starting = Readiness::NotReady("starting".to_owned());
        assert_eq!(Readiness::read(503, "not ready: starting\n"), Some(starting));
        for (status, body) in [(200, "<html>"), (503, "upstream"), (404, "ready"), (421, "name")] {
            assert_eq!(Readiness::read(status, body), None, "{status} {body}");
        }
    }
}
