//! Checks the condition of an operator by ClickHouse's own parser: it is one expression, sets no setting, and
//! multiplies no row.

use broker::ServerError;
use clickhouse::Client;
use clickhouse::error::Error;

use crate::clickhouse::server::{refusal_text, server_error};

/// Checks a condition by parsing it between two kinds of brackets: a text that closes the one is refused within the
/// other, so that the rest of a statement means the same with any condition.
///
/// # Errors
/// The condition is not one expression, has `SETTINGS` or `arrayJoin` (`replay_selection`), or the server does not
/// answer.
pub(super) async fn check(client: &Client, condition: &str) -> Result<(), ServerError> {
    for [open, close] in [["(", ")"], ["[", "]"]] {
        let text = format!("EXPLAIN AST SELECT {open}\n{condition}\n{close}");
        let nodes = client.query_raw(&text).fetch_all::<String>().await.map_err(refused)?;
        if let Some(what) = nodes.iter().find_map(|node| refused_node(node)) {
            return Err(selection_error(format!("the condition has {what}: omit it")));
        }
    }
    Ok(())
}

/// What a node in the tree of a condition is that no condition may have, and why. A subquery could lift every limit by
/// `SETTINGS`, also where the server refuses it at the end of a statement.
fn refused_node(node: &str) -> Option<&'static str> {
    let mut words = node.split_whitespace();
    match (words.next(), words.next()) {
        (Some("Set"), _) => Some("SETTINGS, which would lift the limits of the query"),
        // ClickHouse also has it by the name of standard SQL.
        (Some("Function"), Some(name))
            if ["arrayJoin", "unnest"].iter().any(|own| name.eq_ignore_ascii_case(own)) =>
        {
            Some("arrayJoin, which would count a row more than once")
        }
        _ => None,
    }
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
    fn a_condition_may_not_set_a_setting_or_multiply_rows() {
        for node in ["  Set", " Function arrayJoin (children 1)", "Function UNNEST (alias a)"] {
            assert!(refused_node(node).is_some(), "{node}");
        }
        for node in ["Literal 'Set'", "Identifier arrayJoin", "Function arrayMap (children 1)"] {
            assert!(refused_node(node).is_none(), "{node}");
        }
    }

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
