//! The columns of an origin in queries.

use clickhouse::Client;
use records::dead_letters::origin::Origin;

use crate::clickhouse::server::Server;
use crate::clickhouse::sql_text::quoted;

/// The columns of an origin, in the order of the tables.
pub(super) const KEY: &str = "origin_topic, origin_partition, origin_offset, origin_logged_at";
/// The same as values that a query may compare with those of an [`Origin`].
const KEY_VALUES: &str =
    "(origin_topic, origin_partition, origin_offset, toUnixTimestamp64Milli(origin_logged_at))";
/// The columns of an origin as values that [`origin`] takes.
pub(super) const ORIGIN: &str = "toString(origin_topic) AS topic_name, origin_partition, origin_offset, \
     toUnixTimestamp64Milli(origin_logged_at) AS logged_at_ms";

/// Bytes of a query that names the origins of a batch: a thousand, each with a topic of 249 bytes, which may
/// be escaped to four times as many. The server's default is 256 KiB.
const QUERY_BYTES_MAX: &str = "2097152";

/// A client whose queries may name the origins of a batch.
pub(super) fn naming_client(server: &Server) -> Client {
    server.client().with_setting("max_query_size", QUERY_BYTES_MAX)
}

/// The values of an origin as text of a query.
pub(super) fn values(origin: &Origin) -> String {
    let Origin { topic, partition, offset, logged_at_ms } = origin;
    format!("({}, {partition}, {offset}, {logged_at_ms})", quoted(topic))
}

/// The condition that a row is of one of `origins`.
pub(super) fn is_one_of<'o>(origins: impl IntoIterator<Item = &'o Origin>) -> String {
    let all: Vec<_> = origins.into_iter().map(values).collect();
    format!("{KEY_VALUES} IN ({})", all.join(", "))
}

/// The condition that a row follows `after` in the order of origins.
pub(super) fn follows(after: Option<&Origin>) -> String {
    after.map_or("true".to_owned(), |origin| format!("{KEY_VALUES} > {}", values(origin)))
}

/// The origin of the columns [`ORIGIN`].
pub(super) fn origin(topic: String, partition: u32, offset: u64, logged_at_ms: i64) -> Origin {
    Origin { topic, partition, offset, logged_at_ms }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_origin_in_a_query_has_the_order_of_the_tables_and_its_text_is_escaped() {
        let origin: Origin = "o't:3:41:1000".parse().unwrap();
        assert_eq!(values(&origin), r"('o\x27t', 3, 41, 1000)");
        assert_eq!(follows(None), "true");
        assert!(follows(Some(&origin)).ends_with(r") > ('o\x27t', 3, 41, 1000)"));
        let text = is_one_of([&origin, &origin]);
        assert!(
            text.ends_with(r" IN (('o\x27t', 3, 41, 1000), ('o\x27t', 3, 41, 1000))"),
            "{text}"
        );
    }
}
