//! The newest changes of the states of dead letters, which other commands made.

use std::collections::HashMap;

use broker::ServerError;
use clickhouse::Row;
use records::dead_letters::origin::Origin;
use records::dead_letters::state::DeadLetterState;
use serde::Deserialize;

use crate::clickhouse::origin_columns::{KEY, ORIGIN, is_one_of, naming_client, origin};
use crate::clickhouse::redrive_queries::state;
use crate::clickhouse::server::{Server, server_error};
use crate::clickhouse::sql_text::quoted;

/// The newest changes of one dead letter; times are the server's, microseconds since 1970, and 0 where
/// there is none.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NewestChanges {
    /// The state that the newest change left, other than the announcement of a copy.
    pub decided: DeadLetterState,
    /// When.
    pub decided_at_us: i64,
    /// When another job announced a copy.
    pub announced_at_us: i64,
}

impl NewestChanges {
    /// The state that a change after `read_at_us` left; `None`: there is no such change. The announcements
    /// of other jobs do not count for a copy that its own job announced before (`is_announced`).
    pub fn since(&self, read_at_us: i64, is_announced: bool) -> Option<DeadLetterState> {
        let is_pending = self.announced_at_us > read_at_us && !is_announced;
        let is_decided = self.decided_at_us > read_at_us;
        if is_pending && !(is_decided && self.decided_at_us > self.announced_at_us) {
            return Some(DeadLetterState::Pending);
        }
        is_decided.then_some(self.decided)
    }
}

#[derive(Row, Deserialize)]
struct ChangesRow {
    topic_name: String,
    origin_partition: u32,
    origin_offset: u64,
    logged_at_ms: i64,
    decided: String,
    decided_at_us: i64,
    announced_at_us: i64,
}

/// The newest changes of these origins, without the announcements of `job`. The result has no entry for an
/// origin without a change.
///
/// # Errors
/// The server's refusal.
pub async fn newest_changes(
    server: &Server,
    job: &str,
    origins: &[&Origin],
) -> Result<HashMap<Origin, NewestChanges>, ServerError> {
    let text = format!(
        "SELECT {ORIGIN}, toString(argMaxIf(kind, at, kind != 'pending')) AS decided, \
         toUnixTimestamp64Micro(maxIf(at, kind != 'pending')) AS decided_at_us, \
         toUnixTimestamp64Micro(maxIf(at, kind = 'pending')) AS announced_at_us \
         FROM dead_letter_events \
         WHERE kind IN ('pending', 'resolved', 'discarded', 'parked', 'reopened') \
         AND NOT (kind = 'pending' AND job = {}) AND {} GROUP BY {KEY}",
        quoted(job),
        is_one_of(origins.iter().copied())
    );
    let client = naming_client(server);
    let rows = client.query_raw(&text).fetch_all::<ChangesRow>().await.map_err(server_error)?;
    let entry = |row: ChangesRow| -> Result<_, ServerError> {
        let key = origin(row.topic_name, row.origin_partition, row.origin_offset, row.logged_at_ms);
        let decided = match row.decided.as_str() {
            // It had no other change than the announcement.
            "" | "reopened" => DeadLetterState::Open,
            name => state(name)?,
        };
        let (decided_at_us, announced_at_us) = (row.decided_at_us, row.announced_at_us);
        Ok((key, NewestChanges { decided, decided_at_us, announced_at_us }))
    };
    rows.into_iter().map(entry).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_change_counts_if_it_is_newer_than_the_state_that_was_read() {
        use DeadLetterState::{Discarded, Pending};
        for (decided_at_us, announced_at_us, expected, of_announced) in [
            (0, 0, None, None),
            (5, 5, None, None),
            (6, 0, Some(Discarded), Some(Discarded)),
            (0, 6, Some(Pending), None),
            (6, 7, Some(Pending), Some(Discarded)),
            (7, 6, Some(Discarded), Some(Discarded)),
        ] {
            let changes = NewestChanges { decided: Discarded, decided_at_us, announced_at_us };
            assert_eq!(changes.since(5, false), expected, "{changes:?}");
            assert_eq!(changes.since(5, true), of_announced, "{changes:?}");
        }
    }
}
