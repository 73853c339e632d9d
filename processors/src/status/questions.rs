//! Asks all parts in parallel, each within a deadline, so that a part that is down delays no other one.
#![expect(
    clippy::disallowed_methods,
    reason = "the deadline of the brokers, and the age of the facts"
)]

use std::time::Duration;

use broker::{Registry, ServerError};
use futures_util::future::join_all;
use jiff::Timestamp;
use schemas::{LINKS_NEWEST, NEWEST};
use service::shown_url::without_secrets;
use tokio::sync::oneshot;
use tokio::time::Instant;

use crate::clickhouse::server::Server;
use crate::clickhouse::{held_dead_letters, job_table, server_clock, server_state};
use crate::config::{KafkaArgs, Servers};
use crate::jobs::claim_rules::is_silent;
use crate::jobs::job::StoredJob;
use crate::jobs::job_listing::resume_command;
use crate::jobs::skipped_gap;
use crate::kafka::log_status::LogStatus;
use crate::shards::cluster::Cluster;
use crate::status::admin_client;
use crate::status::facts::{
    ClickHouseFacts, KafkaFacts, OpenJob, RegistryFacts, ShardServerFacts, StatusFacts,
};
use crate::status::shard_servers::newest_click_ms;

/// Every part has answered by then, or counts as one that does not answer.
pub const DEADLINE: Duration = Duration::from_secs(2);
/// The brokers have less, so that their client reports by then what it knows.
const BROKERS_DEADLINE: Duration = Duration::from_millis(1_800);
/// Between two samples of a rate.
const APART: Duration = Duration::from_secs(1);

/// The facts about everything that these settings name, within [`DEADLINE`].
///
/// # Errors
/// A setting is wrong.
pub async fn ask(
    servers: &Servers,
    group: &str,
    services: &[String],
) -> Result<StatusFacts, ServerError> {
    let at_ms = Timestamp::now().as_millisecond();
    let cluster = servers.clickhouse.cluster()?;
    let services = services.iter().map(|address| admin_client::ask(address, DEADLINE, APART));
    let (kafka, registries, mut clickhouse, shard_servers, services) = tokio::join!(
        kafka(&servers.kafka, group),
        registries(servers),
        clickhouse(cluster.any(), servers.kafka.topic.as_str()),
        shard_servers(&cluster),
        join_all(services),
    );
    if let Some(newest) = newest_click_ms(&shard_servers) {
        clickhouse.newest_click_ms = newest;
    }
    Ok(StatusFacts {
        at_ms,
        brokers: servers.kafka.brokers.kafka_brokers.clone(),
        kafka,
        registries,
        clickhouse_url: without_secrets(&cluster.any().url),
        clickhouse,
        shard_servers,
        services,
    })
}

/// A part that does not answer within [`DEADLINE`] has this code.
async fn in_time<T>(
    code: &'static str,
    answer: impl Future<Output = Result<T, ServerError>>,
) -> Result<T, ServerError> {
    tokio::time::timeout(DEADLINE, answer)
        .await
        .unwrap_or_else(|_| Err(ServerError::retryable(code, no_answer())))
}

fn no_answer() -> String {
    format!("no answer within {} s", DEADLINE.as_secs())
}

/// The error of brokers; those that refuse a connection and those that do not answer have the same one.
fn silent(error: ServerError) -> ServerError {
    if !error.is_retryable() {
        return error;
    }
    ServerError { message: format!("{} ({})", no_answer(), error.message), ..error }
}

async fn kafka(args: &KafkaArgs, group: &str) -> Result<KafkaFacts, ServerError> {
    let brokers = args.brokers();
    let topics = args.topics().map(|(name, _)| name);
    let group = group.to_owned();
    let (answer, answered) = oneshot::channel();
    // The client of a broker that accepts connections and does not answer takes seconds to end. Neither the
    // answer nor the end of the process waits for this thread.
    let asked = std::thread::Builder::new().name("status".to_owned()).spawn(move || {
        let status = LogStatus::open(&brokers, &group, &topics[0]);
        // The receiver may have reached its deadline.
        answer
            .send(status.as_ref().map_err(Clone::clone).and_then(|it| ask_brokers(it, &topics)))
            .ok();
    });
    asked.map_err(|error| ServerError::retryable("kafka_client", error))?;
    in_time("kafka_unreachable", async {
        answered.await.unwrap_or_else(|error| Err(ServerError::fatal("task_panicked", error)))
    })
    .await
}

fn ask_brokers(status: &LogStatus, topics: &[String; 3]) -> Result<KafkaFacts, ServerError> {
    let deadline = Instant::now() + BROKERS_DEADLINE;
    let left = || deadline.saturating_duration_since(Instant::now());
    let (brokers, topics) = status.topics(topics, &left).map_err(silent)?;
    some_brokers(brokers)?;
    let group = status.group(APART, &left).map_err(silent);
    Ok(KafkaFacts { brokers, topics, group })
}

