//! How the tables of one server are created: the statements of the migrations as a server of a cluster needs them.
//! Pure: text to text.
//!
//! - A server of a cluster with a name has replicated tables: `click_versions` within its shard, all others on every
//!   server. A few tables describe the server itself and are its own.
//! - A server of several shards has the views of clicks under the names `shard_…`; `shard_views` creates those of
//!   all shards.

use std::borrow::Cow;

use crate::clickhouse::sql_text;
use crate::shards::cluster::{Cluster, Shard};

/// Begins the name of a view of the clicks that a server holds itself.
pub(crate) const OWN: &str = "shard_";
/// The views of clicks.
pub(crate) const CLICK_VIEWS: [&str; 2] = ["clicks", "clicks_of_days"];

const CREATE_TABLE: &str = "CREATE TABLE IF NOT EXISTS ";
const CREATE_VIEW: &str = "CREATE OR REPLACE VIEW ";
const ENGINE: &str = "ENGINE = ";
/// The table that differs from shard to shard.
const SHARDED_TABLE: &str = "click_versions";
/// Tables that describe their server.
const TABLES_OF_A_SERVER: [&str; 2] = ["cluster_layout", "schema_migrations"];

/// How the tables of one server are created.
#[derive(Debug, Clone, Copy)]
pub(crate) struct TableForm<'a> {
    database: &'a str,
    /// Number of the shard, if ClickHouse replicates the tables.
    replicated_shard: Option<u32>,
    has_other_shards: bool,
}

impl<'a> TableForm<'a> {
    /// The only server.
    pub(crate) fn single(database: &'a str) -> Self {
        Self { database, replicated_shard: None, has_other_shards: false }
    }

    /// A server of this shard.
    pub(crate) fn of(cluster: &Cluster, shard: &Shard, database: &'a str) -> Self {
        Self {
            database,
            replicated_shard: cluster.name.as_ref().map(|_| shard.number),
            has_other_shards: !cluster.layout.is_single(),
        }
    }

    /// The database of the tables.
    pub(crate) fn database(&self) -> &'a str {
        self.database
    }

    /// The view of the clicks that this server holds.
    pub(crate) fn view_of_clicks(&self) -> &'static str {
        if self.has_other_shards { "shard_clicks" } else { "clicks" }
    }

    /// A statement of a migration as this server runs it.
    pub(crate) fn statement<'s>(&self, statement: &'s str) -> Cow<'s, str> {
        let (comment, bare) = parted(statement);
        let changed = self.own_view(bare).or_else(|| self.replicated_table(bare));
        changed
            .map_or(Cow::Borrowed(statement), |changed| Cow::Owned(format!("{comment}{changed}")))
    }

    /// A view of clicks, under its name for the clicks of this server.
    fn own_view(&self, statement: &str) -> Option<String> {
        let (name, body) = named(statement, CREATE_VIEW)?;
        let is_own = self.has_other_shards && CLICK_VIEWS.contains(&name);
        is_own.then(|| format!("{CREATE_VIEW}{OWN}{name}{body}"))
    }

    /// A table, as one that ClickHouse replicates. No window of deduplication: it would drop an identical block of a
    /// replay after its acknowledgement.
    fn replicated_table(&self, statement: &str) -> Option<String> {
        let shard = self.replicated_shard?;
        let (name, body) = named(statement, CREATE_TABLE)?;
        if TABLES_OF_A_SERVER.contains(&name) {
            return None;
        }
        let (columns, engine) = body.split_once(ENGINE)?;
        let (family, rest) = engine.split_at(engine.find("MergeTree")? + "MergeTree".len());
        let (arguments, rest) = match rest.strip_prefix('(') {
            Some(inner) => inner.split_once(')')?,
            None => ("", rest),
        };
        let arguments = if arguments.is_empty() { String::new() } else { format!(", {arguments}") };
        // The server replaces the macro `{replica}` by its name.
        let (of_shard, replica) = if name == SHARDED_TABLE {
            (format!("shard_{shard}"), "{replica}".to_owned())
        } else {
            ("all".to_owned(), format!("shard_{shard}_{{replica}}"))
        };
        let path = format!("/clickhouse/tables/{}/{name}/{of_shard}", self.database);
        let path = sql_text::literal(&path);
        let window = if rest.contains("SETTINGS ") { ",\n         " } else { "\nSETTINGS " };
        Some(format!(
            "{CREATE_TABLE}{name}{columns}{ENGINE}Replicated{family}({path}, '{replica}'{arguments}){rest}\
             {window}replicated_deduplication_window = 0"
        ))
    }
}

