//! The settings that every insert pins: without them, an acknowledged insert might not be durable.

use std::time::Duration;

/// Sent with every insert. An acknowledged insert was applied, as a whole, to the table and to its
/// materialized views (invariant 3).
pub const PINNED: &[(&str, &str)] = &[
    ("async_insert", "0"),
    ("insert_deduplicate", "0"),
    ("materialized_views_ignore_errors", "0"),
    ("max_partitions_per_insert_block", "0"),
];

/// Sent with large inserts of clicks. Without it the server merges the rows of an insert with each other before it
/// stores them, which costs more than all else that it does for the insert.
pub const UNMERGED: (&str, &str) = ("optimize_on_insert", "0");
/// From how many rows an insert is large: the first merge of smaller ones costs more than the insert saves.
pub const UNMERGED_ROWS_MIN: usize = 5_000;

/// An HTTP parameter, not a setting: the server acknowledges an insert only after it has ended.
pub(super) const WAIT: (&str, &str) = ("wait_end_of_query", "1");

/// Replaces `insert_deduplicate` on the servers that know it.
pub(super) const PINNED_WHERE_KNOWN: (&str, &str) = ("deduplicate_insert", "disable");

/// Time to send a piece of an insert, and to receive its acknowledgement. Both together stay far
/// below `max.poll.interval.ms`.
pub const SEND_TIMEOUT: Duration = Duration::from_secs(30);
/// See [`SEND_TIMEOUT`].
pub const ACKNOWLEDGE_TIMEOUT: Duration = Duration::from_secs(120);
