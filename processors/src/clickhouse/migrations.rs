//! The ordered, checksummed SQL files that make the tables, applied once each.
//!
//! Statements are safe to run twice, so that two at once or one that died
//! half-way do no harm; the log of what was applied is itself a table.

use broker::ServerError;
use clickhouse::Row;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::clickhouse::cluster::statements;
use crate::clickhouse::server::{Server, server_error};

/// One file of `migrations/`.
#[derive(Debug, Clone, Copy)]
pub struct Migration {
    /// Its name, which orders it.
    pub name: &'static str,
    /// Its statements, each ended by a semicolon at the end of a line.
    pub sql: &'static str,
}

macro_rules! migrations {
    ($($name:literal),* $(,)?) => {
        &[$(Migration {
            name: $name,
            sql: include_str!(concat!("../../migrations/", $name, ".sql")),
        }),*]
    };
}

/// Below 0100 the click tables, from 0100 enrichment, from 0200 links.
pub(super) const MIGRATIONS: &[Migration] = migrations![
    "0001_click_versions",
    "0002_clicks",
    "0003_breaker_overrides",
    "0100_enrichment",
    "0110_arrivals",
    "0200_links",
];

pub(super) const LOG: &str = "CREATE TABLE IF NOT EXISTS schema_migrations
(
    name String,
    checksum String,
    applied_at DateTime64(3, 'UTC') DEFAULT now64(3)
)
ENGINE = ReplacingMergeTree ORDER BY name";

#[derive(Debug, Row, Serialize, Deserialize)]
struct Applied {
    name: String,
    checksum: String,
}

impl Migration {
    fn checksum(&self) -> String {
        Sha256::digest(self.sql).iter().map(|byte| format!("{byte:02x}")).collect()
    }

    fn statements(&self) -> impl Iterator<Item = &str> {
        statements(self.sql)
    }
}

/// Makes the database and applies what is missing; returns what it did, a line each.
///
/// # Errors
/// The server's refusal, or a file that was edited after it was applied.
pub async fn migrate(server: &Server) -> Result<Vec<String>, ServerError> {
    let mut changes = Vec::new();
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
    if existed == 0 {
        changes.push(format!("clickhouse: created database {database}"));
    }
    let client = server.client();
    client.query(LOG).execute().await.map_err(server_error)?;
    let missing = missing(server).await?;
    for migration in MIGRATIONS.iter().filter(|migration| missing.contains(&migration.name)) {
        for statement in migration.statements() {
            // `?` would be taken for a placeholder.
            let statement = statement.replace('?', "??");
            client.query(&statement).execute().await.map_err(server_error)?;
        }
        let mut log = client.insert::<Applied>("schema_migrations").await.map_err(server_error)?;
        let row = Applied { name: migration.name.to_owned(), checksum: migration.checksum() };
        log.write(&row).await.map_err(server_error)?;
        log.end().await.map_err(server_error)?;
        changes.push(format!("clickhouse: applied migration {}", migration.name));
    }
    Ok(changes)
}

/// Names of the migrations that were not applied yet; changes nothing.
///
/// # Errors
/// As [`migrate`].
pub async fn missing(server: &Server) -> Result<Vec<&'static str>, ServerError> {
    // Where the table itself is gone, what was once applied does not count: everything is applied
    // anew, which each statement is safe for.
    let there: u64 = server
        .bare()
        .query(
            "SELECT count() FROM system.tables \
             WHERE database = ? AND name IN ('schema_migrations', 'click_versions')",
        )
        .bind(&server.database)
        .fetch_one()
        .await
        .map_err(server_error)?;
    let applied = if there == 2 { applied(server).await? } else { Vec::new() };
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

async fn applied(server: &Server) -> Result<Vec<Applied>, ServerError> {
    let client = server.client();
    let log = client.query("SELECT name, checksum FROM schema_migrations FINAL ORDER BY name");
    log.fetch_all().await.map_err(server_error)
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

pub(super) fn quoted(identifier: &str) -> String {
    format!("`{}`", identifier.replace('\\', "\\\\").replace('`', "\\`"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn migrations_are_in_order_and_every_file_is_listed() {
        let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/migrations");
        let mut files: Vec<_> = std::fs::read_dir(folder)
            .unwrap()
            .map(|entry| entry.unwrap().path().file_stem().unwrap().to_str().unwrap().to_owned())
            .collect();
        files.sort();
        let listed: Vec<_> = MIGRATIONS.iter().map(|migration| migration.name).collect();
        assert_eq!(listed, files);
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
    fn a_name_cannot_leave_its_quotes() {
        assert_eq!(quoted("a`b\\"), "`a\\`b\\\\`");
    }
}
