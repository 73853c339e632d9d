//! What a request sets on its connection before its query, and how a session's connection is reset.

use crate::engine::connection::Connection;
use crate::exception::Exception;
use crate::request::{self, QueryRequest};
use crate::running_queries::NAME_SETTING;

/// Lets a connection change settings and nothing else, itself included.
pub(crate) const READ_ONLY: &str = "SET readonly = 2";

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
            // What a query has made impossible to reset stays as it is.
            connection.execute(statement.as_bytes(), "Null", &[]).ok();
        }
    }
}

/// Creates the request's external tables, whose end `reset` gets.
///
/// # Errors
/// ClickHouse's exception.
pub(crate) fn create_tables(
    connection: &mut Connection,
    request: &QueryRequest,
    reset: &mut Reset,
) -> Result<(), Exception> {
    for table in &request.external_tables {
        connection.execute(table.create_statement().as_bytes(), "Null", &[])?;
        reset.0.push(table.drop_statement());
        let sql = table.insert_statement();
        let mut insert = connection.insert(sql.as_bytes(), &table.format, &[])?;
        insert.append(&table.data)?;
        insert.done()?;
    }
    Ok(())
}

/// Sets everything that the request names, and the query's id.
///
/// # Errors
/// ClickHouse's exception; those of [`QueryRequest::set_statements`].
pub(crate) fn set(
    connection: &mut Connection,
    request: &QueryRequest,
    query_id: &str,
    read_only: bool,
) -> Result<(), Exception> {
    let mut statements = vec![request::set(NAME_SETTING, query_id)];
    // First, so that no setting of the request reverts it.
    if read_only {
        statements.push(READ_ONLY.to_owned());
    }
    statements.extend(request.set_statements()?);
    statements.extend(request.use_statement());
    for statement in &statements {
        connection.execute(statement.as_bytes(), "Null", &[])?;
    }
    Ok(())
}
