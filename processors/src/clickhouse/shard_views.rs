//! The tables and views by which a server reads the clicks of all shards: `clicks` and `clicks_of_days`, over the views
//! `shard_…` of each shard, which show each click of a shard once.
//!
//! With the name of a cluster they are `Distributed` tables: a query without a subquery is aggregated on the shards. Without
//! one they are views over tables of the engine `URL`, which read all clicks of the other shards for each query.

use broker::ServerError;
use sha2::{Digest, Sha256};
use url::Url;

use crate::clickhouse::migrations;
use crate::clickhouse::server::{Server, server_error};
use crate::clickhouse::sql_text::literal;
use crate::clickhouse::table_form::{CLICK_VIEWS, OWN};
use crate::shards::cluster::{Cluster, Shard};

/// What stands for a password in a text that is shown or compared.
const HIDDEN: &str = "…";

/// One table or view over the shards.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct ShardView {
    name: String,
    /// Creates it; with the passwords of the shards.
    statement: String,
    /// The statement without passwords.
    shown: String,
}

impl ShardView {
    fn new(name: impl Into<String>, statement: impl Into<String>) -> Self {
        let statement = statement.into();
        Self { name: name.into(), shown: statement.clone(), statement }
    }

    /// What the server keeps with it: which statement created it. It changes with each migration, since a table or
    /// view keeps the columns of its creation.
    fn comment(&self) -> String {
        let text = format!("{}\n{}", self.shown, migrations::newest());
        let digest = Sha256::digest(text);
        let start: String = digest.iter().take(6).map(|byte| format!("{byte:02x}")).collect();
        format!("all shards, by `processors setup` {start}")
    }

    fn commented(&self, statement: &str) -> String {
        format!("{statement}\nCOMMENT {}", literal(&self.comment()))
    }

    /// The statement for a person, without passwords.
    pub(crate) fn printed(&self) -> String {
        self.commented(&self.shown)
    }
}

/// What a server of `shard` has, in the order of creation; none where one shard has all clicks.
pub(crate) fn views(cluster: &Cluster, shard: &Shard) -> Vec<ShardView> {
    if cluster.layout.is_single() {
        return Vec::new();
    }
    match &cluster.name {
        Some(name) => distributed(name, &cluster.any().database),
        None => over_http(cluster, shard),
    }
}

/// Tables without a key for inserts, so that the server refuses an insert into them.
fn distributed(cluster: &str, database: &str) -> Vec<ShardView> {
    let (cluster, database) = (literal(cluster), literal(database));
    let table = |name: &str| {
        let own = format!("{OWN}{name}");
        let statement = format!(
            "CREATE OR REPLACE TABLE {name} AS {own}\nENGINE = Distributed({cluster}, {database}, '{own}')"
        );
        ShardView::new(name, statement)
    };
    CLICK_VIEWS.map(table).into()
}

fn over_http(cluster: &Cluster, own: &Shard) -> Vec<ShardView> {
    let others = cluster.shards.iter().filter(|shard| shard.number != own.number);
    let mut views: Vec<ShardView> = others.map(of_other_shard).collect();
    let [clicks, days] = CLICK_VIEWS;
    let tables = views.iter().map(|view| view.name.as_str());
    let selects: Vec<_> = std::iter::once(format!("{OWN}{clicks}").as_str())
        .chain(tables)
        .map(|table| format!("SELECT * FROM {table}"))
        .collect();
    let all = format!("CREATE OR REPLACE VIEW {clicks} AS {}", selects.join(" UNION ALL "));
    views.push(ShardView::new(clicks, all));
    // The key of the partitions of a click.
    let by_day = format!(
        "CREATE OR REPLACE VIEW {days} AS SELECT *, toDate(occurred_at) AS day FROM {clicks}"
    );
    views.push(ShardView::new(days, by_day));
    views
}

/// The clicks of another shard, which its first replica that answers sends.
fn of_other_shard(shard: &Shard) -> ShardView {
    let name = format!("{OWN}{}_clicks", shard.number);
    let urls: Vec<_> = shard.replicas.iter().map(query_url).collect();
    let statement = |user: &str, password: &str| {
        format!(
            "CREATE OR REPLACE TABLE {name} AS {OWN}clicks\nENGINE = URL({url}, 'Native', headers(\
             'X-ClickHouse-User' = {user}, 'X-ClickHouse-Key' = {password}))",
            url = literal(&urls.join("|")),
            user = literal(user),
            password = literal(password),
        )
    };
    // The replicas of a shard share user and password.
    let (user, password) = shard
        .replicas
        .first()
        .map_or(("", ""), |server| (server.user.as_str(), server.password.as_str()));
    let shown = if password.is_empty() { "" } else { HIDDEN };
    ShardView {
        shown: statement(user, shown),
        statement: statement(user, password),
        name: name.clone(),
    }
}

/// The URL whose answer is the clicks of a server.
fn query_url(server: &Server) -> String {
    let query = format!("SELECT * FROM {OWN}clicks FORMAT Native");
    let Ok(mut url) = Url::parse(&server.url) else { return server.url.clone() };
    // User and password are headers.
    let _has_host = (url.set_username(""), url.set_password(None));
    url.query_pairs_mut().append_pair("database", &server.database).append_pair("query", &query);
    // Signs that a table of the engine `URL` reads as a choice of several URLs.
    url.to_string().replace('|', "%7C").replace('*', "%2A")
}

