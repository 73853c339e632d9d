//! The query id and the comment of an insert, so that `system.query_log` and error messages name its
//! offsets. Pure.

use records::flow::offset_range::OffsetRanges;
use serde_json::{Map, Value, json};

/// Partitions that a query id names.
const IN_ID: usize = 3;
/// Partitions that a comment names: all, unless the request line would become too long.
const IN_COMMENT: usize = 200;
/// Where a `traceparent` has its trace id.
const TRACE_ID: std::ops::Range<usize> = 3..35;

/// A query id: topic, partitions, offsets, and `attempt`, which is unique.
pub(super) fn query_id(topic: &str, offsets: &OffsetRanges, attempt: &str) -> String {
    let ranges: Vec<_> = offsets
        .iter()
        .take(IN_ID)
        .map(|(partition, range)| format!("{partition}:{}-{}", range.first, range.next - 1))
        .collect();
    let more = offsets.iter().count().saturating_sub(IN_ID);
    let more = if more == 0 { String::new() } else { format!(",and-{more}-more") };
    format!("{topic}/{}{more}/{attempt}", ranges.join(","))
}

/// A comment: JSON with the first and last offset by partition, and the trace of the batch if it is exported.
pub(super) fn log_comment(
    topic: &str,
    offsets: &OffsetRanges,
    traceparent: Option<&str>,
) -> String {
    let ranges: Map<String, Value> = offsets
        .iter()
        .take(IN_COMMENT)
        .map(|(partition, range)| (partition.to_string(), json!([range.first, range.next - 1])))
        .collect();
    let more = offsets.iter().count().saturating_sub(IN_COMMENT);
    let trace_id = traceparent.and_then(|header| header.get(TRACE_ID));
    json!({ "topic": topic, "offsets": ranges, "more_partitions": more, "trace_id": trace_id })
        .to_string()
}

#[cfg(test)]
mod tests {
    use super::*;
    use records::flow::offset_range::OffsetRange;

    const PARENT: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";

    #[test]
    fn both_name_partitions_and_offsets() {
        let mut offsets = OffsetRanges::default();
        for partition in 0..5 {
            offsets.add(partition, OffsetRange { epoch: 1, first: 10, next: 20 });
        }
        let id = query_id("clicks.raw.v1", &offsets, "a7");
        assert_eq!(id, "clicks.raw.v1/0:10-19,1:10-19,2:10-19,and-2-more/a7");
        let comment: Value =
            serde_json::from_str(&log_comment("t", &offsets, Some(PARENT))).unwrap();
        assert_eq!(comment["offsets"]["4"], json!([10, 19]));
        assert_eq!(comment["more_partitions"], 0);
        assert_eq!(comment["trace_id"], "0af7651916cd43dd8448eb211c80319c");
        let comment: Value = serde_json::from_str(&log_comment("t", &offsets, None)).unwrap();
        assert_eq!(comment["trace_id"], Value::Null);
    }
}
