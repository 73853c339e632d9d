//! Checks the condition of an operator by ClickHouse's own parser: it is one expression, and sets no setting.

use broker::ServerError;
use clickhouse::Client;
use clickhouse::error::Error;

use crate::clickhouse::server::{refusal_text, server_error};

/// The node of `SETTINGS` in the tree of a statement. A subquery could lift every limit with it, also where the server
/// refuses it at the end of a statement.
const SETTINGS_NODE: &str = "Set";

/// Checks a condition by parsing it between two kinds of brackets: a text that closes the one is refused within the
/// other, so that the rest of a statement means the same with any condition.
///
/// # Errors
/// The condition is not one expression or has `SETTINGS` (`replay_selection`), or the server does not answer.
pub(super) async fn check(client: &Client, condition: &str) -> Result<(), ServerError> {
    for [open, close] in [["(", ")"], ["[", "]"]] {
        let text = format!("EXPLAIN AST SELECT {open}\n{condition}\n{close}");
        let nodes = client.query_raw(&text).fetch_all::<String>().await.map_err(refused)?;
        if nodes.iter().any(|node| node.split_whitespace().next() == Some(SETTINGS_NODE)) {
            let text =
                "the condition has SETTINGS, which would lift the limits of the query: omit them";
            return Err(selection_error(text.to_owned()));
        }
    }
    Ok(())
}

/// The error of a statement with a condition: that of the condition, or that of the server.
pub(super) fn refused(error: Error) -> ServerError {
    match refusal_text(&error).filter(|text| is_lasting(text)) {
        Some(text) => selection_error(format!("ClickHouse refuses the selection: {}", text.trim())),
        None => server_error(error),
    }
}

pub(super) fn selection_error(text: String) -> ServerError {
    ServerError::fatal("replay_selection", text)
}

/// Whether a refusal is one of the condition: not one of a proxy, of a server without memory (241) or with too
/// many queries (202), or of the user (516).
fn is_lasting(text: &str) -> bool {
    let is_other = |code: &&str| text.contains(*code);
    text.contains("Code: ") && !["Code: 241.", "Code: 202.", "Code: 516."].iter().any(is_other)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_refusal_of_the_condition_is_the_operators() {
        for (text, is_own) in [
            ("Code: 47. DB::Exception: Unknown identifier `slugs`", true),
            ("Code: 241. DB::Exception: Memory limit exceeded", false),
            ("Code: 202. DB::Exception: Too many simultaneous queries", false),
            ("Code: 516. DB::Exception: Authentication failed", false),
            ("<html>503 Service Unavailable</html>", false),
        ] {
            assert_eq!(is_lasting(text), is_own, "{text}");
        }
    }
}
