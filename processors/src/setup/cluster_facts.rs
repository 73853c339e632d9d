//! Facts of the ClickHouse servers that the preflight and `setup --check` judge. Changes nothing.

use std::num::NonZeroU16;
use std::time::Duration;

use broker::{ErrorClass, ServerError};
use futures_util::future::{join_all, try_join_all};
use service::shown_url::without_secrets;

use crate::clickhouse::click_table::ClickTable;
use crate::clickhouse::cluster_layout::{self, LayoutRow};
use crate::clickhouse::insert_settings::PINNED;
use crate::clickhouse::server::{Server, in_time};
use crate::clickhouse::table_form::TableForm;
use crate::clickhouse::{
    describe_tables, known_shards, migrations, payload_retention, shard_views,
};
use crate::setup::layout_check::ServerLayout;
use crate::setup::preflight::{self, Finding, TableFacts};
use crate::setup::replication_check::replication;
use crate::shards::cluster::{Cluster, Shard};

/// Bounds the questions to one of several servers, so that one that hangs delays the others for this time only.
const TIMEOUT: Duration = Duration::from_secs(10);

/// How the configuration of a server gets the shards of the file.
pub(crate) const REMOTE_SERVERS: &str = "list the shards of the file, in its order and with its weights, in remote_servers of that server";

/// What one server has.
struct ServerFacts {
    table: TableFacts,
    findings: Vec<Finding>,
}

/// Findings on the tables of all servers.
///
/// # Errors
/// No replica of a shard answers, or a server refuses the program or was set up by another version.
pub(crate) async fn findings(cluster: &Cluster) -> Result<Vec<Finding>, ServerError> {
    let shards = cluster.shards.iter().map(|shard| of_shard(cluster, shard));
    let mut findings: Vec<_> = try_join_all(shards).await?.into_iter().flatten().collect();
    if !cluster.layout.is_single() {
        let stored = in_time(TIMEOUT, cluster_layout::stored(cluster.any())).await?;
        findings.extend(server_of_small_tables(cluster, &stored));
    }
    Ok(findings)
}

/// Judges the server through which small tables are read and written, by the rows of its layout. Without replication
/// those tables are on the first shard, and all programs must use it.
fn server_of_small_tables(cluster: &Cluster, stored: &[LayoutRow]) -> Option<Finding> {
    let usable = cluster.shards.iter().filter(|shard| cluster.name.is_some() || shard.number == 1);
    let mut rows = usable.filter_map(|shard| LayoutRow::of(&cluster.layout, shard.number));
    if rows.any(|row| stored == [row]) {
        return None;
    }
    let expected = if cluster.name.is_some() {
        "a server of the cluster"
    } else {
        "a replica of the first shard"
    };
    let stored: Vec<_> = stored.iter().map(LayoutRow::to_string).collect();
    let is = if stored.is_empty() { "without a layout".to_owned() } else { stored.join(" and ") };
    let wrong = format!(
        "CLICKHOUSE_URL {} is {is}, and jobs, links, dead letters and verdicts are read from {expected}",
        without_secrets(&cluster.any().url)
    );
    let fix =
        format!("CLICKHOUSE_URL={}, and processors setup", without_secrets(&cluster.first(0).url));
    Some(Finding { wrong, fix, tolerable: false })
}

async fn of_shard(cluster: &Cluster, shard: &Shard) -> Result<Vec<Finding>, ServerError> {
    let ask = |server| asked(cluster, shard, server, of_server(cluster, shard, server));
    let answers = join_all(shard.replicas.iter().map(ask)).await;
    let (mut findings, mut tables, mut silent) = (Vec::new(), Vec::new(), Vec::new());
    for (server, answer) in shard.replicas.iter().zip(answers) {
        match answer {
            Ok(facts) => {
                findings.extend(facts.findings);
                tables.push((without_secrets(&server.url), facts.table));
            }
            Err(error) if error.class == ErrorClass::Retryable => silent.push(error),
            Err(error) => return Err(error),
        }
    }
    if tables.is_empty()
        && let Some(error) = silent.pop()
    {
        return Err(error);
    }
    findings.extend(silent.into_iter().map(|error| Finding {
        wrong: format!("{}: {}; inserts use the other replicas", error.code, error.message),
        fix: "start that server, or correct its URL in the file of CLICKHOUSE_SHARDS".to_owned(),
        tolerable: true,
    }));
    findings.extend(replication(cluster.name.is_some(), &tables));
    Ok(findings)
}

async fn of_server(
    cluster: &Cluster,
    shard: &Shard,
    server: &Server,
) -> Result<ServerFacts, ServerError> {
    migrations::refuse_unknown(server).await?;
    let layout = layout(cluster, shard, server).await?;
    let inserts = ClickTable::open(server).await?;
    let view = TableForm::of(cluster, shard, &server.database).view_of_clicks();
    let table = describe_tables::facts(server, &inserts, view).await?;
    let mut findings = preflight::table(&table, PINNED);
    let views = shard_views::views(cluster, shard);
    if !table.engine.is_empty() {
        let differing = shard_views::differing(server, &views).await?;
        findings.extend(differing.iter().map(|name| Finding {
            wrong: format!("{name} does not read all shards of the settings"),
            fix: "processors setup".to_owned(),
            tolerable: true,
        }));
    }
    findings.extend(known_shards::difference(cluster, server).await?.map(|wrong| Finding {
        wrong: format!("{wrong}: queries read the clicks of other shards than those of the file"),
        fix: REMOTE_SERVERS.to_owned(),
        tolerable: true,
    }));
    for finding in &mut findings {
        finding.wrong = with_server(cluster, shard, server, &finding.wrong);
    }
    findings.extend(layout.finding());
    Ok(ServerFacts { table, findings })
}

