//! The ordered, checksummed SQL files that create the tables. Each is applied once.
//!
//! Statements are safe to run twice: two programs may apply them at the same time, and a program may end
//! between two statements. The table `schema_migrations` holds what was applied.

use std::fmt::Write as _;

use broker::ServerError;
use clickhouse::Row;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::clickhouse::server::{Server, server_error};
use crate::clickhouse::table_form::TableForm;

/// One file of `migrations/`.
#[derive(Debug, Clone, Copy)]
struct Migration {
    /// Its name, which orders it.
    name: &'static str,
    /// Its statements, each with a semicolon at the end of a line.
    sql: &'static str,
}

/// The files of the folder, in the order of their names; `build.rs` lists them.
const MIGRATIONS: &[Migration] = include!(concat!(env!("OUT_DIR"), "/migrations.rs"));

const SCHEMA_MIGRATIONS: &str = "CREATE TABLE IF NOT EXISTS schema_migrations
(
    name String,
    checksum String,
    applied_at DateTime64(3, 'UTC') DEFAULT now64(3)
)
ENGINE = ReplacingMergeTree ORDER BY name";

#[derive(Debug, Row, Serialize, Deserialize)]
struct AppliedMigration {
    name: String,
    checksum: String,
}

impl Migration {
    fn checksum(&self) -> String {
        Sha256::digest(self.sql).iter().map(|byte| format!("{byte:02x}")).collect()
    }

    fn statements(&self) -> impl Iterator<Item = &'static str> {
        statements(self.sql)
    }
}

/// Statements of a file: each ends with a semicolon at the end of a line.
fn statements(text: &'static str) -> impl Iterator<Item = &'static str> {
    text.split(";\n").map(str::trim).filter(|statement| !statement.is_empty())
}

/// The name of the newest migration.
pub(crate) fn newest() -> &'static str {
    MIGRATIONS.last().map_or("", |migration| migration.name)
}

/// The statements of one migration; none if there is no such migration.
pub(crate) fn statements_of(name: &str) -> impl Iterator<Item = &'static str> {
    let named = MIGRATIONS.iter().filter(move |migration| migration.name == name);
    named.flat_map(Migration::statements)
}

/// All statements that create `database` on the only server, in order, each with a semicolon at its end.
pub fn sql(database: &str) -> String {
    sql_in_form(&TableForm::single(database))
}

/// As [`sql`], on a server whose tables have this form.
pub(crate) fn sql_in_form(form: &TableForm<'_>) -> String {
    let database = quoted(form.database());
    let mut all = format!("CREATE DATABASE IF NOT EXISTS {database};\n\nUSE {database};\n");
    let files = MIGRATIONS.iter().map(|migration| (migration.name, migration.sql));
    for (name, text) in [("schema_migrations", SCHEMA_MIGRATIONS)].into_iter().chain(files) {
        let _infallible = writeln!(all, "\n-- {name}");
        for statement in statements(text) {
            let _infallible = writeln!(all, "{};", form.statement(statement));
        }
    }
    all
}

/// Creates the database if it is missing; returns the change.
///
/// # Errors
/// The server's refusal.
pub(crate) async fn create_database(server: &Server) -> Result<Option<String>, ServerError> {
    let database = quoted(&server.database);
    let existed: u64 = server
        .bare()
        .query("SELECT count() FROM system.databases WHERE name = ?")
        .bind(&server.database)
        .fetch_one()
        .await
        .map_err(server_error)?;
    let create = format!("CREATE DATABASE IF NOT EXISTS {database}");
    server.bare().query(&create).execute().await.map_err(server_error)?;
    Ok((existed == 0).then(|| format!("clickhouse: created database {database}")))
}