/// The lines of comment in front of a statement, and the statement.
fn parted(statement: &str) -> (&str, &str) {
    let lines = statement.split_inclusive('\n').take_while(|line| line.starts_with("--"));
    statement.split_at(lines.map(str::len).sum())
}

/// The name after `start`, and all that follows it.
fn named<'s>(statement: &'s str, start: &str) -> Option<(&'s str, &'s str)> {
    let rest = statement.strip_prefix(start)?;
    Some(rest.split_at(rest.find(char::is_whitespace)?))
}

#[cfg(test)]
mod tests {
    use crate::clickhouse::server::Server;

    use super::*;

    fn cluster(name: Option<&str>, shards: u32) -> Cluster {
        let server = |number| Server {
            url: format!("http://ch{number}:8123"),
            user: String::new(),
            password: String::new(),
            database: String::new(),
        };
        let shard = |number| Shard { number, weight: 1, replicas: vec![server(number)] };
        Cluster::new((1..=shards).map(shard).collect(), name.map(str::to_owned), None)
    }

    fn of(cluster: &Cluster, statement: &str) -> String {
        let shard = cluster.shards.last().unwrap();
        TableForm::of(cluster, shard, "db").statement(statement).into_owned()
    }

    const VIEW: &str =
        "-- why\nCREATE OR REPLACE VIEW clicks AS SELECT * FROM click_versions FINAL";

    #[test]
    fn a_server_of_several_shards_names_its_own_views_of_clicks() {
        let expected = VIEW.replace("VIEW clicks", "VIEW shard_clicks");
        for name in [None, Some("c")] {
            assert_eq!(of(&cluster(name, 2), VIEW), expected);
            assert_eq!(of(&cluster(name, 1), VIEW), VIEW);
        }
        for other in ["CREATE OR REPLACE VIEW links AS SELECT 1", "DROP TABLE IF EXISTS clicks"] {
            assert_eq!(of(&cluster(Some("c"), 2), other), other);
        }
    }

    #[test]
    fn tables_of_a_named_cluster_are_replicated_within_the_shard_or_on_every_server() {
        let clicks = "-- why\nCREATE TABLE IF NOT EXISTS click_versions\n(\n    a DateTime64(6, 'UTC')\n)\n\
                      ENGINE = ReplacingMergeTree(ingested_at)\nORDER BY a\nSETTINGS fsync_after_insert = 1";
        let replicated = "-- why\nCREATE TABLE IF NOT EXISTS click_versions\n(\n    a DateTime64(6, 'UTC')\n)\n\
                          ENGINE = ReplicatedReplacingMergeTree('/clickhouse/tables/db/click_versions/shard_2', \
                          '{replica}', ingested_at)\nORDER BY a\nSETTINGS fsync_after_insert = 1,\n         \
                          replicated_deduplication_window = 0";
        assert_eq!(of(&cluster(Some("c"), 2), clicks), replicated);
        assert_eq!(of(&cluster(None, 2), clicks), clicks);
        let small =
            "CREATE TABLE IF NOT EXISTS jobs\n(\n    a String\n)\nENGINE = MergeTree\nORDER BY a";
        let whole = "CREATE TABLE IF NOT EXISTS jobs\n(\n    a String\n)\n\
                     ENGINE = ReplicatedMergeTree('/clickhouse/tables/db/jobs/all', 'shard_2_{replica}')\n\
                     ORDER BY a\nSETTINGS replicated_deduplication_window = 0";
        assert_eq!(of(&cluster(Some("c"), 2), small), whole);
        let own = small.replace(" jobs\n", " cluster_layout\n");
        assert_eq!(of(&cluster(Some("c"), 2), &own), own);
    }
}
