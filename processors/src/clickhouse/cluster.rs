//! The migrations as they stand, and as a cluster needs them. Pure: text to text.
//!
//! In a cluster, a table that has an `event_id` becomes one `Replicated…` table a shard, with a
//! `Distributed` table of the old name on top: a hash of `event_id` chooses the shard, so that all
//! versions of a click meet where `FINAL` can choose among them. A table without one is small and
//! whole on every server.

use std::collections::BTreeSet;
use std::fmt::Write as _;

use crate::clickhouse::migrations::{LOG, MIGRATIONS, quoted};

/// Why a migration cannot be written for a cluster. A bug of ours: a test renders all of them.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("no form in a cluster is known of: {0}")]
pub struct NoForm(String);

/// One table of a click's versions would drop an identical block that a replay inserts.
const NO_WINDOW: &str = "replicated_deduplication_window = 0";

/// All statements that make `database`, in their order, each ended by a semicolon; on `cluster` or
/// on one server.
///
/// # Errors
/// [`NoForm`].
pub fn sql(database: &str, cluster: Option<&str>) -> Result<String, NoForm> {
    let texts = || MIGRATIONS.iter().map(|migration| (migration.name, migration.sql));
    let sources = [("schema_migrations", LOG)].into_iter().chain(texts());
    let form = cluster.map(|name| Form::new(name, database));
    let mut all = String::new();
    let on = form.as_ref().map(Form::on).unwrap_or_default();
    let database = quoted(database);
    let _written =
        writeln!(all, "CREATE DATABASE IF NOT EXISTS {database}{on};\n\nUSE {database};");
    for (name, text) in sources {
        let _written = writeln!(all, "\n-- {name}");
        for statement in statements(text) {
            let (comment, bare) = parted(statement);
            all.push_str(comment);
            let forms = match &form {
                Some(form) => form.of(bare)?,
                None => vec![bare.to_owned()],
            };
            forms.iter().for_each(|statement| {
                let _written = writeln!(all, "{statement};");
            });
        }
    }
    Ok(all)
}

/// Statements of a file: each ends with a semicolon at the end of a line.
pub(super) fn statements(text: &str) -> impl Iterator<Item = &str> {
    text.split(";\n").map(str::trim).filter(|statement| !statement.is_empty())
}

/// Comment lines at the begin, and the rest.
fn parted(statement: &str) -> (&str, &str) {
    let lines = statement.split_inclusive('\n').take_while(|line| line.starts_with("--"));
    statement.split_at(lines.map(str::len).sum())
}

/// How tables look in one cluster.
struct Form<'a> {
    cluster: &'a str,
    database: &'a str,
    sharded: BTreeSet<&'static str>,
}

impl<'a> Form<'a> {
    fn new(cluster: &'a str, database: &'a str) -> Self {
        let created = MIGRATIONS.iter().flat_map(|migration| statements(migration.sql));
        let created = created.filter_map(|statement| named(parted(statement).1, CREATE_TABLE));
        let sharded = created.filter(|(_, body)| body.contains("\n    event_id "));
        Self { cluster, database, sharded: sharded.map(|(name, _)| name).collect() }
    }

    fn on(&self) -> String {
        format!(" ON CLUSTER {}", quoted(self.cluster))
    }

    fn of(&self, statement: &str) -> Result<Vec<String>, NoForm> {
        let on = self.on();
        if let Some((name, body)) = named(statement, CREATE_TABLE) {
            return self.table(name, body).ok_or_else(|| NoForm(statement.to_owned()));
        }
        if let Some((name, change)) = named(statement, "ALTER TABLE ") {
            let mut forms = vec![format!("ALTER TABLE {name}{on}{change}")];
            if self.sharded.contains(name) {
                forms.insert(0, format!("ALTER TABLE {name}_local{on}{change}"));
            }
            return Ok(forms);
        }
        // A view reads the table of the old name, which in a cluster is the one on top.
        for word in ["CREATE OR REPLACE VIEW ", "CREATE OR REPLACE DICTIONARY "] {
            if let Some((name, body)) = named(statement, word) {
                return Ok(vec![format!("{word}{name}{on}{body}")]);
            }
        }
        Err(NoForm(statement.to_owned()))
    }

