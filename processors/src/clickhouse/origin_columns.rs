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

/// The condition that a row is of one of `origins`, of which there is at least one.
pub(super) fn is_one_of<'o>(origins: impl IntoIterator<Item = &'o Origin>) -> String {
    format!("{KEY_VALUES} IN (arrayZip({}))", arrays(origins))
}

/// Arrays of the values of origins, as text of a query. The server parses them in less than half of the time
/// of as many tuples.
pub(super) fn arrays<'o>(origins: impl IntoIterator<Item = &'o Origin>) -> String {
    let (mut topics, mut partitions, mut offsets, mut times) = (vec![], vec![], vec![], vec![]);
    for Origin { topic, partition, offset, logged_at_ms } in origins {
        topics.push(quoted(topic));
        partitions.push(partition.to_string());
        offsets.push(offset.to_string());
        times.push(logged_at_ms.to_string());
    }
    [topics, partitions, offsets, times].map(|own| format!("[{}]", own.join(", "))).join(", ")
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
            text.ends_with(r" IN (arrayZip(['o\x27t', 'o\x27t'], [3, 3], [41, 41], [1000, 1000]))"),
            "{text}"
        );
    }
}