/// The layout that a server states, and that of the settings.
///
/// # Errors
/// The server's refusal.
pub(crate) async fn layout(
    cluster: &Cluster,
    shard: &Shard,
    server: &Server,
) -> Result<ServerLayout, ServerError> {
    let expected = LayoutRow::of(&cluster.layout, shard.number);
    let stored = cluster_layout::stored(server).await?;
    // A single server without a row needs no more questions.
    let is_of_shards = expected.is_some() || !stored.is_empty();
    let has_clicks = is_of_shards && cluster_layout::has_clicks(server).await?;
    Ok(ServerLayout { address: without_secrets(&server.url), stored, expected, has_clicks })
}

/// What `processors setup` would change in the tables, beside the findings of the preflight. Of a server that does
/// not answer, the preflight has a finding.
///
/// # Errors
/// A server's refusal.
pub(crate) async fn drift(
    cluster: &Cluster,
    payload_days: NonZeroU16,
) -> Result<Vec<Finding>, ServerError> {
    let mut findings = Vec::new();
    for (shard, server) in cluster.servers() {
        let differences = asked(cluster, shard, server, differences(server, payload_days)).await;
        match differences {
            Ok(wrong) => findings.extend(wrong.into_iter().map(|wrong| Finding {
                wrong: with_server(cluster, shard, server, &wrong),
                fix: "processors setup".to_owned(),
                tolerable: false,
            })),
            Err(error) if error.class == ErrorClass::Retryable && !cluster.is_one_server() => {}
            Err(error) => return Err(error),
        }
    }
    Ok(findings)
}

async fn differences(
    server: &Server,
    payload_days: NonZeroU16,
) -> Result<Vec<String>, ServerError> {
    let retention = payload_retention::difference(server, payload_days).await?;
    let missing = migrations::missing(server).await?.into_iter();
    let missing = missing.map(|name| format!("migration {name} is not applied"));
    Ok(retention.into_iter().chain(missing).collect())
}

/// An answer of one server: of several, it has to come in time, and its error names the server.
async fn asked<T>(
    cluster: &Cluster,
    shard: &Shard,
    server: &Server,
    answer: impl Future<Output = Result<T, ServerError>>,
) -> Result<T, ServerError> {
    if cluster.is_one_server() {
        return answer.await;
    }
    in_time(TIMEOUT, answer).await.map_err(|error| named(cluster, shard, server, error))
}

/// An error with the server, where there are several.
pub(crate) fn named(
    cluster: &Cluster,
    shard: &Shard,
    server: &Server,
    error: ServerError,
) -> ServerError {
    ServerError { message: with_server(cluster, shard, server, &error.message), ..error }
}

/// A text with the shard and the URL of the server in front, where there are several.
pub(crate) fn with_server(cluster: &Cluster, shard: &Shard, server: &Server, text: &str) -> String {
    if cluster.is_one_server() {
        return text.to_owned();
    }
    format!("shard {} ({}): {text}", shard.number, without_secrets(&server.url))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn server(url: &str) -> Server {
        Server {
            url: url.to_owned(),
            user: String::new(),
            password: String::new(),
            database: String::new(),
        }
    }

    fn cluster(name: Option<&str>) -> Cluster {
        let shard = |number: u32| {
            let replicas = ["a", "b"].map(|replica| server(&format!("http://ch{number}{replica}")));
            Shard { number, weight: 1, replicas: replicas.into() }
        };
        Cluster::new(vec![shard(1), shard(2)], name.map(str::to_owned), None)
    }

    #[test]
    fn the_small_tables_are_on_the_first_shard_or_replicated_to_all() {
        for (name, shard, is_found) in
            [(None, 1, false), (None, 2, true), (Some("c"), 1, false), (Some("c"), 2, false)]
        {
            let cluster = cluster(name);
            let row = LayoutRow::of(&cluster.layout, shard).unwrap();
            let found = server_of_small_tables(&cluster, &[row]);
            assert_eq!(found.is_some(), is_found, "{name:?} {shard}");
            assert!(found.is_none_or(|found| found.fix.contains("http://ch1a")));
            assert!(server_of_small_tables(&cluster, &[]).is_some());
        }
    }

    #[tokio::test(start_paused = true)]
    async fn one_of_several_servers_that_hangs_is_named_after_a_time() {
        let cluster = cluster(None);
        let (shard, server) = cluster.servers().nth(3).unwrap();
        let answer = asked(&cluster, shard, server, std::future::pending::<Result<(), _>>()).await;
        let error = answer.unwrap_err();
        assert_eq!((error.code, error.class), ("clickhouse_timeout", ErrorClass::Retryable));
        assert!(error.message.starts_with("shard 2 (http://ch2b): "), "{error}");
    }
}
