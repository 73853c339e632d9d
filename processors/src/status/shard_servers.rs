//! The servers of a ClickHouse cluster: their facts, and what is wrong with them. Pure.

use broker::ServerError;
use serde_json::{Value, json};

use crate::status::facts::ShardServerFacts;
use crate::status::finding_level::FindingLevel;
use crate::status::shown_values::duration;
use crate::status::status_finding::StatusFinding;
use crate::status::storage_findings::StorageFacts;

/// How far the clocks of two servers may differ. The newest version of a click is that of the newest insert, by the clock
/// of the replica that inserted it, and a replay counts the rows that were inserted since its start.
const CLOCKS_APART_MS: i64 = 2_000;

/// What a server answered about its storage.
pub(super) fn storage(server: &ShardServerFacts) -> StorageFacts<'_> {
    let ShardServerFacts { url, disks, parts, replicas, .. } = server;
    StorageFacts { url: Some(url), disks, parts, replicas }
}

/// As JSON; a fact that is not known is `null`.
pub(super) fn server_object(server: &ShardServerFacts) -> Value {
    json!({
        "shard": server.shard,
        "url": server.url,
        "version": server.version.as_ref().ok(),
        "disks": server.disks.as_ref().ok(),
        "parts": server.parts.as_ref().ok(),
        "replicas": server.replicas.as_ref().ok(),
        "clock_ahead_ms": server.clock_ahead_ms.as_ref().ok(),
    })
}

/// The newest click of all servers that answered; the error of one if none did.
pub(super) fn newest_click_ms(
    servers: &[ShardServerFacts],
) -> Option<Result<Option<i64>, ServerError>> {
    let newest = servers.iter().map(|server| server.newest_click_ms.clone());
    newest.reduce(|all, own| match (all, own) {
        (Ok(all), Ok(own)) => Ok(all.max(own)),
        (Ok(known), Err(_)) | (Err(_), Ok(known)) => Ok(known),
        (Err(error), Err(_)) => Err(error),
    })
}

/// Findings on all servers, which are in the order of their shards.
pub(super) fn of_shard_servers(servers: &[ShardServerFacts]) -> Vec<StatusFinding> {
    let mut findings = Vec::new();
    for shard in servers.chunk_by(|one, next| one.shard == next.shard) {
        findings.extend(of_shard(shard));
    }
    findings.extend(clocks_apart(servers));
    findings
}

/// Findings on the replicas of one shard.
fn of_shard(replicas: &[ShardServerFacts]) -> Vec<StatusFinding> {
    let is_silent = replicas.iter().all(|server| server.version.is_err());
    let mut findings = Vec::new();
    for server in replicas {
        let ShardServerFacts { shard, url, version, .. } = server;
        let Err(error) = version else {
            findings.extend(storage(server).findings());
            continue;
        };
        // The other facts have the same error.
        let next = format!("curl -sSi -m 5 {url}/ping");
        let part = match is_silent {
            true => format!("no replica of shard {shard} of ClickHouse answers: {url}"),
            false => format!("a replica of shard {shard} of ClickHouse, {url}"),
        };
        findings.push(StatusFinding::of_error(&part, error, next));
        if is_silent {
            break;
        }
    }
    findings
}