/// Applies the missing migrations to a database that exists; returns one line for each change. Without the views of this
/// form it applies all of them again.
///
/// # Errors
/// As [`missing`].
pub(crate) async fn migrate(
    server: &Server,
    form: &TableForm<'_>,
) -> Result<Vec<String>, ServerError> {
    let mut changes = Vec::new();
    let client = server.client();
    client.query(SCHEMA_MIGRATIONS).execute().await.map_err(server_error)?;
    let missing = missing(server).await?;
    let has_views = table_exists(server, form.view_of_clicks()).await?;
    let applies = |migration: &&Migration| !has_views || missing.contains(&migration.name);
    for migration in MIGRATIONS.iter().filter(applies) {
        for statement in migration.statements() {
            // The client reads `?` as a placeholder.
            let statement = form.statement(statement).replace('?', "??");
            client.query(&statement).execute().await.map_err(server_error)?;
        }
        let mut insert =
            client.insert::<AppliedMigration>("schema_migrations").await.map_err(server_error)?;
        let (name, checksum) = (migration.name.to_owned(), migration.checksum());
        insert.write(&AppliedMigration { name, checksum }).await.map_err(server_error)?;
        insert.end().await.map_err(server_error)?;
        changes.push(format!("clickhouse: applied migration {}", migration.name));
    }
    Ok(changes)
}

/// Whether the database has a table or view of this name. A missing database is not an error.
///
/// # Errors
/// The server's refusal.
pub(crate) async fn table_exists(server: &Server, name: &str) -> Result<bool, ServerError> {
    let client = server.bare();
    let query = client
        .query("SELECT count() FROM system.tables WHERE database = ? AND name = ?")
        .bind(&server.database)
        .bind(name);
    let tables: u64 = query.fetch_one().await.map_err(server_error)?;
    Ok(tables > 0)
}

/// Names of the migrations that are not applied yet; changes nothing.
///
/// # Errors
/// The server's refusal, a migration that was edited after it was applied, or a database that another
/// version of this program created.
pub async fn missing(server: &Server) -> Result<Vec<&'static str>, ServerError> {
    let applied = applied(server).await?;
    let mut missing = Vec::new();
    for migration in MIGRATIONS {
        match applied.iter().find(|applied| applied.name == migration.name) {
            Some(applied) if applied.checksum == migration.checksum() => {}
            Some(_) => return Err(edited(migration)),
            None => missing.push(migration.name),
        }
    }
    Ok(missing)
}

/// Refuses a database that has a migration which this program does not have.
///
/// # Errors
/// Such a database, or the server's refusal.
pub async fn refuse_unknown(server: &Server) -> Result<(), ServerError> {
    applied(server).await.map(drop)
}

/// The migrations that count as applied.
async fn applied(server: &Server) -> Result<Vec<AppliedMigration>, ServerError> {
    let tables: Vec<String> = server
        .bare()
        .query(
            "SELECT name FROM system.tables \
             WHERE database = ? AND name IN ('schema_migrations', 'click_versions')",
        )
        .bind(&server.database)
        .fetch_all()
        .await
        .map_err(server_error)?;
    let exists = |table: &str| tables.iter().any(|name| name == table);
    if !exists("schema_migrations") {
        return Ok(Vec::new());
    }
    let client = server.client();
    let query = client.query("SELECT name, checksum FROM schema_migrations FINAL ORDER BY name");
    let applied: Vec<AppliedMigration> = query.fetch_all().await.map_err(server_error)?;
    check_known(applied.iter().map(|applied| applied.name.as_str()), &server.database)?;
    // Without the table of clicks, no migration counts as applied: all statements run again, and each of
    // them is safe to run twice.
    Ok(if exists("click_versions") { applied } else { Vec::new() })
}

/// Decides whether this program may use a database to which these migrations were applied.
fn check_known<'a>(
    mut applied: impl Iterator<Item = &'a str>,
    database: &str,
) -> Result<(), ServerError> {
    let is_unknown = |name: &&str| MIGRATIONS.iter().all(|migration| migration.name != *name);
    let Some(unknown) = applied.find(is_unknown) else { return Ok(()) };
    let database = quoted(database);
    Err(ServerError::fatal(
        "migration_unknown",
        format!(
            "another version of this program made database {database}: migration {unknown} was \
             applied to it, and this program does not have it. If a newer release applied it, use \
             that release. While nothing is released: drop the database (DROP DATABASE \
             {database}), run `processors setup`, and reset the offsets of the consumer group to \
             the start, so that `processors run` reads the log again"
        ),
    ))
}

