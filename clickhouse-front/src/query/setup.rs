//! What a request sets on its connection before its query, and how a session's connection is reset.

use crate::engine::connection::Connection;
use crate::exception::Exception;
use crate::request::{self, ExternalTable, QueryRequest};
use crate::running_queries::NAME_SETTING;

/// Lets a connection change settings and nothing else, itself included.
pub(crate) const READ_ONLY: &str = "SET readonly = 2";

/// Settings of a request that do not apply to its external tables: those that would refuse to fill
/// them, or would fill them after the query.
const NOT_FOR_TABLES: [&str; 3] = ["readonly", "allow_ddl", "async_insert"];

/// One step of the preparation of a connection.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Step<'r> {
    /// Runs a statement without a result.
    Run(String),
    /// Creates and fills an external table.
    Fill(&'r ExternalTable),
}

/// Statements that reset a connection after a query.
#[derive(Debug, Default)]
pub(crate) struct Reset(Vec<String>);

impl Reset {
    /// What resets the settings of the request and its database to what they are now.
    ///
    /// # Errors
    /// ClickHouse's exception.
    pub(crate) fn of(
        connection: &mut Connection,
        request: &QueryRequest,
    ) -> Result<Self, Exception> {
        let names: Vec<_> =
            request.settings.iter().map(|(name, _)| request::quote(name, '\'')).collect();
        let mut statements = Vec::new();
        if !names.is_empty() {
            let sql = format!(
                "SELECT name, if(changed, value, NULL) FROM system.settings WHERE name IN ({})",
                names.join(", ")
            );
            let output = connection.execute(sql.as_bytes(), "TabSeparatedRaw", &[])?;
            for row in String::from_utf8_lossy(output.bytes()).lines() {
                let Some((name, value)) = row.split_once('\t') else { continue };
                statements.push(match value {
                    "\\N" => format!("SET {name} = DEFAULT"),
                    value => request::set(name, value),
                });
            }
        }
        if request.database.is_some() {
            let output = connection.execute(b"SELECT currentDatabase()", "TabSeparatedRaw", &[])?;
            let name = String::from_utf8_lossy(output.bytes()).trim_end().to_owned();
            statements.push(format!("USE {}", request::quote(&name, '`')));
        }
        Ok(Self(statements))
    }

    /// Runs the statements.
    pub(crate) fn run(self, connection: &mut Connection) {
        for statement in self.0 {
            // A setting that the query has made impossible to reset stays as it is.
            connection.execute(statement.as_bytes(), "Null", &[]).ok();
        }
    }
}

/// The steps that create the request's external tables and set everything that it names, and the
/// query's id.
///
/// # Errors
/// Those of [`QueryRequest::set_statements`].
pub(crate) fn steps<'r>(
    request: &'r QueryRequest,
    query_id: &str,
    read_only: bool,
) -> Result<Vec<Step<'r>>, Exception> {
    let sets = request.set_statements()?;
    // A server checks all settings of a request before one of them holds.
    let rights = request.settings.iter().map(|(name, _)| name == "readonly");
    let (rights, others): (Vec<_>, Vec<_>) = rights.zip(&sets).partition(|(is_right, _)| *is_right);
    let mut steps = Vec::new();
    if !request.external_tables.is_empty() {
        // The settings of the request say how the tables' data is read. A connection that may only
        // read fills no table, so its rights come later.
        let named = request.settings.iter().map(|(name, _)| name.as_str()).zip(&sets);
        let named = named.filter(|(name, _)| !NOT_FOR_TABLES.contains(name));
        steps.extend(named.map(|(_, set)| Step::Run(set.clone())));
        steps.extend(request.external_tables.iter().map(Step::Fill));
    }
    steps.push(Step::Run(request::set(NAME_SETTING, query_id)));
    // Before the settings of the request, so that none of them reverts it.
    if read_only {
        steps.push(Step::Run(READ_ONLY.to_owned()));
    }
    let ordered = others.into_iter().chain(rights).map(|(_, set)| set.clone());
    steps.extend(ordered.chain(request.use_statement()).map(Step::Run));
    Ok(steps)
}

/// Takes the steps; `reset` gets the end of each external table.
///
/// # Errors
/// ClickHouse's exception.
pub(crate) fn prepare(
    connection: &mut Connection,
    steps: &[Step<'_>],
    reset: &mut Reset,
) -> Result<(), Exception> {
    for step in steps {
        match step {
            Step::Run(statement) => drop(connection.execute(statement.as_bytes(), "Null", &[])?),
            Step::Fill(table) => {
                let create = table.create_statement();
                connection.execute(create.as_bytes(), "Null", &[])?;
                reset.0.push(table.drop_statement());
                let sql = table.insert_statement();
                let mut insert = connection.insert(sql.as_bytes(), &table.format, &[])?;
                insert.append(&table.data)?;
                insert.done()?;
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn external_tables_are_read_with_the_settings_of_their_request() {
        let mut request =
            QueryRequest::from_url_query("readonly=1&input_format_allow_errors_num=1&database=d");
        let run = |text: &str| Step::Run(text.to_owned());
        let rest = [
            run("SET chdb_client_name = 'q'"),
            run(READ_ONLY),
            run("SET input_format_allow_errors_num = '1'"),
            run("SET readonly = '1'"),
            run("USE `d`"),
        ];
        assert_eq!(steps(&request, "q", true).unwrap(), rest);
        let table = ExternalTable {
            name: "x".to_owned(),
            structure: "a UInt8".to_owned(),
            format: "CSV".to_owned(),
            data: b"1".to_vec(),
        };
        request.external_tables.push(table);
        let all = steps(&request, "q", true).unwrap();
        let table = &request.external_tables[0];
        let first = [run("SET input_format_allow_errors_num = '1'"), Step::Fill(table)];
        assert_eq!(all[..2], first);
        assert_eq!(all[2..], rest);
    }
}
