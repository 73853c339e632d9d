//! ClickHouse's error codes: which are fatal, and what fixes them. Pure.

use broker::ServerError;

/// Codes of errors that no wait can end. After any other code the statement is repeated, which loses no
/// row and which the metrics show.
const FATAL: &[(u32, &str, &str)] = &[
    (16, "clickhouse_schema", "a column is missing: run `processors setup`"),
    (36, "clickhouse_bad_arguments", "the table is not as the migrations created it"),
    (47, "clickhouse_schema", "a column is missing: run `processors setup`"),
    (60, "clickhouse_schema", "the table is missing: run `processors setup`"),
    (62, "clickhouse_syntax", "the server is too old, or this version has a bug"),
    (81, "clickhouse_schema", "the database is missing: run `processors setup`"),
    (115, "clickhouse_setting", "the server does not know a setting that durable inserts need"),
    (139, "clickhouse_cluster", NOT_CONFIGURED),
    (
        164,
        "clickhouse_access",
        "the user has read-only access: set CLICKHOUSE_USER to a user that may insert",
    ),
    (192, "clickhouse_access", "check CLICKHOUSE_USER and CLICKHOUSE_PASSWORD"),
    (193, "clickhouse_access", "check CLICKHOUSE_USER and CLICKHOUSE_PASSWORD"),
    (194, "clickhouse_access", "check CLICKHOUSE_USER and CLICKHOUSE_PASSWORD"),
    (452, "clickhouse_setting", "the user's profile forbids a setting that durable inserts need"),
    (497, "clickhouse_access", "the user lacks a right that the message names"),
    (516, "clickhouse_access", "check CLICKHOUSE_USER and CLICKHOUSE_PASSWORD"),
    (701, "clickhouse_cluster", NOT_CONFIGURED),
];

/// Of a statement for a cluster.
const NOT_CONFIGURED: &str = "the configuration of the server lacks what the `cluster` of CLICKHOUSE_SHARDS needs: the \
                              macro {replica}, and that cluster in remote_servers";

/// Classifies the server's error text, which begins `Code: N. DB::Exception: …`.
pub(super) fn classify(text: &str) -> ServerError {
    let code = refused_number(text);
    if let Some((_, code, fix)) = FATAL.iter().find(|(number, ..)| Some(*number) == code) {
        return ServerError::fatal(code, format!("{fix} ({})", text.trim()));
    }
    let code = match code {
        Some(252) if text.contains("partitions") => "clickhouse_too_many_partitions",
        Some(252) => "clickhouse_too_many_parts",
        Some(159 | 209 | 319) => "clickhouse_timeout",
        Some(241) => "clickhouse_memory",
        Some(242) => "clickhouse_read_only",
        Some(243) => "clickhouse_disk",
        Some(_) => "clickhouse_refused",
        None => "clickhouse_unreachable",
    };
    ServerError::retryable(code, text.trim())
}

/// The number of the error in a text of the server.
pub(super) fn refused_number(text: &str) -> Option<u32> {
    let (_, rest) = text.split_once("Code: ")?;
    rest.split(|digit: char| !digit.is_ascii_digit()).next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use broker::ErrorClass;

    #[test]
    fn each_kind_of_refusal_has_its_class_and_code() {
        for (text, class, code) in [
            (
                "Code: 60. DB::Exception: Table x does not exist. (UNKNOWN_TABLE)",
                ErrorClass::Fatal,
                "clickhouse_schema",
            ),
            (
                "Code: 516. DB::Exception: default: Authentication failed",
                ErrorClass::Fatal,
                "clickhouse_access",
            ),
            (
                "Code: 252. DB::Exception: Too many parts (3000). Merges are slower",
                ErrorClass::Retryable,
                "clickhouse_too_many_parts",
            ),
            (
                "Code: 252. DB::Exception: Too many partitions for single INSERT block",
                ErrorClass::Retryable,
                "clickhouse_too_many_partitions",
            ),
            (
                "Code: 241. DB::Exception: Memory limit exceeded",
                ErrorClass::Retryable,
                "clickhouse_memory",
            ),
            (
                "Code: 9999. DB::Exception: something new",
                ErrorClass::Retryable,
                "clickhouse_refused",
            ),
            (
                "Code: 139. DB::Exception: No macro 'replica' in config (NO_ELEMENTS_IN_CONFIG)",
                ErrorClass::Fatal,
                "clickhouse_cluster",
            ),
            (
                "Code: 225. DB::Exception: Cannot get ZooKeeper. (NO_ZOOKEEPER)",
                ErrorClass::Retryable,
                "clickhouse_refused",
            ),
            ("upstream down", ErrorClass::Retryable, "clickhouse_unreachable"),
            ("", ErrorClass::Retryable, "clickhouse_unreachable"),
        ] {
            let error = classify(text);
            assert_eq!((error.class, error.code), (class, code), "{text}");
        }
    }
}
