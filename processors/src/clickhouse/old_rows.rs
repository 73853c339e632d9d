//! The rows of the window of a replay that are older than the replay.

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::Mutex;

use broker::ServerError;
use clickhouse::Row;
use records::replay::log_range::LogRange;
use records::replay::occurred_window::OccurredWindow;
use serde::Deserialize;
use service::lock::lock;

use crate::audit::entry::LogPosition;
use crate::clickhouse::range_rows::occurred_condition;
use crate::clickhouse::server::{Server, server_error};
use crate::clickhouse::shard_readers::ShardReaders;
use crate::clickhouse::sql_text::quoted;
use crate::replay::orphaned_rows::OldRow;

/// What the rows name.
#[derive(Debug)]
pub(crate) struct OldRowFilter<'a> {
    pub(crate) topic: &'a str,
    /// Start of the replay, microseconds since 1970 by the server's clock.
    pub(crate) since_us: i64,
    /// Offsets of the topic by partition, in ascending order.
    pub(crate) offsets: BTreeMap<i32, Vec<LogRange>>,
    /// Log times, milliseconds since 1970, of any topic.
    pub(crate) times_ms: Option<Range<i64>>,
    /// When their clicks occurred; `None`: at any time.
    pub(crate) occurred: Option<OccurredWindow>,
}

#[derive(Row, Deserialize)]
struct Found {
    occurred_at_us: i64,
    event_id: [u8; 16],
    is_of_topic: u8,
    kafka_partition: u32,
    kafka_offset: u64,
}

impl Found {
    fn old_row(&self) -> OldRow {
        // Another program may have inserted a row with an invalid partition or offset.
        let partition = i32::try_from(self.kafka_partition).unwrap_or(i32::MAX);
        let offset = i64::try_from(self.kafka_offset).unwrap_or(i64::MAX);
        OldRow {
            occurred_at_us: self.occurred_at_us,
            event_id: self.event_id,
            is_of_topic: self.is_of_topic == 1,
            position: LogPosition { partition, offset },
        }
    }
}

/// Calls `take` with each row of the view that matches, as the servers send them: keeps no row. A server reads
/// five small columns of all of its rows.
///
/// # Errors
/// The server's refusal, or that of `take`.
pub(crate) async fn old_rows(
    readers: &ShardReaders,
    filter: &OldRowFilter<'_>,
    take: impl FnMut(OldRow) -> Result<(), ServerError>,
) -> Result<(), ServerError> {
    let text = text(filter, readers.view());
    let take = Mutex::new(take);
    let read = readers.each(async |_: usize, server: &Server| {
        let client = server.client();
        let mut rows = client.query_raw(&text).fetch::<Found>().map_err(server_error)?;
        while let Some(row) = rows.next().await.map_err(server_error)? {
            (*lock(&take))(row.old_row())?;
        }
        Ok(())
    });
    read.await.map(drop)
}

fn text(filter: &OldRowFilter<'_>, view: &str) -> String {
    let topic = quoted(filter.topic);
    let of_partition = |(partition, ranges): (&i32, &Vec<LogRange>)| {
        let offsets = offsets_condition(ranges)?;
        Some(format!("kafka_topic = {topic} AND kafka_partition = {partition} AND {offsets}"))
    };
    let mut windows: Vec<String> = filter.offsets.iter().filter_map(of_partition).collect();
    windows.extend(filter.times_ms.iter().map(|Range { start, end }| {
        format!(
            "logged_at >= fromUnixTimestamp64Milli(toInt64({start})) \
             AND logged_at < fromUnixTimestamp64Milli(toInt64({end}))"
        )
    }));
    format!(
        "SELECT toUnixTimestamp64Micro(occurred_at) AS occurred_at_us, event_id, \
         CAST(kafka_topic = {topic}, 'UInt8') AS is_of_topic, kafka_partition, kafka_offset FROM {view} \
         WHERE ingested_at < fromUnixTimestamp64Micro(toInt64({})) AND ({}){}",
        filter.since_us,
        windows.join(" OR "),
        occurred_condition(filter.occurred)
    )
}

/// That an offset is in one of the ranges; `None` if there are none. A plan may have 1,000 ranges: the server searches
/// the start of the range that may hold an offset, and compares the offset with the end of that range.
fn offsets_condition(ranges: &[LogRange]) -> Option<String> {
    let first = ranges.first()?.first;
    let [LogRange { end, .. }] = ranges else {
        let list = |bound: fn(&LogRange) -> i64| {
            let bounds: Vec<_> = ranges.iter().map(|range| bound(range).to_string()).collect();
            format!("CAST([{}], 'Array(UInt64)')", bounds.join(", "))
        };
        let (firsts, ends) = (list(|range| range.first), list(|range| range.end));
        return Some(format!(
            "kafka_offset >= {first} AND kafka_offset < transform(roundDown(kafka_offset, {firsts}), \
             {firsts}, {ends}, toUInt64(0))"
        ));
    };
    Some(format!("kafka_offset >= {first} AND kafka_offset < {end}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_a_sparse_plan_only_the_rows_of_its_ranges_are_read() {
        let range = |first, end| LogRange { first, end };
        assert_eq!(offsets_condition(&[]), None);
        let one = "kafka_offset >= 5 AND kafka_offset < 9";
        assert_eq!(offsets_condition(&[range(5, 9)]).unwrap(), one);
        let two = offsets_condition(&[range(5, 9), range(70, 80)]).unwrap();
        let firsts = "CAST([5, 70], 'Array(UInt64)')";
        let expected = format!(
            "kafka_offset >= 5 AND kafka_offset < transform(roundDown(kafka_offset, {firsts}), {firsts}, \
             CAST([9, 80], 'Array(UInt64)'), toUInt64(0))"
        );
        assert_eq!(two, expected);
        // The bound of a query's text is 256 KiB by default.
        let last = 100_000_000_000;
        let thousand: Vec<_> =
            (0..1_000).map(|number| range(last + number, last + number + 1)).collect();
        assert!(offsets_condition(&thousand).unwrap().len() < 64 << 10);
    }

    #[test]
    fn old_rows_are_those_of_the_offsets_of_the_topic_or_of_the_log_times_of_any() {
        let offsets = BTreeMap::from([(0, vec![LogRange { first: 5, end: 9 }])]);
        let times_ms = Some(1..3);
        let filter = OldRowFilter { topic: "t'", since_us: 7, offsets, times_ms, occurred: None };
        let of_any = text(&filter, "clicks");
        let window = "(kafka_topic = 't\\x27' AND kafka_partition = 0 AND kafka_offset >= 5 \
             AND kafka_offset < 9 OR logged_at >= fromUnixTimestamp64Milli(toInt64(1)) \
             AND logged_at < fromUnixTimestamp64Milli(toInt64(3)))";
        assert!(of_any.ends_with(window), "{of_any}");
        let occurred = Some(OccurredWindow { from_us: 4, to_us: None });
        let of_window = text(&OldRowFilter { occurred, ..filter }, "clicks");
        assert!(
            of_window.ends_with(" AND occurred_at >= fromUnixTimestamp64Micro(toInt64(4), 'UTC')")
        );
    }
}