fn edited(migration: &Migration) -> ServerError {
    ServerError::fatal(
        "migration_edited",
        format!(
            "migration {} was applied with another text than this program holds: use the release \
             that applied it, or write the change as a new migration",
            migration.name
        ),
    )
}

fn quoted(identifier: &str) -> String {
    format!("`{}`", identifier.replace('\\', "\\\\").replace('`', "\\`"))
}

#[cfg(test)]
mod tests {
    use crate::shards::cluster::{Cluster, Shard};

    use super::*;

    #[test]
    fn migrations_are_numbered_without_a_gap() {
        assert!(!MIGRATIONS.is_empty());
        for (number, migration) in (1..).zip(MIGRATIONS) {
            assert!(migration.name.starts_with(&format!("{number:04}_")), "{}", migration.name);
        }
    }

    #[test]
    fn every_statement_is_safe_to_run_twice() {
        for migration in MIGRATIONS {
            assert!(migration.statements().count() > 0, "{}", migration.name);
            for statement in migration.statements() {
                let sql: String =
                    statement.lines().filter(|line| !line.starts_with("--")).collect();
                let safe = ["IF NOT EXISTS", "IF EXISTS", "OR REPLACE"];
                assert!(safe.iter().any(|word| sql.contains(word)), "{}: {sql}", migration.name);
            }
        }
    }

    #[test]
    fn migrations_are_printed_as_they_are_applied() {
        let printed = sql("clicks");
        assert!(printed.contains("USE `clicks`;"), "{printed}");
        for statement in MIGRATIONS.iter().flat_map(Migration::statements) {
            assert!(printed.contains(statement), "{statement}");
        }
    }

    /// With a form that it does not know, a table would not be replicated.
    #[test]
    fn a_named_cluster_replicates_every_table_and_a_shard_has_its_own_views_of_clicks() {
        let server = |url: &str| Server {
            url: url.to_owned(),
            user: String::new(),
            password: String::new(),
            database: String::new(),
        };
        let shard = |number| Shard { number, weight: 1, replicas: vec![server("http://ch")] };
        let cluster = Cluster::new(vec![shard(1), shard(2)], Some("c".to_owned()), None);
        let printed = sql_in_form(&TableForm::of(&cluster, &cluster.shards[1], "clicks"));
        let engines = |start: &str| printed.matches(&format!("ENGINE = {start}")).count();
        assert_eq!(printed.matches("CREATE TABLE").count(), engines(""));
        // The tables `schema_migrations` and `cluster_layout` describe their server.
        assert_eq!((engines("MergeTree"), engines("ReplacingMergeTree")), (0, 2), "{printed}");
        let windows = printed.matches("replicated_deduplication_window = 0").count();
        assert_eq!(windows, engines("Replicated"));
        assert_eq!(printed.matches("shard_2', '{replica}', ingested_at)").count(), 1);
        assert_eq!(printed.matches("VIEW clicks").count(), 0);
        assert!(printed.contains("VIEW shard_clicks AS"));
        assert!(printed.contains("VIEW shard_clicks_of_days AS"));
        // A view of another name over the clicks of one server would show a part of them only.
        for statement in MIGRATIONS.iter().flat_map(Migration::statements) {
            let of_clicks = statement.contains(" click_versions FINAL");
            let known = ["VIEW clicks AS", "VIEW clicks_of_days AS"];
            assert!(!of_clicks || known.iter().any(|name| statement.contains(name)), "{statement}");
        }
    }

    #[test]
    fn a_database_of_another_version_is_refused() {
        let own = || MIGRATIONS.iter().map(|migration| migration.name);
        assert!(check_known(own(), "clicks").is_ok());
        assert!(check_known(std::iter::empty(), "clicks").is_ok());
        let error = check_known(own().chain(["0100_enrichment"]), "clicks").unwrap_err();
        assert_eq!((error.code, error.class), ("migration_unknown", broker::ErrorClass::Fatal));
        for expected in ["0100_enrichment", "`clicks`", "processors setup", "offsets"] {
            assert!(error.message.contains(expected), "{error}");
        }
    }

    #[test]
    fn a_quoted_name_is_escaped() {
        assert_eq!(quoted("a`b\\"), "`a\\`b\\\\`");
    }
}