/// Refuses an answer that names no broker: what it states of topics is not their state.
fn some_brokers(count: usize) -> Result<(), ServerError> {
    if count > 0 {
        return Ok(());
    }
    let text = "the answer names no broker: the brokers start, or were suspended until now";
    Err(ServerError::retryable("kafka_unreachable", text))
}

async fn registries(servers: &Servers) -> Vec<RegistryFacts> {
    let urls = servers.registry.schema_registry_url.split(',').map(str::trim);
    let subjects = [
        (servers.kafka.topic.subject(), NEWEST),
        (servers.kafka.links_topic.subject(), LINKS_NEWEST),
    ];
    let ask = |url| {
        let subjects = &subjects;
        async move {
            let unregistered = in_time("registry_unreachable", unregistered(url, subjects)).await;
            RegistryFacts { url: without_secrets(url), unregistered }
        }
    };
    join_all(urls.map(ask)).await
}

/// The subjects under which the registry at `url` does not have the schema.
async fn unregistered(url: &str, subjects: &[(String, &str)]) -> Result<Vec<String>, ServerError> {
    // The client reads the certificates of the system, which takes up to a second on a busy host.
    let own = url.to_owned();
    let registry = tokio::task::spawn_blocking(move || Registry::new(&own)).await;
    let registry = registry.map_err(|error| ServerError::fatal("task_panicked", error))??;
    let mut unregistered = Vec::new();
    for (subject, schema) in subjects {
        if registry.lookup(subject, schema).await?.is_none() {
            unregistered.push(subject.clone());
        }
    }
    Ok(unregistered)
}

async fn clickhouse(server: &Server, topic: &str) -> ClickHouseFacts {
    let code = "clickhouse_unreachable";
    let (
        version,
        disks,
        parts,
        replicas,
        newest_click_ms,
        dead_letters,
        jobs,
        balance,
        newest_link_ms,
    ) = tokio::join!(
        in_time(code, server_state::version(server)),
        in_time(code, server_state::disks(server)),
        in_time(code, server_state::parts(server)),
        in_time(code, server_state::replicas(server)),
        in_time(code, server_state::newest_click_ms(server)),
        in_time(code, held_dead_letters::held_within(server, DEADLINE)),
        in_time(code, open_jobs(server)),
        in_time(code, server_state::balance(server, topic)),
        in_time(code, server_state::newest_link_ms(server)),
    );
    ClickHouseFacts {
        version,
        disks,
        parts,
        replicas,
        newest_click_ms,
        dead_letters,
        jobs,
        balance,
        newest_link_ms,
    }
}

/// Asks each server of a cluster; none of a single server, which [`clickhouse`] asks.
async fn shard_servers(cluster: &Cluster) -> Vec<ShardServerFacts> {
    if cluster.is_one_server() {
        return Vec::new();
    }
    join_all(cluster.servers().map(|(shard, server)| shard_server(shard.number, server))).await
}

async fn shard_server(shard: u32, server: &Server) -> ShardServerFacts {
    let code = "clickhouse_unreachable";
    let (version, disks, parts, replicas, newest_click_ms, clock_ahead_ms) = tokio::join!(
        in_time(code, server_state::version(server)),
        in_time(code, server_state::disks(server)),
        in_time(code, server_state::parts(server)),
        in_time(code, server_state::replicas(server)),
        in_time(code, server_state::newest_click_ms(server)),
        in_time(code, clock_ahead_ms(server)),
    );
    let url = without_secrets(&server.url);
    ShardServerFacts {
        shard,
        url,
        version,
        disks,
        parts,
        replicas,
        newest_click_ms,
        clock_ahead_ms,
    }
}

/// How far the clock of a server is ahead of this host's: it read its clock in the middle of the question.
async fn clock_ahead_ms(server: &Server) -> Result<i64, ServerError> {
    let asked_ms = Timestamp::now().as_millisecond();
    let own_ms = server_clock::now_ms(server).await?;
    let answered_ms = Timestamp::now().as_millisecond();
    Ok(own_ms - (asked_ms + answered_ms) / 2)
}

async fn open_jobs(server: &Server) -> Result<Vec<OpenJob>, ServerError> {
    let jobs = job_table::jobs(server).await?;
    let open = jobs
        .into_iter()
        .filter(|stored| !stored.job.state.has_ended() || skipped_gap::is_left(stored));
    Ok(open.map(open_job).collect())
}

fn open_job(stored: StoredJob) -> OpenJob {
    let has_left_gap = skipped_gap::is_left(&stored);
    let StoredJob { job, now_us } = stored;
    OpenJob {
        resume: resume_command(&job),
        state: job.state.name(),
        age_seconds: now_us.saturating_sub(job.created_at_us) / 1_000_000,
        is_abandoned: job.state.has_process() && is_silent(&job, now_us),
        has_left_gap,
        id: job.id,
        kind: job.kind,
    }
}

#[cfg(test)]
mod tests {
    use super::some_brokers;

    #[test]
    fn an_answer_without_brokers_is_one_error() {
        assert_eq!(some_brokers(1), Ok(()));
        let error = some_brokers(0).unwrap_err();
        assert!(error.code == "kafka_unreachable" && error.is_retryable(), "{error}");
    }
}
