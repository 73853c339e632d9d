//! The result of any query as columns and cells, for the check of dashboards.

use broker::ServerError;
use clickhouse::error::Error;
use dashboards::ResultTable;
use serde::Deserialize;
use serde_json::Value;

use crate::clickhouse::error_codes::refused_number;
use crate::clickhouse::server::{Server, refusal_text, server_error};

/// Codes with which a server refuses the user, whatever the query is: unknown user, wrong password, no access.
const REFUSED_USER: [u32; 4] = [192, 193, 194, 516];

#[derive(Deserialize)]
struct Answer {
    meta: Vec<Column>,
    data: Vec<Vec<Value>>,
}

#[derive(Deserialize)]
struct Column {
    name: String,
    #[serde(rename = "type")]
    kind: String,
}

/// Runs a query. The inner error is the server's refusal of this query, in its words.
///
/// # Errors
/// The server does not answer, or refuses the user.
pub(crate) async fn result_table(
    server: &Server,
    sql: &str,
) -> Result<Result<ResultTable, String>, ServerError> {
    let read = async { server.client().query_raw(sql).fetch_bytes("JSONCompact")?.collect().await };
    let bytes = match read.await {
        Ok(bytes) => bytes,
        Err(error) => return refusal(error).map(Err),
    };
    let answer = serde_json::from_slice::<Answer>(&bytes);
    let table = answer.map(|Answer { meta, data }| ResultTable {
        columns: meta.into_iter().map(|column| (column.name, column.kind)).collect(),
        rows: data,
    });
    Ok(table.map_err(|error| format!("the answer is not one of JSONCompact: {error}")))
}

/// The first line of what the server says of the query.
fn refusal(error: Error) -> Result<String, ServerError> {
    match refusal_text(&error) {
        Some(text) if !refused_number(text).is_none_or(|code| REFUSED_USER.contains(&code)) => {
            Ok(text.lines().next().unwrap_or_default().trim().to_owned())
        }
        Some(_) | None => Err(server_error(error)),
    }
}