/// The names of the tables and views that are missing, or that another statement created.
///
/// # Errors
/// The server's refusal.
pub(crate) async fn differing(
    server: &Server,
    views: &[ShardView],
) -> Result<Vec<String>, ServerError> {
    if views.is_empty() {
        return Ok(Vec::new());
    }
    let query = server.bare();
    let query = query
        .query("SELECT name, comment FROM system.tables WHERE database = ?")
        .bind(&server.database);
    let held: Vec<(String, String)> = query.fetch_all().await.map_err(server_error)?;
    let is_equal = |view: &ShardView| {
        held.iter().any(|(name, comment)| *name == view.name && *comment == view.comment())
    };
    Ok(views.iter().filter(|view| !is_equal(view)).map(|view| view.name.clone()).collect())
}

/// Creates what differs, and again what has a password, which may have changed; returns the changes.
///
/// # Errors
/// The server's refusal.
pub(crate) async fn ensure(
    server: &Server,
    views: &[ShardView],
) -> Result<Vec<String>, ServerError> {
    let differing = differing(server, views).await?;
    let mut changes = Vec::new();
    for view in views {
        let differs = differing.contains(&view.name);
        if differs || view.statement != view.shown {
            // The client reads `?` as a placeholder.
            let statement = view.commented(&view.statement).replace('?', "??");
            server.client().query(&statement).execute().await.map_err(server_error)?;
        }
        if differs {
            changes.push(format!("clickhouse: created {} over all shards", view.name));
        }
    }
    Ok(changes)
}

/// Drops `clicks` and `clicks_of_days` of any kind, so that a server can have those of another layout.
///
/// # Errors
/// The server's refusal.
pub(crate) async fn drop_all(server: &Server) -> Result<(), ServerError> {
    for name in CLICK_VIEWS {
        let statement = format!("DROP TABLE IF EXISTS {name}");
        server.client().query(&statement).execute().await.map_err(server_error)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cluster(name: Option<&str>, shards: u32) -> Cluster {
        let server = |number: u32, replica: &str| Server {
            url: format!("http://ch{number}{replica}:8123"),
            user: "u".to_owned(),
            password: "ge'heim".to_owned(),
            database: "db".to_owned(),
        };
        let shard = |number| {
            let replicas = vec![server(number, "a"), server(number, "b")];
            Shard { number, weight: 1, replicas }
        };
        Cluster::new((1..=shards).map(shard).collect(), name.map(str::to_owned), None)
    }

    fn statements(views: &[ShardView]) -> Vec<&str> {
        views.iter().map(|view| view.statement.as_str()).collect()
    }

    #[test]
    fn one_shard_has_no_views_over_others() {
        for name in [None, Some("c")] {
            let cluster = cluster(name, 1);
            assert_eq!(views(&cluster, &cluster.shards[0]), []);
        }
    }

    #[test]
    fn a_named_cluster_reads_all_shards_by_distributed_tables() {
        let cluster = cluster(Some("c"), 2);
        let views = views(&cluster, &cluster.shards[1]);
        let expected = [
            "CREATE OR REPLACE TABLE clicks AS shard_clicks\nENGINE = Distributed('c', 'db', 'shard_clicks')",
            "CREATE OR REPLACE TABLE clicks_of_days AS shard_clicks_of_days\n\
             ENGINE = Distributed('c', 'db', 'shard_clicks_of_days')",
        ];
        assert_eq!(statements(&views), expected);
    }

    #[test]
    fn without_a_name_a_server_reads_the_others_over_http_and_shows_no_password() {
        let cluster = cluster(None, 3);
        let views = views(&cluster, &cluster.shards[1]);
        let names: Vec<_> = views.iter().map(|view| view.name.as_str()).collect();
        assert_eq!(names, ["shard_1_clicks", "shard_3_clicks", "clicks", "clicks_of_days"]);
        let url = |host: &str| {
            format!(
                "http://{host}:8123/?database=db&query=SELECT+%2A+FROM+shard_clicks+FORMAT+Native"
            )
        };
        let expected = format!(
            "CREATE OR REPLACE TABLE shard_3_clicks AS shard_clicks\nENGINE = URL('{}|{}', 'Native', headers(\
             'X-ClickHouse-User' = 'u', 'X-ClickHouse-Key' = 'ge\\'heim'))",
            url("ch3a"),
            url("ch3b")
        );
        assert_eq!(views[1].statement, expected);
        assert_eq!(
            views[2].statement,
            "CREATE OR REPLACE VIEW clicks AS SELECT * FROM shard_clicks UNION ALL \
             SELECT * FROM shard_1_clicks UNION ALL SELECT * FROM shard_3_clicks"
        );
        for view in &views {
            assert!(!view.printed().contains("heim"), "{}", view.printed());
            assert!(view.printed().contains("\nCOMMENT 'all shards, by `processors setup` "));
        }
        let comments =
            views.iter().map(ShardView::comment).collect::<std::collections::BTreeSet<_>>();
        assert_eq!(comments.len(), views.len());
    }
}