    /// None: its engine is not one that can be replicated.
    fn table(&self, name: &str, body: &str) -> Option<Vec<String>> {
        const ENGINE: &str = "\nENGINE = ";
        let (cluster, database, on) = (self.cluster, self.database, self.on());
        let sharded = self.sharded.contains(name);
        let (columns, engine) = body.split_once(ENGINE)?;
        let end = engine.find("MergeTree")? + "MergeTree".len();
        let (family, rest) = engine.split_at(end);
        let (arguments, rest) = match rest.strip_prefix('(') {
            Some(rest) => rest.split_once(')')?,
            None => ("", rest),
        };
        let (path, replica) = match sharded {
            true => ("{shard}", "{replica}"),
            false => ("all", "{shard}-{replica}"),
        };
        let mut places = format!("'/clickhouse/tables/{path}/{{database}}/{{table}}', '{replica}'");
        if !arguments.trim().is_empty() {
            let _written = write!(places, ", {arguments}");
        }
        let settings = match rest.contains("SETTINGS") {
            true => format!(",\n         {NO_WINDOW}"),
            false => format!("\nSETTINGS {NO_WINDOW}"),
        };
        let local = if sharded { format!("{name}_local") } else { name.to_owned() };
        let mut forms = vec![format!(
            "{CREATE_TABLE}{local}{on}{columns}{ENGINE}Replicated{family}({places}){rest}{settings}"
        )];
        if sharded {
            let (cluster, database) = (text(cluster), text(database));
            forms.push(format!(
                "{CREATE_TABLE}{name}{on} AS {local}{ENGINE}\
                 Distributed({cluster}, {database}, '{local}', cityHash64(event_id))"
            ));
        }
        Some(forms)
    }
}

const CREATE_TABLE: &str = "CREATE TABLE IF NOT EXISTS ";

/// What a statement that begins with `word` names, and all that follows.
fn named<'a>(statement: &'a str, word: &str) -> Option<(&'a str, &'a str)> {
    let rest = statement.strip_prefix(word)?;
    Some(rest.split_at(rest.find(char::is_whitespace)?))
}

fn text(text: &str) -> String {
    format!("'{}'", text.replace('\\', "\\\\").replace('\'', "\\'"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn on_one_server_the_migrations_are_printed_as_they_are_applied() {
        let printed = sql("clicks", None).unwrap();
        for migration in MIGRATIONS {
            for statement in statements(migration.sql) {
                assert!(printed.contains(statement), "{statement}");
            }
        }
        assert!(!printed.contains("ON CLUSTER"));
    }

    #[test]
    fn versions_of_a_click_meet_on_one_shard() {
        let printed = sql("clicks", Some("prod")).unwrap();
        for expected in [
            "CREATE DATABASE IF NOT EXISTS `clicks` ON CLUSTER `prod`;",
            "CREATE TABLE IF NOT EXISTS click_versions_local ON CLUSTER `prod`\n(",
            "ENGINE = ReplicatedReplacingMergeTree('/clickhouse/tables/{shard}/{database}/{table}', '{replica}', ingested_at)\nPARTITION BY",
            "CREATE TABLE IF NOT EXISTS click_versions ON CLUSTER `prod` AS click_versions_local\nENGINE = Distributed('prod', 'clicks', 'click_versions_local', cityHash64(event_id));",
            "CREATE OR REPLACE VIEW clicks ON CLUSTER `prod` AS SELECT * FROM click_versions FINAL;",
            // Small ones are whole everywhere.
            "CREATE TABLE IF NOT EXISTS breaker_overrides ON CLUSTER `prod`\n(",
            "ReplicatedReplacingMergeTree('/clickhouse/tables/all/{database}/{table}', '{shard}-{replica}', passed_at)",
            "ReplicatedReplacingMergeTree('/clickhouse/tables/all/{database}/{table}', '{shard}-{replica}') ORDER BY name\nSETTINGS replicated_deduplication_window = 0;",
        ] {
            assert!(printed.contains(expected), "{expected}\nis not in\n{printed}");
        }
        // A window would swallow an identical block of a replay.
        assert_eq!(printed.matches(NO_WINDOW).count(), printed.matches("Replicated").count());
    }

    #[test]
    fn a_change_reaches_both_tables_and_what_is_unknown_is_refused() {
        let form = Form::new("prod", "clicks");
        let change = "ALTER TABLE click_versions\n    ADD COLUMN IF NOT EXISTS a String";
        let forms = form.of(change).unwrap();
        assert_eq!(forms.len(), 2);
        assert!(
            forms[0].starts_with("ALTER TABLE click_versions_local ON CLUSTER `prod`\n    ADD")
        );
        assert!(forms[1].starts_with("ALTER TABLE click_versions ON CLUSTER `prod`\n    ADD"));
        assert_eq!(form.of("ALTER TABLE breaker_overrides\n ADD x").unwrap().len(), 1);
        assert!(form.of("DROP TABLE click_versions").is_err());
        let memory = "CREATE TABLE IF NOT EXISTS a\n(\n    b String\n)\nENGINE = Memory";
        assert!(form.of(memory).is_err());
    }
}
