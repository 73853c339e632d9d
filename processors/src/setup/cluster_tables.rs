//! Creates the tables on every ClickHouse server, or prints how.

use std::fmt::Write as _;
use std::num::NonZeroU16;

use broker::ServerError;
use futures_util::future::try_join_all;
use service::shown_url::without_secrets;

use crate::clickhouse::cluster_layout::{self, LayoutRow};
use crate::clickhouse::server::Server;
use crate::clickhouse::table_form::TableForm;
use crate::clickhouse::{known_shards, migrations, payload_retention, shard_views};
use crate::setup::cluster_facts::{REMOTE_SERVERS, layout, named, with_server};
use crate::setup::layout_check::{self, ServerLayout};
use crate::shards::cluster::Cluster;

/// Creates what is missing on every server, and reports each change immediately. It changes nothing if a server
/// states another layout, has another cluster in its configuration, or does not answer.
///
/// # Errors
/// A server does not answer, or refuses a change; the layout or the cluster differs.
pub(super) async fn apply(
    cluster: &Cluster,
    payload_days: NonZeroU16,
    report: &mut impl FnMut(String),
) -> Result<(), ServerError> {
    let layouts = cluster.servers().map(async |(shard, server)| {
        layout(cluster, shard, server).await.map_err(|error| named(cluster, shard, server, error))
    });
    let layouts = try_join_all(layouts).await?;
    layout_check::allow(&layouts)?;
    for (shard, server) in cluster.servers() {
        let known = refuse_other_shards(cluster, server).await;
        known.map_err(|error| named(cluster, shard, server, error))?;
    }
    for ((shard, server), layout) in cluster.servers().zip(&layouts) {
        let form = TableForm::of(cluster, shard, &server.database);
        let mut report = |change: String| report(with_server(cluster, shard, server, &change));
        let tables = tables(server, layout, form, &mut report).await;
        tables.map_err(|error| named(cluster, shard, server, error))?;
        let retention = payload_retention::ensure(server, payload_days).await;
        let retention = retention.map_err(|error| named(cluster, shard, server, error))?;
        retention.into_iter().for_each(&mut report);
    }
    // Each server has its own views by now.
    for (shard, server) in cluster.servers() {
        let views = shard_views::views(cluster, shard);
        let changes = shard_views::ensure(server, &views).await;
        let changes = changes.map_err(|error| named(cluster, shard, server, error))?;
        changes.iter().for_each(|change| report(with_server(cluster, shard, server, change)));
    }
    Ok(())
}

/// Refuses a server whose `Distributed` tables would read other shards.
async fn refuse_other_shards(cluster: &Cluster, server: &Server) -> Result<(), ServerError> {
    let wrong = known_shards::difference(cluster, server).await?;
    wrong.map_or(Ok(()), |wrong| {
        let text = format!("{wrong}: {REMOTE_SERVERS}");
        Err(ServerError::fatal("clickhouse_cluster", text))
    })
}

async fn tables(
    server: &Server,
    layout: &ServerLayout,
    form: TableForm<'_>,
    report: &mut impl FnMut(String),
) -> Result<(), ServerError> {
    migrations::create_database(server).await?.into_iter().for_each(&mut *report);
    if layout.differs() {
        // They may have another kind in the new layout. No server has clicks.
        shard_views::drop_all(server).await?;
        cluster_layout::store(server, layout.expected.as_ref()).await?;
        let row = layout.expected.as_ref().map(LayoutRow::to_string);
        let row = row.unwrap_or_else(|| "the only server".to_owned());
        report(format!("clickhouse: stored the layout: {row}"));
    }
    let changes = migrations::migrate(server, &form).await?;
    changes.into_iter().for_each(report);
    Ok(())
}

/// The SQL that creates the tables; of several shards, that of each of their servers.
pub(crate) fn printed(cluster: &Cluster, payload_days: NonZeroU16) -> String {
    let database = &cluster.any().database;
    let retention = payload_retention::statement(payload_days);
    if cluster.is_one_server() && cluster.name.is_none() {
        return format!("{}\n{retention};", migrations::sql(database));
    }
    let mut text = String::from("-- Run each part on each server that it names.");
    if cluster.name.is_none() {
        text.push_str(" Replace … by the password of the shard.");
    }
    for shard in &cluster.shards {
        let servers: Vec<_> =
            shard.replicas.iter().map(|server| without_secrets(&server.url)).collect();
        let tables = migrations::sql_in_form(&TableForm::of(cluster, shard, database));
        let row = LayoutRow::of(&cluster.layout, shard.number);
        let row = row.map_or_else(String::new, |row| format!("\n{};\n", row.statement()));
        let _infallible = write!(
            text,
            "\n\n-- Shard {}: {}\n{tables}{row}\n{retention};",
            shard.number,
            servers.join(", "),
        );
        for view in shard_views::views(cluster, shard) {
            let _infallible = write!(text, "\n\n{};", view.printed());
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use crate::shards::cluster::Shard;

    use super::*;

    fn server(number: u32) -> Server {
        Server {
            url: format!("http://u:geheim@ch{number}:8123"),
            user: "u".to_owned(),
            password: "geheim".to_owned(),
            database: "clicks".to_owned(),
        }
    }

    fn shards(number: u32) -> Vec<Shard> {
        (1..=number)
            .map(|number| Shard { number, weight: number, replicas: vec![server(number)] })
            .collect()
    }

    const DAYS: NonZeroU16 = NonZeroU16::new(90).unwrap();

    #[test]
    fn one_server_gets_the_migrations_and_the_retention_alone() {
        let text = printed(&Cluster::single(server(1)), DAYS);
        let expected =
            format!("{}\n{};", migrations::sql("clicks"), payload_retention::statement(DAYS));
        assert_eq!(text, expected);
        assert!(!text.contains("INSERT INTO"));
    }

    #[test]
    fn each_shard_gets_its_tables_its_row_and_the_views_of_all_shards() {
        for name in [None, Some("c".to_owned())] {
            let text = printed(&Cluster::new(shards(2), name.clone(), None), DAYS);
            for expected in [
                "-- Shard 2: http://…@ch2:8123\nCREATE DATABASE IF NOT EXISTS `clicks`;",
                "INSERT INTO cluster_layout (shard, shards, weights) VALUES (2, 2, '1,2');",
            ] {
                assert!(text.contains(expected), "no {expected} in {text}");
            }
            // Two tables on each shard, or one for each other shard.
            let (engine, tables) =
                if name.is_some() { ("Distributed('c', ", 4) } else { ("URL('http", 2) };
            assert_eq!(text.matches(&format!("ENGINE = {engine}")).count(), tables, "{text}");
            assert!(!text.contains("geheim"), "{text}");
        }
    }
}