fn clocks_apart(servers: &[ShardServerFacts]) -> Option<StatusFinding> {
    let clock = |server: &ShardServerFacts| {
        Some((server.clock_ahead_ms.as_ref().ok().copied()?, server.url.clone()))
    };
    let clocks = || servers.iter().filter_map(clock);
    let ((least, behind), (most, ahead)) = clocks().min().zip(clocks().max())?;
    (most - least > CLOCKS_APART_MS).then(|| {
        let apart = duration((most - least) as f64 / 1_000.0);
        let text = format!("the clock of ClickHouse {ahead} is {apart} ahead of that of {behind}");
        let finding =
            StatusFinding::of_heading("clock_skewed", text, "chronyc tracking".to_owned());
        StatusFinding { level: FindingLevel::Ticket, ..finding }
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::status::facts::{DiskState, PartsState, ReplicaState};
    use crate::status::finding_level::FindingLevel::{Ticket, Unknown, Wrong};

    /// Two shards, each of two replicas.
    fn servers() -> Vec<ShardServerFacts> {
        let server = |(shard, url): (u32, &str)| ShardServerFacts {
            shard,
            url: url.to_owned(),
            version: Ok("26.7".to_owned()),
            disks: Ok(vec![DiskState { name: "default".to_owned(), free: 50, total: 100 }]),
            parts: Ok(PartsState::default()),
            replicas: Ok(ReplicaState::default()),
            newest_click_ms: Ok(Some(i64::from(shard))),
            clock_ahead_ms: Ok(0),
        };
        [(1, "http://a"), (1, "http://b"), (2, "http://c"), (2, "http://d")].map(server).to_vec()
    }

    fn silent() -> ServerError {
        ServerError::retryable("clickhouse_unreachable", "no answer within 2 s")
    }

    /// Levels and texts of the findings after a change of servers with which nothing is wrong.
    fn found(change: impl FnOnce(&mut [ShardServerFacts])) -> Vec<(FindingLevel, String)> {
        let mut servers = servers();
        change(&mut servers);
        of_shard_servers(&servers).into_iter().map(|it| (it.level, it.text)).collect()
    }

    #[test]
    fn a_replica_and_a_shard_that_do_not_answer_are_one_finding_each() {
        assert_eq!(found(|_| ()), []);
        let replica = found(|it| it[1].version = Err(silent()));
        let text = "a replica of shard 1 of ClickHouse, http://b: no answer within 2 s";
        assert_eq!(replica, [(Unknown, text.to_owned())]);
        let shard = found(|it| it[2..].iter_mut().for_each(|own| own.version = Err(silent())));
        let text = "no replica of shard 2 of ClickHouse answers: http://c: no answer within 2 s";
        assert_eq!(shard, [(Unknown, text.to_owned())]);
    }

    #[test]
    fn a_finding_on_the_storage_of_a_server_names_the_server() {
        let disk = |servers: &mut [ShardServerFacts]| {
            servers[3].disks = Ok(vec![DiskState { name: "data".to_owned(), free: 9, total: 100 }]);
        };
        let text = "disk data of ClickHouse on http://d has 9 % free (9 B)";
        assert_eq!(found(disk), [(Wrong, text.to_owned())]);
        let mut servers = servers();
        disk(&mut servers);
        let next = &of_shard_servers(&servers)[0].next;
        assert!(next.starts_with("CLICKHOUSE_URL=http://d ch \"SELECT"), "{next}");
        let parts = found(|it| it[0].parts = Err(silent()));
        assert!(parts[0].1.starts_with("ClickHouse, parts on http://a: "), "{parts:?}");
    }

    #[test]
    fn clocks_that_differ_are_a_ticket_with_both_servers() {
        assert_eq!(found(|it| it[0].clock_ahead_ms = Ok(2_000)), []);
        let apart = found(|it| {
            it[2].clock_ahead_ms = Ok(-2_500);
            it[3].clock_ahead_ms = Ok(1_500);
        });
        let text = "the clock of ClickHouse http://d is 4 s ahead of that of http://c";
        assert_eq!(apart, [(Ticket, text.to_owned())]);
    }

    #[test]
    fn the_newest_click_is_that_of_the_servers_that_answer() {
        assert_eq!(newest_click_ms(&[]), None);
        let mut servers = servers();
        assert_eq!(newest_click_ms(&servers), Some(Ok(Some(2))));
        servers[2..].iter_mut().for_each(|own| own.newest_click_ms = Err(silent()));
        assert_eq!(newest_click_ms(&servers), Some(Ok(Some(1))));
        servers.iter_mut().for_each(|own| own.newest_click_ms = Err(silent()));
        assert_eq!(newest_click_ms(&servers), Some(Err(silent())));
    }
}
